"""MIG instances through the real `pynvml`: devices of their own, with numbers that stay."""

import os

from daemon.adapters.nvml import NvmlDevices
from daemon.adapters.nvml_identities import Identities, gpu_of
from daemon.core.devices import mark_foreign
from schemas.enums import DeviceState
from schemas.events import Device
from tests.nvml.standin import NO_PERMISSION, Driver
from tests.nvml.test_events import FALLEN_OFF, listening


def ids(devices: tuple[Device, ...]) -> dict[int, str | None]:
    """Each device's own id, by index, of those that are MIG instances."""
    return {device.index: device.uuid for device in devices if device.index >= 1000}


async def test_a_gpu_that_is_cut_is_its_instances_and_the_others_are_as_they_were(driver: Driver) -> None:
    driver.cut(3, "a", "b")
    driver.change(3, temp=55, power=200_000)
    driver.use(3, os.getpid(), 9000, place=1)
    devices = NvmlDevices("n", None)
    found = await devices.read()
    assert [device.index for device in found] == [0, 1, 2, 1030, 1031, 4, 5, 6, 7]
    second = found[4]
    assert second.model_copy(update={"processes": ()}) == Device(
        node_id="n",
        index=1031,
        uuid="MIG-b",
        name="NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        memory_total_mib=40_448.0,
        memory_used_mib=9030.0,
        memory_free_mib=40_448.0 - 9030.0 - 600.0,
        temperature=55.0,
        power=200.0,
    )
    assert [process.pid for process in second.processes] == [os.getpid()]
    marked = mark_foreign(found, frozenset(), 500)
    assert [device.index for device in marked if device.state is DeviceState.FOREIGN] == [1031]
    assert await devices.check() == "ok"


async def test_an_instance_keeps_its_number_whatever_happens_to_its_neighbours(driver: Driver) -> None:
    driver.cut(0, "a", "b", "c")
    devices = NvmlDevices("n", (0,))
    assert ids(await devices.read()) == {1000: "MIG-a", 1001: "MIG-b", 1002: "MIG-c"}
    driver.cut(0, "b", "c", "d")  # NVML numbers those that are left anew
    assert ids(await devices.read()) == {1001: "MIG-b", 1002: "MIG-c", 1000: "MIG-d"}
    driver.cut(0, None, "c")
    assert ids(await devices.read()) == {1002: "MIG-c"}


def test_a_number_tells_its_gpu() -> None:
    assert Identities().cut(12, ["x", "y"]) == {"x": 1120, "y": 1121}
    assert [gpu_of(index) for index in (0, 7, 1000, 1006, 1032, 1121)] == [0, 7, 0, 0, 3, 12]


async def test_in_mig_mode_without_an_instance_a_gpu_says_what_to_do(driver: Driver) -> None:
    driver.change(3, mig=1)
    for function in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"):
        driver.fail(function, 3, NO_PERMISSION)  # it tells its memory to privileged users only
    devices = NvmlDevices("n", None)
    found = (await devices.read())[3]
    assert (found.index, found.state) == (3, DeviceState.UNHEALTHY)
    assert str(found.reason).startswith(
        "it is in MIG mode and has no instance to run on; make some (nvidia-smi mig -i 3"
    )
    driver.heal()
    driver.change(3, mig=0)
    assert await devices.check() == "ok"


async def test_memory_errors_and_xid_errors_of_a_gpu_are_evidence_against_all_its_instances(driver: Driver) -> None:
    driver.cut(2, "a", "b")
    async with listening(driver) as ears:
        driver.xid(2, FALLEN_OFF)
        assert [index for index, _ in await ears.wait(2)] == [1020, 1021]
        driver.change(2, ecc=1)
        found = await ears.devices.read()
        assert [device.index for device in found if device.state is DeviceState.UNHEALTHY] == [1020, 1021]
        assert [index for index, _ in await ears.wait(4)] == [1020, 1021] * 2


async def test_a_gpu_that_is_lost_is_still_the_devices_that_it_was(driver: Driver) -> None:
    driver.cut(2, "a", "b")
    async with listening(driver) as ears:
        driver.lose(2)
        driver.lose(5)
        found = await ears.devices.read()
        assert ids(found) == {1020: "MIG-a", 1021: "MIG-b"}
        lost = [device for device in found if device.state is DeviceState.UNHEALTHY]
        assert [(device.index, device.reason) for device in lost] == [
            (index, "NVML: GPU is lost") for index in (1020, 1021, 5)
        ]
        driver.xid(2, FALLEN_OFF)
        await ears.wait(2)
        assert [fault.device.uuid for fault in ears.heard] == ["MIG-a", "MIG-b"], "and not whatever is there later"


async def test_instances_have_no_peers(driver: Driver) -> None:
    driver.cut(0, "a", "b")
    driver.near(0, 1, 10)
    driver.near(1, 2, 10)
    found = await NvmlDevices("n", (0, 1, 2)).read()
    assert {device.index: device.peers for device in found} == {1000: {}, 1001: {}, 1: {"2": 40}, 2: {"1": 40}}
