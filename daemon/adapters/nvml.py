"""NVIDIA GPUs through NVML (`nvidia-ml-py`), on a thread of their own.

A driver can hang, and a GPU can fall off the bus; both take devices out of use and never the daemon: every reading has a
time limit, and what one device does not answer is None for it alone.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psutil
import pynvml

from daemon.logs import get_log
from schemas.enums import DeviceState
from schemas.events import Device, DeviceProcess

log = get_log("nvml")

READ_LIMIT_S = 10.0
MIB = 1024 * 1024
T = TypeVar("T")


class NvmlError(Exception):
    """NVML can't be used; the message says what to do."""


class NvmlDevices:
    """The GPUs of this host, or those of them that a setting names."""

    def __init__(self, node_id: str, indices: tuple[int, ...] | None) -> None:
        self._node_id = node_id
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nvml")
        self._last: tuple[Device, ...] = ()
        self._reading: asyncio.Future[tuple[Device, ...]] | None = None
        try:
            pynvml.nvmlInit()
            count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            raise NvmlError(
                f"NVML does not answer ({error}): is the NVIDIA driver installed, and can this user use it? "
                "On a host without a GPU set SWIFT_TRAINER_DEVICES=cpu"
            ) from None
        missing = sorted(set(indices or ()) - set(range(count)))
        if missing:
            raise NvmlError(f"SWIFT_TRAINER_DEVICES names {missing}, but this host has {count} devices, from 0 on")
        self._indices = tuple(range(count)) if indices is None else indices

    @property
    def uses_cuda(self) -> bool:
        """Always."""
        return True

    async def read(self) -> tuple[Device, ...]:
        """All devices with their present use. Never raises for a device; a driver that hangs makes all unhealthy."""
        loop = asyncio.get_running_loop()
        if self._reading is None or self._reading.done():
            self._reading = loop.run_in_executor(self._thread, self._read_all)
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                self._last = await asyncio.shield(self._reading)
        except TimeoutError:
            reason = f"the driver has not answered for {READ_LIMIT_S:g} s"
            known = self._last or tuple(self._unknown(index, reason) for index in self._indices)
            return tuple(
                device.model_copy(update={"state": DeviceState.UNHEALTHY, "reason": reason}) for device in known
            )
        return self._last

    async def check(self) -> str:
        """`ok`, or which devices are unhealthy."""
        bad = [device for device in await self.read() if device.state is DeviceState.UNHEALTHY]
        return "; ".join(f"device {device.index}: {device.reason}" for device in bad) or "ok"

    async def close(self) -> None:
        """Let go of NVML; a thread that hangs in the driver is left behind."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _unknown(self, index: int, reason: str) -> Device:
        return Device(node_id=self._node_id, index=index, name="unknown", state=DeviceState.UNHEALTHY, reason=reason)

    def _read_all(self) -> tuple[Device, ...]:
        return tuple(self._read_one(index) for index in self._indices)

    def _read_one(self, index: int) -> Device:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError as error:
            return self._unknown(index, f"NVML: {error}")
        use = _ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
        milliwatt = _ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
        return Device(
            node_id=self._node_id,
            index=index,
            uuid=_text(_ask(lambda: pynvml.nvmlDeviceGetUUID(handle))),
            name=_text(_ask(lambda: pynvml.nvmlDeviceGetName(handle))) or "unknown",
            memory_total_mib=memory.total / MIB,
            memory_used_mib=memory.used / MIB,
            memory_free_mib=memory.free / MIB,
            utilization=float(use.gpu) if use is not None else None,
            temperature=_ask(lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
            power=milliwatt / 1000 if milliwatt is not None else None,
            processes=_processes(handle),
        )


def _ask(call: Callable[[], T]) -> T | None:
    """An answer, or None where this device has none."""
    try:
        return call()
    except pynvml.NVMLError:
        return None


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _processes(handle: Any) -> tuple[DeviceProcess, ...]:  # NVML's own opaque pointer
    found: list[DeviceProcess] = []
    for entry in _ask(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) or ():
        user = command = None
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(entry.pid)
            user, command = process.username(), process.name()
        memory = entry.usedGpuMemory / MIB if entry.usedGpuMemory is not None else None
        found.append(DeviceProcess(pid=entry.pid, memory_mib=memory, user=user, command=command))
    return tuple(found)
