"""A driver of our own making, in place of the functions of `pynvml`. `tests/nvml` has one that is a library."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

_nvml: Any = pynvml
MIB = 1024 * 1024


@dataclass
class Gpu:
    """One device as the driver shows it."""

    used_mib: int = 4
    total_mib: int = 81_559
    processes: list[tuple[int, int | None]] = field(default_factory=list[tuple[int, int | None]])
    """Process ids with their memory, MiB."""
    lost: bool = False
    """It has fallen off the bus."""
    mute: bool = False
    """It has no sensors and no names."""
    strange: object = None
    """An answer of a wrong type, to whatever it is asked."""


class Driver:
    """Stands in for NVML."""

    def __init__(self, patch: pytest.MonkeyPatch, *gpus: Gpu) -> None:
        self.gpus = list(gpus)
        self.missing = False
        self.old = False
        """Knows only the first version of the memory question."""
        self.answering = threading.Event()
        self.answering.set()
        self.readings = 0
        self.stopped = False
        calls: dict[str, Callable[..., object]] = {
            "nvmlInit": self.init,
            "nvmlShutdown": self.shutdown,
            "nvmlDeviceGetCount": lambda: len(self.gpus),
            "nvmlDeviceGetHandleByIndex": self.handle,
            "nvmlDeviceGetMemoryInfo": self.memory,
            "nvmlDeviceGetUtilizationRates": self.sensor(lambda value: SimpleNamespace(gpu=value), 97),
            "nvmlDeviceGetPowerUsage": self.sensor(_plain, 312_500),
            "nvmlDeviceGetTemperature": self.sensor(_plain, 61),
            "nvmlDeviceGetUUID": self.sensor(_plain, b"GPU-1"),
            "nvmlDeviceGetName": self.sensor(_plain, "NVIDIA H100"),
            "nvmlDeviceGetComputeRunningProcesses_v3": self.processes,
            "nvmlDeviceGetTotalEccErrors": self.sensor(_plain, 0),
            "nvmlDeviceGetMigMode": self.sensor(lambda value: [value, value], 0),
        }
        for name, call in calls.items():
            assert hasattr(pynvml, name)
            patch.setattr(pynvml, name, call)

    def init(self) -> None:
        self.answering.wait(20)
        if self.missing:
            raise _nvml.NVMLError(_nvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def shutdown(self) -> None:
        self.stopped = True

    def handle(self, index: int) -> Gpu:
        self.answering.wait(20)
        self.readings += index == 0
        if self.gpus[index].lost:
            raise _nvml.NVMLError(_nvml.NVML_ERROR_GPU_IS_LOST)
        return self.gpus[index]

    def memory(self, gpu: Gpu, version: int | None = None) -> object:
        if version is not None and self.old:
            raise _nvml.NVMLError(_nvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        reserved = 600 if version is None else 0
        return SimpleNamespace(
            total=gpu.total_mib * MIB,
            used=(gpu.used_mib + reserved) * MIB,
            free=(gpu.total_mib - gpu.used_mib - 600) * MIB,
        )

    def sensor(self, shape: Callable[[object], object], value: object) -> Callable[..., object]:
        """A call that answers with this value."""

        def answer(gpu: Gpu, *_: object) -> object:
            if gpu.mute:
                raise _nvml.NVMLError(_nvml.NVML_ERROR_NOT_SUPPORTED)
            return shape(value if gpu.strange is None else gpu.strange)

        return answer

    def processes(self, gpu: Gpu) -> list[object]:
        if gpu.mute:
            raise _nvml.NVMLError(_nvml.NVML_ERROR_NO_PERMISSION)
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=None if memory is None else memory * MIB)
            for pid, memory in gpu.processes
        ]


def _plain(value: object) -> object:
    return value
