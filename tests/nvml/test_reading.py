"""One reading through the real `pynvml` and a library of NVML's own symbols and structures (a stand-in, in C)."""

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from daemon.adapters.device_setting import DeviceSettingError, make_devices
from daemon.adapters.nvml import NvmlDevices
from daemon.core.devices import SeenProcess, age_text, mark_foreign
from schemas.enums import DeviceState
from schemas.events import Device
from tests.nvml.standin import FUNCTION_NOT_FOUND, LIBRARY, NO_PERMISSION, Driver

REPO = Path(__file__).resolve().parents[2]
FOREIGN_MIB = 500


async def test_figures_are_in_mib_percent_degrees_and_watt(driver: Driver) -> None:
    driver.change(5, used=40_000, util=97, temp=61, power=312_500)
    devices = NvmlDevices("n", None)
    found = await devices.read()
    assert [device.index for device in found] == list(range(8))
    assert {device.state for device in found} == {DeviceState.FREE}
    assert found[5] == Device(
        node_id="n",
        index=5,
        uuid="GPU-00000005-aaaa-bbbb-cccc-0123456789ab",
        name="NVIDIA H100 80GB HBM3",
        memory_total_mib=81_559.0,
        memory_used_mib=40_000.0,
        memory_free_mib=81_559.0 - 40_000.0 - 600.0,
        utilization=97.0,
        temperature=61.0,
        power=312.5,
    )
    assert await devices.check() == "ok"
    await devices.close()


async def test_only_the_listed_devices_are_read(driver: Driver) -> None:
    driver.change(2, used=222)
    found = await make_devices("0,2,3", "n").read()
    assert [(device.index, (device.uuid or "")[:12]) for device in found] == [
        (0, "GPU-00000000"),
        (2, "GPU-00000002"),
        (3, "GPU-00000003"),
    ]
    assert found[1].memory_used_mib == 222.0
    asked = {call.gpu for call in driver.calls() if call.function == "nvmlDeviceGetHandleByIndex_v2"}
    assert asked == {0, 2, 3}


def test_a_listed_device_that_is_not_there_is_named(driver: Driver) -> None:
    with pytest.raises(DeviceSettingError, match=r"names device 8, which this host does not have; it has 0 to 7"):
        make_devices("0,8", "n")
    assert driver.calls()


async def test_what_a_device_does_not_have_is_none(driver: Driver) -> None:
    driver.change(1, util=None, temp=None, power=None, ecc=None, mig=None, name="-", uuid="-")
    device = (await NvmlDevices("n", None).read())[1]
    assert (device.utilization, device.temperature, device.power, device.uuid) == (None, None, None, None)
    assert (device.name, device.state, device.memory_total_mib) == ("unknown", DeviceState.FREE, 81_559.0)


async def test_a_driver_before_510_is_asked_in_its_own_versions(driver: Driver, stranger: int) -> None:
    driver.use(4, stranger, 20_480)
    driver.fail("nvmlDeviceGetMemoryInfo_v2", "*", FUNCTION_NOT_FOUND)
    driver.fail("nvmlDeviceGetComputeRunningProcesses_v3", "*", FUNCTION_NOT_FOUND)
    found = await NvmlDevices("n", None).read()
    assert {device.state for device in found} == {DeviceState.FREE}
    assert found[4].memory_used_mib == 4 + 20_480 + 600, "the driver's own share can't be told apart"
    assert [process.pid for process in found[4].processes] == [stranger]
    assert mark_foreign(found, frozenset(), FOREIGN_MIB)[3].state is DeviceState.FREE


# ---------------------------------------------------------------- whose memory it is


async def test_a_foreign_process_is_named_with_user_age_and_memory(driver: Driver, stranger: int) -> None:
    devices = NvmlDevices("n", None)
    assert mark_foreign(await devices.read(), frozenset(), FOREIGN_MIB)[6].state is DeviceState.FREE
    driver.use(6, stranger, 20_480)
    marked = mark_foreign(await devices.read(), frozenset(), FOREIGN_MIB)
    assert [device.index for device in marked if device.state is not DeviceState.FREE] == [6]
    assert marked[6].state is DeviceState.FOREIGN
    user = psutil.Process(stranger).username()
    assert marked[6].reason == f"in use by pid {stranger} (sleep) of {user} for less than 1 min: 20480 MiB"
    driver.leave(6)
    assert mark_foreign(await devices.read(), frozenset(), FOREIGN_MIB)[6].state is DeviceState.FREE


async def test_ages_are_those_of_the_processes(driver: Driver) -> None:
    driver.use(0, 1, 1000)
    driver.use(0, 2**22 + 1, 1000)
    device = (await NvmlDevices("n", None).read())[0]
    oldest, gone = device.processes
    assert isinstance(oldest, SeenProcess)
    assert oldest.age == age_text(time.time() - psutil.Process(1).create_time())
    assert (gone.user, gone.command) == (None, None)
    assert json.loads(device.model_dump_json())["processes"][1] == {
        "pid": 2**22 + 1,
        "memory_mib": 1000.0,
        "user": None,
        "command": None,
    }, "the wire's models are as they were"


async def test_many_processes_on_one_device(driver: Driver) -> None:
    for _ in range(40):
        driver.use(3, os.getpid(), 100)
    device = (await NvmlDevices("n", None).read())[3]
    assert len(device.processes) == 40
    assert {process.user for process in device.processes} == {psutil.Process().username()}


async def test_a_process_whose_memory_is_not_told_is_still_named(driver: Driver, stranger: int) -> None:
    driver.use(2, stranger, 30_000, told=False)
    marked = mark_foreign(await NvmlDevices("n", None).read(), frozenset(), FOREIGN_MIB)
    assert marked[2].processes[0].memory_mib is None
    assert str(marked[2].reason).startswith(f"30004 MiB are in use, by pid {stranger} (sleep) of ")
    assert str(marked[2].reason).endswith(": memory unknown")


async def test_without_permission_to_see_processes_their_memory_counts(driver: Driver, stranger: int) -> None:
    driver.use(2, stranger, 30_000)
    driver.fail("nvmlDeviceGetComputeRunningProcesses_v3", "*", NO_PERMISSION)
    marked = mark_foreign(await NvmlDevices("n", None).read(), frozenset(), FOREIGN_MIB)
    assert [device.index for device in marked if device.state is DeviceState.FOREIGN] == [2]
    assert "can't be seen from here" in str(marked[2].reason)


# ---------------------------------------------------------------- how the library is found, and who calls it


async def test_no_call_is_made_on_the_event_loops_thread(driver: Driver) -> None:
    devices = make_devices("auto", "n")
    for _ in range(3):
        await devices.read()
    assert await devices.check() == "ok"
    await devices.close()
    calls = driver.calls()
    assert {"nvmlInitWithFlags", "nvmlShutdown"} <= {call.function for call in calls}
    assert len(calls) > 100
    assert threading.get_native_id() not in {call.thread for call in calls}


async def test_a_reading_does_not_answer_a_question_that_came_after_it_began(driver: Driver) -> None:
    """A job's memory is asked for when it has ended: what was read before that is about the job, not its end."""
    driver.use(3, os.getpid(), 5000)
    devices = NvmlDevices("n", None)
    driver.hang("nvmlDeviceGetHandleByIndex_v2", 7)  # the first reading has passed device 3 when this holds it
    early = asyncio.create_task(devices.read())
    await asyncio.to_thread(driver.wait_call, "nvmlDeviceGetHandleByIndex_v2", 7)
    driver.leave(3)
    late = [asyncio.create_task(devices.read()) for _ in range(3)]
    await asyncio.sleep(0)
    driver.heal()
    assert (await early)[3].processes != ()
    assert [(await task)[3].processes for task in late] == [()] * 3
    readings = [call for call in driver.calls() if call.function == "nvmlDeviceGetUUID" and call.gpu == 0]
    assert len(readings) == 2, "those that waited share one reading"


READ = """
import asyncio, sys
from daemon.adapters.device_setting import make_devices
async def main():
    devices = make_devices(sys.argv[1], "n")
    for device in await devices.read():
        print(device.index, device.name, device.state, device.memory_used_mib)
    await devices.close()
asyncio.run(main())
"""


async def run(environment: dict[str, str], setting: str) -> tuple[int, str]:
    """A process of its own, which finds the library as the daemon does; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", READ, setting),
        cwd=REPO,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_pynvml_loads_the_library_by_its_name(apart: Driver) -> None:
    apart.change(3, used=333)
    code, said = await run(apart.environment, "0,3")
    assert (code, said.splitlines()) == (
        0,
        ["0 NVIDIA H100 80GB HBM3 free 4.0", "3 NVIDIA H100 80GB HBM3 free 333.0"],
    )


async def test_a_library_that_cant_be_loaded_is_said(tmp_path: Path) -> None:
    (tmp_path / LIBRARY).touch()
    code, said = await run({"LD_LIBRARY_PATH": str(tmp_path)}, "auto")
    assert code == 1
    assert "NVML Shared Library Not Found" in said
    assert "SWIFT_TRAINER_DEVICES=cpu" in said
