"""Which devices are in foreign use: memory on them that no job of ours explains.

Processes in other containers can't be seen, but the memory that they hold can. The driver holds some as well, which
older ones do not tell apart, so memory without a process counts only above a margin.
"""

from schemas.enums import DeviceState
from schemas.events import Device, DeviceProcess

MOST_NAMED = 3
DRIVER_MIB = 1024
"""More than a driver keeps for itself on any device."""


def mark_foreign(devices: tuple[Device, ...], leased: frozenset[int], threshold_mib: int) -> tuple[Device, ...]:
    """The devices, with those marked FOREIGN that are not leased and on which others hold more memory than allowed.

    A device whose job has just ended is foreign for as long as memory is still held on it, and so not given away.
    """
    return tuple(
        device if device.index in leased or device.state is not DeviceState.FREE else _judged(device, threshold_mib)
        for device in devices
    )


def _judged(device: Device, threshold_mib: int) -> Device:
    held_mib = sum(process.memory_mib or 0.0 for process in device.processes)
    unseen_mib = (device.memory_used_mib or 0.0) - held_mib - DRIVER_MIB
    if held_mib > threshold_mib:
        return _foreign(device, f"in use by {_named(device.processes)}")
    if unseen_mib > threshold_mib:
        used = f"{device.memory_used_mib:.0f} MiB are in use"
        return _foreign(device, f"{used}, by processes that can't be seen from here (another container, a display?)")
    return device


def _foreign(device: Device, reason: str) -> Device:
    return device.model_copy(update={"state": DeviceState.FOREIGN, "reason": reason})


def _named(processes: tuple[DeviceProcess, ...]) -> str:
    """The largest ones, for a person."""
    largest = sorted(processes, key=lambda process: -(process.memory_mib or 0.0))[:MOST_NAMED]
    return ", ".join(
        f"pid {one.pid} ({one.command or 'unknown'}) of {one.user or 'unknown'}: {one.memory_mib or 0:.0f} MiB"
        for one in largest
    )
