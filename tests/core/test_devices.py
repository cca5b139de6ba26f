"""A device in foreign use is not given away, and its reason names who uses it."""

from daemon.core.devices import DRIVER_MIB, mark_foreign
from schemas.enums import DeviceState
from schemas.events import Device, DeviceProcess

LIMIT_MIB = 500


def device(index: int, *processes: DeviceProcess, state: DeviceState = DeviceState.FREE) -> Device:
    return Device(node_id="n", index=index, name="gpu", state=state, processes=processes)


def process(pid: int, memory_mib: float | None, user: str | None = "bob") -> DeviceProcess:
    return DeviceProcess(pid=pid, memory_mib=memory_mib, user=user, command="python" if user else None)


def states(*devices: Device, leased: frozenset[int] = frozenset()) -> list[DeviceState]:
    return [found.state for found in mark_foreign(devices, leased, LIMIT_MIB)]


def test_memory_of_others_above_the_limit_makes_a_device_foreign() -> None:
    assert states(device(0, process(7, 501)), device(1, process(8, 500)), device(2)) == [
        DeviceState.FOREIGN,
        DeviceState.FREE,
        DeviceState.FREE,
    ]
    assert states(device(0, process(7, 300), process(8, 300))) == [DeviceState.FOREIGN]
    assert states(device(0, process(7, None))) == [DeviceState.FREE]


def test_memory_that_no_process_explains_counts_above_what_a_driver_takes() -> None:
    used = device(0).model_copy(update={"memory_used_mib": DRIVER_MIB + LIMIT_MIB + 1.0})
    (found,) = mark_foreign((used,), frozenset(), LIMIT_MIB)
    assert found.state is DeviceState.FOREIGN
    assert "1525 MiB are in use" in (found.reason or "")
    assert states(used.model_copy(update={"memory_used_mib": float(DRIVER_MIB + LIMIT_MIB)})) == [DeviceState.FREE]
    explained = used.model_copy(update={"processes": (process(7, 400),)})
    assert states(explained) == [DeviceState.FREE]


def test_a_leased_device_and_an_unhealthy_one_stay_as_they_are() -> None:
    devices = (device(0, process(7, 9000)), device(1, process(7, 9000), state=DeviceState.UNHEALTHY))
    assert states(*devices, leased=frozenset({0})) == [DeviceState.FREE, DeviceState.UNHEALTHY]


def test_the_reason_names_the_largest_users() -> None:
    found = mark_foreign(
        (device(0, *(process(pid, pid * 100.0, None if pid == 9 else "bob") for pid in range(1, 10))),),
        frozenset(),
        LIMIT_MIB,
    )
    assert found[0].reason == (
        "in use by pid 9 (unknown) of unknown: 900 MiB, pid 8 (python) of bob: 800 MiB, pid 7 (python) of bob: 700 MiB"
    )
