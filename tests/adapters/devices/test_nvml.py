"""GPUs through a driver that answers, that fails for one device, and that hangs."""

import asyncio
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from daemon.adapters.nvml import NvmlDevices, NvmlError
from daemon.core.devices import OldDriversDevice, SeenProcess, age_text
from schemas.enums import DeviceState
from schemas.events import Device
from tests.adapters.devices.driver import Driver, Gpu
from tests.waiting import until

STOPPED_S = 0.1


async def test_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch, Gpu(used_mib=1000), Gpu())
    devices = NvmlDevices("n", None)
    first, second = await devices.read()
    assert first == Device(
        node_id="n",
        index=0,
        uuid="GPU-1",
        name="NVIDIA H100",
        memory_total_mib=81_559.0,
        memory_used_mib=1000.0,
        memory_free_mib=79_959.0,
        utilization=97.0,
        temperature=61.0,
        power=312.5,
    )
    assert (second.index, second.memory_used_mib) == (1, 4.0)
    assert devices.uses_cuda
    assert await devices.check() == "ok"


async def test_an_old_driver_counts_its_own_share_as_used(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, Gpu(used_mib=1000))
    driver.old = True
    (device,) = await NvmlDevices("n", None).read()
    assert device.memory_used_mib == 1600.0
    assert isinstance(device, OldDriversDevice)
    assert device.model_dump() == Device(**dict(device)).model_dump(), "nobody is told more of it"


async def test_only_the_named_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch, Gpu(), Gpu(used_mib=7), Gpu(), Gpu(used_mib=9))
    devices = await NvmlDevices("n", (3, 1)).read()
    assert [(device.index, device.memory_used_mib) for device in devices] == [(3, 9.0), (1, 7.0)]


async def test_a_device_without_sensors_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch, Gpu(mute=True))
    (device,) = await NvmlDevices("n", None).read()
    assert (device.state, device.name, device.uuid) == (DeviceState.FREE, "unknown", None)
    assert (device.utilization, device.temperature, device.power, device.processes) == (None, None, None, ())
    assert device.memory_total_mib == 81_559.0


async def test_a_lost_device_is_unhealthy_alone_and_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, Gpu(), Gpu(lost=True), Gpu())
    devices = NvmlDevices("n", None)
    states = [device.state for device in await devices.read()]
    assert states == [DeviceState.FREE, DeviceState.UNHEALTHY, DeviceState.FREE]
    assert (await devices.check()).startswith("device 1: NVML: ")
    driver.gpus[1].lost = False
    assert await devices.check() == "ok"


async def test_an_answer_of_a_wrong_kind_is_that_devices_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Driver(monkeypatch, Gpu(), Gpu(strange=object()))
    first, second = await NvmlDevices("n", None).read()
    assert (first.state, second.state) == (DeviceState.FREE, DeviceState.UNHEALTHY)
    assert "not understood" in str(second.reason)
    assert "not understood" in caplog.text


# ---------------------------------------------------------------- processes


async def test_processes_have_memory_user_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch, Gpu(processes=[(os.getpid(), 512), (2**22 + 1, None)]))
    (device,) = await NvmlDevices("n", None).read()
    me = psutil.Process()
    assert device.processes == (
        SeenProcess(
            pid=os.getpid(),
            memory_mib=512.0,
            user=me.username(),
            command=me.name(),
            age=age_text(time.time() - me.create_time()),
        ),
        SeenProcess(pid=2**22 + 1, memory_mib=None, user=None, command=None),
    )


# ---------------------------------------------------------------- a driver that hangs


async def is_ok(devices: NvmlDevices) -> bool:
    return await devices.check() == "ok"


async def test_a_hanging_driver_makes_all_unhealthy_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, Gpu(used_mib=1000), Gpu())
    devices = NvmlDevices("n", None, read_limit_s=STOPPED_S)
    await devices.read()
    driver.answering.clear()
    for _ in range(3):
        read = await devices.read()
        assert [device.state for device in read] == [DeviceState.UNHEALTHY] * 2
        assert read[0].reason == "the driver has not answered for 0.1 s"
        assert read[0].memory_used_mib == 1000.0
    assert "has not answered" in await devices.check()
    driver.answering.set()
    await until(lambda: is_ok(devices))
    assert driver.readings == 3, "one thread hung, and no other was sent after it"


async def test_a_driver_that_hangs_from_the_first_reading_on(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, Gpu())
    devices = NvmlDevices("n", None, read_limit_s=STOPPED_S)
    driver.answering.clear()
    (device,) = await devices.read()
    assert (device.state, device.name) == (DeviceState.UNHEALTHY, "unknown")
    await devices.close()
    assert not driver.stopped
    driver.answering.set()


async def test_close_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, Gpu())
    devices = NvmlDevices("n", None)
    await devices.read()
    await devices.close()
    assert driver.stopped


HUNG = """
import asyncio, threading, pynvml
from daemon.adapters.nvml import NvmlDevices
pynvml.nvmlInit = lambda: None
pynvml.nvmlDeviceGetCount = lambda: 1
pynvml.nvmlDeviceGetHandleByIndex = lambda index: threading.Event().wait()
async def main():
    devices = NvmlDevices("n", None, read_limit_s=0.1)
    print((await devices.read())[0].state, flush=True)
    await devices.close()
asyncio.run(main())
"""


async def test_a_hung_thread_does_not_keep_the_daemon_from_ending(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HUNG, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).resolve().parents[3]
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"unhealthy\n")


# ---------------------------------------------------------------- no driver


def test_without_nvml_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch).missing = True
    with pytest.raises(NvmlError, match=r"driver installed.*nvidia-smi.*SWIFT_TRAINER_DEVICES=cpu"):
        NvmlDevices("n", None)


def test_a_driver_that_hangs_at_the_start_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, Gpu())
    driver.answering.clear()
    with pytest.raises(NvmlError, match=r"nothing for 0\.1 s"):
        NvmlDevices("n", None, start_limit_s=STOPPED_S)
    driver.answering.set()


def test_a_host_without_devices_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch)
    with pytest.raises(NvmlError, match="SWIFT_TRAINER_DEVICES=cpu"):
        NvmlDevices("n", None)


def test_indices_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch, Gpu(), Gpu())
    with pytest.raises(NvmlError, match=r"names device 2, 7, which this host does not have; it has 0 to 1"):
        NvmlDevices("n", (0, 7, 2))
