"""Which devices are in foreign use: memory on them that no job of ours explains.

Processes in other containers can't be seen, but the memory that they hold can. The driver holds some as well; where it
is one that does not tell its own share apart, memory without a process counts only above a margin. Who it is that holds
a device is said for a person, who has to find and ask them: pid, command, user, age and memory.
"""

from dataclasses import dataclass

from schemas.enums import DeviceState
from schemas.events import Device, DeviceProcess

MOST_NAMED = 3
DRIVER_MIB = 1024
"""More than a driver keeps for itself on any device."""
IDLE_MIB = 32
"""More than a device shows as used that nobody uses, beside the driver's share."""
NOT_READ_AGAIN = "its job has ended, and its memory has not been read again yet"
"""Of a device that the last reading found leased; who still sees its job is told of that in place of this."""
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class DeviceFault:
    """A sign that a device is sick."""

    device: Device
    """As last read, or as far as it is known."""
    evidence: str
    """What was seen, in words for a person."""


class SeenProcess(DeviceProcess):
    """A process as this node has read it: with its age, which the reasons name and the wire does not carry."""

    age: str | None = None
    """As `age_text` has it."""


class OldDriversDevice(Device):
    """A device whose driver counts its own share as used."""


def is_mig(device: Device) -> bool:
    """Whether it is an instance of a GPU, of which CUDA gives a process one at most."""
    return device.uuid is not None and device.uuid.startswith("MIG-")


def cuda_names(devices: tuple[Device, ...], indices: tuple[int, ...]) -> tuple[str, ...]:
    """What CUDA calls these of a node's devices: GPUs by their indices, where none of the node's is cut into instances.

    A MIG instance has no name for CUDA but its own id; beside one, an index is no certain name for a whole GPU either.
    """
    if not any(is_mig(device) for device in devices):
        return tuple(map(str, indices))
    ids = {device.index: device.uuid for device in devices}
    return tuple(ids.get(index) or str(index) for index in indices)


def not_together(devices: tuple[Device, ...], indices: tuple[int, ...]) -> str | None:
    """Why these devices can't be one job's, for a person; None: they can."""
    instances = [device.index for device in devices if device.index in indices and is_mig(device)]
    if len(indices) == 1 or not instances:
        return None
    named = ", ".join(map(str, instances))
    return (
        f"needs {len(indices)} devices, and a job can have one MIG instance at most (here {named}): "
        "ask for one device, or name whole GPUs in gpu_id"
    )


def mark_foreign(devices: tuple[Device, ...], leased: frozenset[int], threshold_mib: int) -> tuple[Device, ...]:
    """The devices, with those marked FOREIGN that are not leased and on which others hold more memory than allowed.

    A device whose job has just ended is foreign for as long as memory is still held on it, and so not given away. That
    is not known before it is read again: until then it stays LEASED, as which a leased device is marked that has memory
    to be judged by.
    """
    return tuple(_marked(device, device.index in leased, threshold_mib) for device in devices)


def _marked(device: Device, leased: bool, threshold_mib: int) -> Device:
    if device.state is not DeviceState.FREE:
        return device
    if not leased:
        return _judged(device, threshold_mib)
    if device.memory_used_mib is None:
        return device
    return device.model_copy(update={"state": DeviceState.LEASED, "reason": NOT_READ_AGAIN})


def _judged(device: Device, threshold_mib: int) -> Device:
    held_mib = _told_mib(device)
    silent = tuple(process for process in device.processes if process.memory_mib is None)
    if held_mib > threshold_mib:
        return _foreign(device, f"in use by {_named(device.processes)}")
    if _unseen_mib(device) > threshold_mib:
        who = _named(silent) or "processes that can't be seen from here (another container, a display?)"
        return _foreign(device, f"{device.memory_used_mib:.0f} MiB are in use, by {who}")
    return device


def _told_mib(device: Device) -> float:
    return sum(process.memory_mib or 0.0 for process in device.processes)


def _unseen_mib(device: Device) -> float:
    """Memory that no process is told to hold; one whose memory is not told may hold all of it."""
    unseen_mib = max(0.0, (device.memory_used_mib or 0.0) - _told_mib(device))
    if any(process.memory_mib is None for process in device.processes):
        return unseen_mib
    if isinstance(device, OldDriversDevice):
        return max(0.0, unseen_mib - DRIVER_MIB)
    return unseen_mib if unseen_mib > IDLE_MIB else 0.0


def left_mib(device: Device) -> float | None:
    """Memory that is held on a device whose job has ended, by processes that are seen or not; None: it is not known."""
    if device.memory_used_mib is None:
        return None
    return _told_mib(device) + _unseen_mib(device)


def health(devices: tuple[Device, ...]) -> str:
    """`ok`, or which devices are unhealthy, and why."""
    bad = [device for device in devices if device.state is DeviceState.UNHEALTHY]
    return "; ".join(f"device {device.index}: {device.reason}" for device in bad) or "ok"


def age_text(seconds: float) -> str:
    """An age in words, so coarse that it seldom changes: what differs from what was last told is told again."""
    if seconds < MINUTE_S:
        return "less than 1 min"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S:.0f} min"
    if seconds < DAY_S:
        return f"{seconds // HOUR_S:.0f} h"
    return f"{seconds // DAY_S:.0f} d"


def _foreign(device: Device, reason: str) -> Device:
    return device.model_copy(update={"state": DeviceState.FOREIGN, "reason": reason})


def _named(processes: tuple[DeviceProcess, ...]) -> str:
    """The largest ones, for a person."""
    largest = sorted(processes, key=lambda process: -(process.memory_mib or 0.0))[:MOST_NAMED]
    return ", ".join(_one(process) for process in largest)


def _one(process: DeviceProcess) -> str:
    age = process.age if isinstance(process, SeenProcess) else None
    memory = "memory unknown" if process.memory_mib is None else f"{process.memory_mib:.0f} MiB"
    who = f"pid {process.pid} ({process.command or 'unknown'}) of {process.user or 'unknown'}"
    return f"{who}{f' for {age}' if age else ''}: {memory}"
