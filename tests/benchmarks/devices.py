"""What a reading of eight GPUs costs on our side of the driver: `pynvml`, `psutil`, the models.

The stand-in for `libnvidia-ml.so.1` answers at once, so a real driver's own time comes on top.
"""

import asyncio
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path

from daemon.adapters.nvml import NvmlDevices
from tests.benchmarks.figures import Figure
from tests.nvml.standin import GPUS, Driver, compile_library

PER_GPU = 4
TIMER_S = 0.001


def reading(quick: bool) -> list[Figure]:
    """Readings of idle and of used devices, and how late the event loop's timer comes meanwhile."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return [Figure("NVML: no C compiler for the stand-in", "", [])]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        library = compile_library(compiler, folder)
        driver = Driver(library, folder)
        ctypes.CDLL(str(library))  # the linker finds what is loaded already by its soname
        os.environ["NVML_STANDIN_STATE"] = driver.steering["NVML_STANDIN_STATE"]
        strangers = [stack.enter_context(subprocess.Popen(["sleep", "300"])) for _ in range(GPUS * PER_GPU)]
        try:
            return asyncio.run(_measure(driver, [process.pid for process in strangers], 10 if quick else 200))
        finally:
            for process in strangers:
                process.kill()


async def _measure(driver: Driver, strangers: list[int], readings: int) -> list[Figure]:
    devices = NvmlDevices("n", None)
    idle = await _readings_ms(devices, readings)
    for number, pid in enumerate(strangers):
        driver.use(number % GPUS, pid, 1000)
    used = await _readings_ms(devices, readings)
    quiet = await _late_ms(asyncio.sleep(1))
    busy = await _late_ms(_read(devices, readings))
    driver.slow(1000)
    slow = await _late_ms(_read(devices, readings))
    return [
        Figure(f"NVML: a reading of {GPUS} idle GPUs", "ms", idle),
        Figure(f"NVML: with {PER_GPU} processes on each", "ms", used),
        Figure("NVML: event loop late, nothing read", "ms", quiet),
        Figure("NVML: event loop late, reading on and on", "ms", busy),
        Figure("NVML: the same, where each call takes 1 ms", "ms", slow),
    ]


async def _read(devices: NvmlDevices, readings: int) -> None:
    for _ in range(readings):
        await devices.read()


async def _readings_ms(devices: NvmlDevices, readings: int) -> list[float]:
    found: list[float] = []
    for _ in range(readings):
        began = time.perf_counter()
        await devices.read()
        found.append((time.perf_counter() - began) * 1000)
    return found


async def _late_ms(meanwhile: Coroutine[None, None, None]) -> list[float]:
    """How late the loop's own timer came, again and again, while something went on."""
    task, late = asyncio.create_task(meanwhile), list[float]()
    while not task.done():
        began = time.perf_counter()
        await asyncio.sleep(TIMER_S)
        late.append((time.perf_counter() - began - TIMER_S) * 1000)
    return late
