"""Devices and drivers that fail, through the real `pynvml`: each takes out what it must, and nothing else."""

import asyncio
import os
import sys
import time

import pytest

from daemon.adapters.awaited_gpus import AwaitedGpus
from daemon.adapters.cpu_devices import CpuSlots
from daemon.adapters.device_setting import DriverSilentError, awaited_devices, make_devices
from daemon.adapters.nvml import NvmlDevices, NvmlError
from daemon.adapters.nvml_reading import NOT_THERE
from daemon.core.devices import mark_foreign
from schemas.enums import DeviceState
from schemas.events import Device
from tests.nvml.standin import RESET_REQUIRED, UNKNOWN, Driver
from tests.nvml.test_reading import REPO
from tests.waiting import until

LIMIT_S = 0.3
PATIENCE_S = 30
MISMATCH = "RM has detected an NVML/RM version mismatch."
OTHER_CODE = 28
"""NVML_ERROR_GPU_NOT_FOUND, for which pynvml asks the library for words."""


def unhealthy(devices: tuple[Device, ...]) -> dict[int, str]:
    """Reasons by index."""
    return {device.index: device.reason or "" for device in devices if device.state is DeviceState.UNHEALTHY}


async def test_a_lost_gpu_goes_alone_and_comes_back(driver: Driver) -> None:
    devices = NvmlDevices("n", None)
    await devices.read()
    driver.lose(5)
    found = await devices.read()
    assert unhealthy(found) == {5: "NVML: GPU is lost"}
    assert all(device.memory_total_mib == 81_559.0 for device in found if device.index != 5)
    assert await devices.check() == "device 5: NVML: GPU is lost"
    driver.heal()
    assert await devices.check() == "ok"


@pytest.mark.parametrize("function", ["nvmlDeviceGetUUID", "nvmlDeviceGetMigMode", "nvmlDeviceGetTotalEccErrors"])
async def test_a_gpu_that_is_lost_in_the_middle_of_a_reading_is_lost(driver: Driver, function: str) -> None:
    driver.fail(function, 2, RESET_REQUIRED)
    assert unhealthy(await NvmlDevices("n", None).read()) == {2: "NVML: GPU requires restart"}


async def test_a_device_that_does_not_tell_its_memory_is_no_device_to_use(driver: Driver) -> None:
    driver.fail("nvmlDeviceGetMemoryInfo_v2", 1, UNKNOWN)
    driver.fail("nvmlDeviceGetMemoryInfo", 1, OTHER_CODE)
    assert unhealthy(await NvmlDevices("n", None).read()) == {1: "NVML: An error of the stand-in"}


async def test_uncorrectable_memory_errors_take_a_device_out(driver: Driver) -> None:
    driver.change(0, ecc=None)
    driver.change(4, ecc=2)
    devices = NvmlDevices("n", None)
    found = await devices.read()
    assert unhealthy(found) == {
        4: "2 memory errors that ECC could not correct since the driver was loaded; reset it (nvidia-smi -i 4 -r)"
    }
    assert (found[4].memory_total_mib, found[4].temperature) == (81_559.0, 31.0), "its figures are still shown"
    assert unhealthy(mark_foreign(found, frozenset(), 0)) == unhealthy(found)
    driver.change(4, ecc=0)
    assert await devices.check() == "ok"


async def test_a_driver_that_was_loaded_again_is_used_again(driver: Driver) -> None:
    devices = NvmlDevices("n", None)
    await devices.read()
    driver.reload()
    assert unhealthy(await devices.read()) == {}
    assert [call.function for call in driver.calls()].count("nvmlInitWithFlags") == 2


async def test_a_driver_that_forgets_and_stays_away_makes_all_unhealthy_until_it_is_back(driver: Driver) -> None:
    devices = NvmlDevices("n", None)
    driver.reload()
    driver.fail("nvmlInitWithFlags", "*", 9)
    assert unhealthy(await devices.read()) == dict.fromkeys(range(8), "NVML: Uninitialized")
    driver.fail("*", "*", 18)
    assert unhealthy(await devices.read()) == dict.fromkeys(range(8), f"NVML: {MISMATCH}")
    driver.heal()
    assert await devices.check() == "ok"


@pytest.mark.parametrize(("code", "said"), [(9, "Driver Not Loaded"), (4, "Insufficient Permissions")])
def test_a_driver_that_does_not_begin_says_what_to_do(driver: Driver, code: int, said: str) -> None:
    driver.fail("nvmlInitWithFlags", "*", code)
    with pytest.raises(NvmlError, match=rf"{said}.*nvidia-smi.*SWIFT_TRAINER_DEVICES=cpu"):
        NvmlDevices("n", None)


# ---------------------------------------------------------------- GPUs that were there before


async def silent(driver: Driver, setting: str = "auto") -> AwaitedGpus:
    """A daemon that starts when the driver answers no more; its node's document knows the GPUs."""
    known = await NvmlDevices("n", None).read()
    driver.reload()
    driver.fail("nvmlInitWithFlags", "*", 9)
    with pytest.raises(DriverSilentError, match="Driver Not Loaded") as raised:
        make_devices(setting, "n")
    found = awaited_devices(raised.value, known)
    assert isinstance(found, AwaitedGpus)
    return found


async def test_gpus_that_a_node_had_are_out_of_use_until_the_driver_answers(driver: Driver) -> None:
    devices = await silent(driver)
    sickness = asyncio.create_task(devices.faults())
    found, again = await asyncio.gather(devices.read(), devices.read())
    assert found == again
    assert set(unhealthy(found)) == set(range(8))
    assert "Driver Not Loaded" in str(found[0].reason)
    assert found[3].uuid == "GPU-00000003-aaaa-bbbb-cccc-0123456789ab"
    assert "Driver Not Loaded" in await devices.check()
    driver.heal()
    assert unhealthy(await devices.read()) == {}
    assert await devices.check() == "ok"
    driver.xid(3, 95)
    async with asyncio.timeout(PATIENCE_S):
        (fault,) = await sickness
    assert fault.device.index == 3
    await devices.close()


async def test_a_driver_that_hangs_as_it_begins_is_waited_for_by_one_thread(driver: Driver) -> None:
    known = await NvmlDevices("n", None).read()
    driver.hang("nvmlInitWithFlags")
    begun = driver.calls()
    devices = AwaitedGpus(lambda had: NvmlDevices("n", None, had=had, start_limit_s=None), "silent", known, limit_s=0.1)
    for _ in range(3):
        assert unhealthy(await devices.read()) == dict.fromkeys(range(8), "silent")
    assert [call.function for call in driver.calls()[len(begun) :]] == ["nvmlInitWithFlags"]
    driver.heal()
    await until(lambda: has_all(devices))
    await devices.close()


async def has_all(devices: AwaitedGpus) -> bool:
    return unhealthy(await devices.read()) == {}


async def test_one_that_is_missing_at_the_start_is_out_alone(driver: Driver) -> None:
    known = await NvmlDevices("n", None).read()
    gone = known[7].model_copy(update={"index": 8})
    with pytest.raises(DriverSilentError, match="names device 8, which this host does not have") as raised:
        make_devices("0,8", "n")
    devices = awaited_devices(raised.value, [known[0], gone])
    assert unhealthy(await devices.read()) == {8: NOT_THERE}
    assert await devices.check() == f"device 8: {NOT_THERE}"


async def test_a_node_that_never_had_gpus_has_a_wrong_setting(driver: Driver) -> None:
    driver.fail("nvmlInitWithFlags", "*", 9)
    with pytest.raises(DriverSilentError) as raised:
        make_devices("auto", "n")
    for before in ((), await CpuSlots(2, "n").read()):
        with pytest.raises(DriverSilentError, match="SWIFT_TRAINER_DEVICES=cpu"):
            awaited_devices(raised.value, before)


# ---------------------------------------------------------------- a driver that hangs


async def is_ok(devices: NvmlDevices) -> bool:
    return await devices.check() == "ok"


async def test_a_hanging_driver_makes_all_unhealthy_within_the_limit_until_it_answers(driver: Driver) -> None:
    driver.change(1, used=1000)
    devices = NvmlDevices("n", None, read_limit_s=LIMIT_S)
    await devices.read()
    driver.hang("nvmlDeviceGetPowerUsage", 6)
    for _ in range(2):
        began = time.monotonic()
        found = await devices.read()
        assert LIMIT_S <= time.monotonic() - began < LIMIT_S + PATIENCE_S
        assert unhealthy(found) == dict.fromkeys(range(8), "the driver has not answered for 0.3 s")
        assert found[1].memory_used_mib == 1000.0, "the last figures are still shown"
    hung = [call for call in driver.calls() if call.function == "nvmlDeviceGetPowerUsage" and call.gpu == 6]
    assert len(hung) == 2, "no second thread is sent after one that hangs"
    driver.heal()
    await until(lambda: is_ok(devices))  # this limit is short, and the machine may be busy


async def test_the_loop_goes_on_while_the_driver_hangs(driver: Driver) -> None:
    devices = NvmlDevices("n", None, read_limit_s=LIMIT_S)
    driver.hang()
    reading = asyncio.create_task(devices.read())
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns >= 3


HUNG = """
import asyncio, time
from daemon.adapters.nvml import NvmlDevices
async def main():
    devices = NvmlDevices("n", None, read_limit_s=0.3)
    print({device.state.value for device in await devices.read()}, flush=True)
    await devices.close()
asyncio.run(main())
print(time.monotonic(), flush=True)
"""
STARTING = """
import time
from daemon.adapters.nvml import NvmlDevices, NvmlError
try:
    NvmlDevices("n", None, start_limit_s=0.3)
except NvmlError as error:
    print(error, flush=True)
print(time.monotonic(), flush=True)
"""


@pytest.mark.parametrize(
    ("program", "function", "said"),
    [(HUNG, "nvmlDeviceGetName", "{'unhealthy'}"), (STARTING, "nvmlInitWithFlags", "nothing for 0.3 s")],
)
async def test_a_process_whose_driver_hangs_ends_at_once(apart: Driver, program: str, function: str, said: str) -> None:
    apart.hang(function)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=REPO,
        env={**os.environ, **apart.environment},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    ended = time.monotonic()
    first, last = out.decode().splitlines()
    assert process.returncode == 0
    assert said in first
    assert ended - float(last) < 2, "from the last line of the program to the end of the process"
