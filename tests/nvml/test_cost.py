"""What a reading of eight GPUs costs on our side of the driver: `pynvml`, `psutil`, the models (`pytest -s` says it).

The stand-in answers at once, so a real driver's own time comes on top. Judged with wide margins: machines are shared.
"""

import asyncio
import subprocess
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from statistics import median

import pytest

from daemon.adapters.nvml import NvmlDevices
from tests.nvml.standin import GPUS, Driver

READINGS = 100
PER_GPU = 4
WALL_LIMIT_S = 0.5
STALL_LIMIT_S = 0.5
SLEEP_S = 0.001


@pytest.fixture
def strangers() -> Iterator[list[int]]:
    """Ids of living processes, four for each device."""
    with ExitStack() as stack:
        found = [stack.enter_context(subprocess.Popen(["sleep", "300"])) for _ in range(GPUS * PER_GPU)]
        yield [process.pid for process in found]
        for process in found:
            process.kill()


async def measure(devices: NvmlDevices) -> tuple[float, float]:
    """Median wall and mean CPU seconds of a reading."""
    walls: list[float] = []
    cpu = time.process_time()
    for _ in range(READINGS):
        began = time.perf_counter()
        await devices.read()
        walls.append(time.perf_counter() - began)
    return median(walls), (time.process_time() - cpu) / READINGS


async def longest_stall(meanwhile: Coroutine[None, None, None]) -> float:
    """How late the event loop's own timer came at worst while something went on."""
    task, worst = asyncio.create_task(meanwhile), 0.0
    while not task.done():
        began = time.perf_counter()
        await asyncio.sleep(SLEEP_S)
        worst = max(worst, time.perf_counter() - began - SLEEP_S)
    return worst


async def keep_reading(devices: NvmlDevices) -> None:
    """One reading after the other, where the daemon has seconds between them."""
    for _ in range(READINGS):
        await devices.read()


async def test_a_reading_is_cheap_and_leaves_the_loop_alone(
    driver: Driver, strangers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NVML_STANDIN_TRACE")
    devices = NvmlDevices("n", None)
    idle_s, idle_cpu_s = await measure(devices)
    for number, pid in enumerate(strangers):
        driver.use(number % GPUS, pid, 1000)
    used_s, used_cpu_s = await measure(devices)
    assert [len(device.processes) for device in await devices.read()] == [PER_GPU] * GPUS
    noise_s = await longest_stall(asyncio.sleep(1))
    stall_s = await longest_stall(keep_reading(devices))
    driver.slow(1000)
    slow_stall_s = await longest_stall(keep_reading(devices))
    print(
        f"\n    {GPUS} GPUs: {idle_s * 1000:.2f} ms a reading ({idle_cpu_s * 1000:.2f} ms CPU), "
        f"{used_s * 1000:.2f} ms ({used_cpu_s * 1000:.2f} ms CPU) with {PER_GPU} processes on each; "
        f"the loop is late by {stall_s * 1000:.1f} ms at worst, by {slow_stall_s * 1000:.1f} ms where every call takes "
        f"1 ms, by {noise_s * 1000:.1f} ms without any reading"
    )
    assert max(idle_s, used_s) < WALL_LIMIT_S
    assert max(stall_s, slow_stall_s) < STALL_LIMIT_S
