"""The few calls of NVML, with types: `pynvml` has none, so this file alone knows it, as `Any`.

Each raises `NVML_ERROR` where the driver, or the one device, does not answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NewType, TypeVar

import pynvml

_nvml: Any = pynvml
NVML_ERROR: type[Exception] = _nvml.NVMLError
MIB = 1024 * 1024

Handle = NewType("Handle", object)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Memory:
    """A device's memory in MiB."""

    total_mib: float
    used_mib: float
    free_mib: float


@dataclass(frozen=True, slots=True)
class Process:
    """A process that computes on a device; its memory where the driver tells it."""

    pid: int
    memory_mib: float | None


def start() -> int:
    """Begin to talk to the driver; how many devices it has."""
    _nvml.nvmlInit()
    return int(_nvml.nvmlDeviceGetCount())


def stop() -> None:
    """Talk no more."""
    _nvml.nvmlShutdown()


def handle(index: int) -> Handle:
    """What the other calls name a device by."""
    return Handle(_nvml.nvmlDeviceGetHandleByIndex(index))


def memory(device: Handle) -> Memory:
    """Memory in use; without the driver's own share, where the driver can tell that apart (since version 510)."""
    found = or_none(lambda: _nvml.nvmlDeviceGetMemoryInfo(device, version=_nvml.nvmlMemory_v2))
    if found is None:
        found = _nvml.nvmlDeviceGetMemoryInfo(device)
    return Memory(found.total / MIB, found.used / MIB, found.free / MIB)


def utilization(device: Handle) -> float:
    """Percent."""
    return float(_nvml.nvmlDeviceGetUtilizationRates(device).gpu)


def temperature(device: Handle) -> float:
    """Degrees Celsius."""
    return float(_nvml.nvmlDeviceGetTemperature(device, _nvml.NVML_TEMPERATURE_GPU))


def power(device: Handle) -> float:
    """Watt."""
    return float(_nvml.nvmlDeviceGetPowerUsage(device)) / 1000


def uuid(device: Handle) -> str:
    """The device's own id."""
    return _text(_nvml.nvmlDeviceGetUUID(device))


def name(device: Handle) -> str:
    """What its maker calls it."""
    return _text(_nvml.nvmlDeviceGetName(device))


def processes(device: Handle) -> list[Process]:
    """Those that compute on it, as far as this process may see them."""
    return [
        Process(int(entry.pid), None if entry.usedGpuMemory is None else entry.usedGpuMemory / MIB)
        for entry in _nvml.nvmlDeviceGetComputeRunningProcesses(device)
    ]


def or_none(call: Callable[[], T]) -> T | None:
    """An answer, or None where this device has none."""
    try:
        return call()
    except NVML_ERROR:
        return None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
