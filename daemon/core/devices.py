"""Which devices are in foreign use: a process on them that no job of ours explains."""

from schemas.enums import DeviceState
from schemas.events import Device

MOST_NAMED = 3


def mark_foreign(devices: tuple[Device, ...], leased: frozenset[int], threshold_mib: int) -> tuple[Device, ...]:
    """The devices, with those marked FOREIGN that are not leased and hold more memory of processes than allowed.

    A device whose job has just ended is foreign for as long as memory is still held on it, and so not given away.
    """
    return tuple(
        device if device.index in leased or device.state is not DeviceState.FREE else _judged(device, threshold_mib)
        for device in devices
    )


def _judged(device: Device, threshold_mib: int) -> Device:
    held_mib = sum(process.memory_mib or 0.0 for process in device.processes)
    if held_mib <= threshold_mib:
        return device
    named = ", ".join(
        f"pid {process.pid} ({process.command or 'unknown'}) of {process.user or 'unknown'}: {process.memory_mib or 0:.0f} MiB"
        for process in sorted(device.processes, key=lambda process: -(process.memory_mib or 0.0))[:MOST_NAMED]
    )
    return device.model_copy(update={"state": DeviceState.FOREIGN, "reason": f"in use by {named}"})
