"""A device in foreign use is not given away, and its reason names who uses it."""

import pytest

from daemon.core.devices import (
    DRIVER_MIB,
    IDLE_MIB,
    NOT_READ_AGAIN,
    OldDriversDevice,
    SeenProcess,
    age_text,
    cuda_names,
    health,
    left_mib,
    mark_foreign,
    not_together,
)
from schemas.enums import DeviceState
from schemas.events import Device, DeviceProcess

LIMIT_MIB = 500


def device(index: int, *processes: DeviceProcess, state: DeviceState = DeviceState.FREE) -> Device:
    return Device(node_id="n", index=index, name="gpu", state=state, processes=processes)


def process(pid: int, memory_mib: float | None, user: str | None = "bob") -> DeviceProcess:
    return DeviceProcess(pid=pid, memory_mib=memory_mib, user=user, command="python" if user else None)


def states(*devices: Device, leased: frozenset[int] = frozenset()) -> list[DeviceState]:
    return [found.state for found in mark_foreign(devices, leased, LIMIT_MIB)]


def test_the_health_of_devices_is_ok_or_names_those_that_are_not() -> None:
    lost = device(1, state=DeviceState.UNHEALTHY).model_copy(update={"reason": "NVML: GPU is lost"})
    foreign = device(2, state=DeviceState.FOREIGN)
    assert health((device(0), foreign)) == health(()) == "ok"
    assert health((device(0), lost, lost.model_copy(update={"index": 3}))) == (
        "device 1: NVML: GPU is lost; device 3: NVML: GPU is lost"
    )


def test_memory_of_others_above_the_limit_makes_a_device_foreign() -> None:
    assert states(device(0, process(7, 501)), device(1, process(8, 500)), device(2)) == [
        DeviceState.FOREIGN,
        DeviceState.FREE,
        DeviceState.FREE,
    ]
    assert states(device(0, process(7, 300), process(8, 300))) == [DeviceState.FOREIGN]
    assert states(device(0, process(7, None))) == [DeviceState.FREE]


def used(mib: float, *processes: DeviceProcess, old: bool = False) -> Device:
    kind = OldDriversDevice if old else Device
    return kind(node_id="n", index=0, name="gpu", memory_used_mib=mib, processes=processes)


def test_memory_that_no_process_explains_counts() -> None:
    (found,) = mark_foreign((used(LIMIT_MIB + 1),), frozenset(), LIMIT_MIB)
    assert found.state is DeviceState.FOREIGN
    assert "501 MiB are in use" in (found.reason or "")
    assert states(used(LIMIT_MIB)) == [DeviceState.FREE]
    assert states(used(900, process(7, 400))) == [DeviceState.FREE], "neither holds more than the limit"
    assert states(used(901, process(7, 400))) == [DeviceState.FOREIGN]


def test_of_an_old_driver_it_counts_above_what_the_driver_takes() -> None:
    assert states(used(DRIVER_MIB + LIMIT_MIB + 1, old=True)) == [DeviceState.FOREIGN]
    assert states(used(DRIVER_MIB + LIMIT_MIB, old=True)) == [DeviceState.FREE]
    assert states(used(DRIVER_MIB + LIMIT_MIB + 1, process(7, 400), old=True)) == [DeviceState.FREE]


@pytest.mark.parametrize("old", [False, True])
def test_a_process_whose_memory_is_not_told_may_hold_all_that_is_used(old: bool) -> None:
    (found,) = mark_foreign((used(1400, process(7, None), old=old),), frozenset(), LIMIT_MIB)
    assert (found.state, found.reason) == (
        DeviceState.FOREIGN,
        "1400 MiB are in use, by pid 7 (python) of bob: memory unknown",
    )
    assert states(used(LIMIT_MIB, process(7, None), old=old)) == [DeviceState.FREE]


def test_what_an_idle_device_shows_as_used_is_nobodys_whatever_the_limit() -> None:
    for idle in (used(IDLE_MIB), used(DRIVER_MIB, old=True)):
        assert mark_foreign((idle,), frozenset(), 0) == (idle,)
        assert left_mib(idle) == 0.0


def test_what_is_left_on_a_device_counts_those_who_cant_be_seen_and_is_unknown_where_it_cant_be_read() -> None:
    assert left_mib(used(9004, process(7, 9000))) == 9000.0
    assert left_mib(used(1500)) == 1500.0
    assert left_mib(used(1500, process(7, None))) == 1500.0
    assert left_mib(used(DRIVER_MIB + 300, old=True)) == 300.0
    assert left_mib(device(0)) is None


def test_a_leased_device_and_an_unhealthy_one_stay_as_they_are() -> None:
    devices = (device(0, process(7, 9000)), device(1, process(7, 9000), state=DeviceState.UNHEALTHY))
    assert states(*devices, leased=frozenset({0})) == [DeviceState.FREE, DeviceState.UNHEALTHY]


def test_a_leased_device_is_not_free_before_its_memory_is_read_again() -> None:
    gpu = device(0, process(7, 9000)).model_copy(update={"memory_used_mib": 9000.0})
    (leased,) = mark_foreign((gpu,), frozenset({0}), LIMIT_MIB)
    assert leased == gpu.model_copy(update={"state": DeviceState.LEASED, "reason": NOT_READ_AGAIN})
    assert states(gpu) == [DeviceState.FOREIGN]


def test_the_reason_names_the_largest_users() -> None:
    found = mark_foreign(
        (device(0, *(process(pid, pid * 100.0, None if pid == 9 else "bob") for pid in range(1, 10))),),
        frozenset(),
        LIMIT_MIB,
    )
    assert found[0].reason == (
        "in use by pid 9 (unknown) of unknown: 900 MiB, pid 8 (python) of bob: 800 MiB, pid 7 (python) of bob: 700 MiB"
    )


def test_a_process_is_named_with_all_that_is_known_of_it() -> None:
    known = SeenProcess(pid=4711, memory_mib=20_480, user="anna", command="python3", age="3 h")
    elsewhere = DeviceProcess(pid=12, memory_mib=1000)
    device = Device(node_id="n", index=0, name="gpu", memory_used_mib=21_480, processes=(elsewhere, known))
    (marked,) = mark_foreign((device,), frozenset(), 500)
    assert marked.reason == (
        "in use by pid 4711 (python3) of anna for 3 h: 20480 MiB, pid 12 (unknown) of unknown: 1000 MiB"
    )


def test_a_process_whose_memory_is_not_told_is_named_before_others_are_suspected() -> None:
    silent = SeenProcess(pid=7, user="ben", command="python3", age="2 d")
    device = Device(node_id="n", index=0, name="gpu", memory_used_mib=30_000, processes=(silent,))
    (marked,) = mark_foreign((device,), frozenset(), 500)
    assert marked.reason == "30000 MiB are in use, by pid 7 (python3) of ben for 2 d: memory unknown"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "less than 1 min"),
        (59.9, "less than 1 min"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86_399, "23 h"),
        (86_400, "1 d"),
        (400 * 86_400, "400 d"),
    ],
)
def test_ages_are_coarse(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


# ---------------------------------------------------------------- MIG


GPUS = (
    Device(node_id="n", index=0, uuid="GPU-0", name="H100"),
    Device(node_id="n", index=1, uuid="GPU-1", name="H100"),
)
INSTANCES = (
    Device(node_id="n", index=1020, uuid="MIG-a", name="H100 MIG 3g.40gb"),
    Device(node_id="n", index=1021, uuid="MIG-b", name="H100 MIG 3g.40gb"),
)


def test_cuda_knows_gpus_by_index_and_by_id_where_one_is_cut_into_instances() -> None:
    assert cuda_names(GPUS, (1, 0)) == ("1", "0")
    assert cuda_names((*GPUS, *INSTANCES), (1, 0)) == ("GPU-1", "GPU-0")
    assert cuda_names((*GPUS, *INSTANCES), (1021,)) == ("MIG-b",)
    assert cuda_names(INSTANCES, (7,)) == ("7",), "one that is not known any more"


def test_a_job_has_one_mig_instance_and_nothing_beside_it() -> None:
    devices = (*GPUS, *INSTANCES)
    assert not_together(devices, (0, 1)) is None
    assert not_together(devices, (1020,)) is None
    assert not_together(devices, (1020, 1021)) == (
        "needs 2 devices, and a job can have one MIG instance at most (here 1020, 1021): "
        "ask for one device, or name whole GPUs in gpu_id"
    )
    assert "(here 1020)" in str(not_together(devices, (0, 1020)))
