"""SWIFT_TRAINER_DEVICES: every form, and what is said where it can't be used. And the CPU slots that it may mean."""

import pytest

from daemon.adapters.cpu_devices import CpuSlots
from daemon.adapters.device_setting import DeviceSettingError, make_devices
from daemon.adapters.nvml import NvmlDevices
from schemas.enums import DeviceState
from schemas.events import Device
from tests.adapters.devices.driver import Driver, Gpu


async def indices(setting: str) -> list[int]:
    return [device.index for device in await make_devices(setting, "n").read()]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("cpu", [0]), ("cpu:1", [0]), ("cpu:3", [0, 1, 2]), (" CPU:2 ", [0, 1]), ("cpu : 2", [0, 1])],
)
async def test_cpu_slots(setting: str, expected: list[int]) -> None:
    assert isinstance(make_devices(setting, "n"), CpuSlots)
    assert await indices(setting) == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("auto", [0, 1, 2]), (" Auto ", [0, 1, 2]), ("1", [1]), ("0,2", [0, 2]), ("2, 0", [2, 0]), ("01", [1])],
)
async def test_gpus(monkeypatch: pytest.MonkeyPatch, setting: str, expected: list[int]) -> None:
    Driver(monkeypatch, Gpu(), Gpu(), Gpu())
    assert isinstance(make_devices(setting, "n"), NvmlDevices)
    assert await indices(setting) == expected


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("cpu:0", "at least cpu:1"),
        ("0,1,0", "twice"),
        ("0,00", "twice"),
        ("3", "does not have"),
        ("", "use auto"),
        ("gpu", "use auto"),
        ("cpu:", "use auto"),
        ("cpu:-1", "use auto"),
        ("cpu:99999", "use auto"),
        ("0,", "use auto"),
        ("-1", "use auto"),
        ("0;1", "use auto"),
        ("GPU-5a1b", "use auto"),
        ("٣", "use auto"),
    ],
)
def test_what_cant_be_used_says_what_to_do(monkeypatch: pytest.MonkeyPatch, setting: str, said: str) -> None:
    Driver(monkeypatch, Gpu(), Gpu(), Gpu())
    with pytest.raises(DeviceSettingError, match=said) as raised:
        make_devices(setting, "n")
    assert "SWIFT_TRAINER_DEVICES" in str(raised.value)


def test_auto_without_a_driver_points_to_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch).missing = True
    with pytest.raises(DeviceSettingError, match="SWIFT_TRAINER_DEVICES=cpu"):
        make_devices("auto", "n")


async def test_slots_have_no_figures_and_are_always_well() -> None:
    slots = CpuSlots(2, "n")
    assert await slots.read() == (
        Device(node_id="n", index=0, name="CPU slot 0", state=DeviceState.FREE),
        Device(node_id="n", index=1, name="CPU slot 1", state=DeviceState.FREE),
    )
    assert (slots.uses_cuda, await slots.check()) == (False, "ok")
    await slots.close()
