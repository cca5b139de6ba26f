"""How close devices are to each other, as NVML tells it: read once, and again only where a device is new."""

import pytest

from daemon.adapters.nvml import NvmlDevices
from tests.nvml.standin import GPU_IS_LOST, UNKNOWN, Driver

INTERNAL, SINGLE, MULTIPLE, HOSTBRIDGE, NODE, SYSTEM = 0, 10, 20, 30, 40, 50
ANCESTOR, LINK = "nvmlDeviceGetTopologyCommonAncestor", "nvmlDeviceGetNvLinkState"


async def peers(devices: NvmlDevices) -> dict[int, dict[str, int]]:
    """What each device says, where it says anything."""
    return {device.index: device.peers for device in await devices.read() if device.peers}


@pytest.mark.parametrize(
    ("level", "closeness"), [(INTERNAL, 50), (SINGLE, 40), (MULTIPLE, 30), (HOSTBRIDGE, 20), (NODE, 10), (SYSTEM, 0)]
)
async def test_what_two_devices_have_in_common_is_their_closeness(driver: Driver, level: int, closeness: int) -> None:
    driver.near(1, 4, level)
    assert await peers(NvmlDevices("n", None)) == {1: {"4": closeness}, 4: {"1": closeness}}


async def test_a_level_that_is_not_known_and_one_that_is_not_told_are_absent(driver: Driver) -> None:
    driver.near(0, 1, 17)
    driver.near(2, 3, SINGLE)
    driver.fail(ANCESTOR, 2, UNKNOWN)
    assert await peers(NvmlDevices("n", None)) == {}


async def test_nvlinks_to_the_other_device_count_above_all(driver: Driver) -> None:
    for gpu, other in ((0, 1), (1, 0)):
        driver.links(gpu, other, 4)
    for gpu, other in ((2, 3), (3, 2)):
        driver.links(gpu, other, 12)
    for other in (1, 2, 3):
        driver.near(0, other, NODE)
    found = await peers(NvmlDevices("n", (0, 1, 2, 3)))
    assert found[0] == {"1": 104, "2": 10, "3": 10}
    assert found[3] == {"0": 10, "2": 112}


async def test_links_to_a_switch_reach_every_device_behind_it(driver: Driver) -> None:
    for gpu in range(3):
        driver.links(gpu, "switch", 18)
    driver.links(3, "switch", 12)
    driver.near(4, 0, SYSTEM)
    found = await peers(NvmlDevices("n", None))
    assert found[0] == {"1": 118, "2": 118, "3": 112, "4": 0}
    assert found[4] == {"0": 0}


async def test_it_is_asked_once_and_again_where_a_device_is_new(driver: Driver) -> None:
    driver.near(0, 1, SINGLE)
    devices = NvmlDevices("n", (0, 1, 2))
    first = await peers(devices)
    asked = _asked(driver)
    assert asked > 0
    driver.lose(1)
    await devices.read()
    driver.heal()
    assert await peers(devices) == first
    assert _asked(driver) == asked, "a device that is lost and comes back is no new one"
    driver.near(0, 2, MULTIPLE)
    driver.change(2, uuid="GPU-another-card")
    assert (await peers(devices))[0] == {"1": 40, "2": 30}
    assert _asked(driver) == 2 * asked


@pytest.mark.parametrize("function", [ANCESTOR, LINK])
async def test_a_device_that_is_lost_meanwhile_has_no_peers_and_the_others_have(driver: Driver, function: str) -> None:
    driver.near(0, 1, SINGLE)
    driver.near(1, 2, SINGLE)
    driver.fail(function, 0, GPU_IS_LOST)
    assert await peers(NvmlDevices("n", (0, 1, 2))) == {1: {"2": 40}, 2: {"1": 40}}


async def test_an_answer_that_is_not_understood_costs_the_topology_alone(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.near(0, 1, SINGLE)

    def nothing(_: object) -> None:
        """No answer, and no error either."""

    monkeypatch.setattr("pynvml.nvmlDeviceGetPciInfo", nothing)
    devices = NvmlDevices("n", None)
    assert await peers(devices) == {}
    assert await devices.check() == "ok"


def _asked(driver: Driver) -> int:
    return sum(call.function in {ANCESTOR, LINK} for call in driver.calls())
