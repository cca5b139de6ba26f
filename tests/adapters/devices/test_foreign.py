"""Which devices are marked as in foreign use: properties that hold for any devices."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.devices import DRIVER_MIB, IDLE_MIB, MOST_NAMED, OldDriversDevice, SeenProcess, mark_foreign
from schemas.enums import DeviceState
from schemas.events import Device, DeviceProcess

memory = st.one_of(st.none(), st.floats(0, 100_000))
word = st.one_of(st.none(), st.text(min_size=1, max_size=8))
pid = st.integers(1, 2**22)
process = st.one_of(
    st.builds(DeviceProcess, pid=pid, memory_mib=memory, user=word, command=word),
    st.builds(SeenProcess, pid=pid, memory_mib=memory, user=word, command=word, age=word),
)
state = st.sampled_from([DeviceState.FREE, DeviceState.FOREIGN, DeviceState.UNHEALTHY])
new_drivers = st.builds(
    Device,
    node_id=st.just("n"),
    index=st.integers(0, 15),
    name=st.just("gpu"),
    memory_used_mib=memory,
    state=state,
    processes=st.lists(process, max_size=5).map(tuple),
)
device = st.one_of(new_drivers, new_drivers.map(lambda one: OldDriversDevice(**dict(one))))
devices = st.lists(device, max_size=8, unique_by=lambda one: one.index).map(tuple)
leases = st.frozensets(st.integers(0, 15))
limits = st.integers(0, 50_000)


def held(one: Device) -> float:
    return sum(process.memory_mib or 0.0 for process in one.processes)


@given(devices, leases, limits)
def test_only_free_devices_change_to_leased_or_foreign(
    before: tuple[Device, ...], leased: frozenset[int], limit: int
) -> None:
    after = mark_foreign(before, leased, limit)
    assert [one.index for one in after] == [one.index for one in before]
    for old, new in zip(before, after, strict=True):
        if old.state is not DeviceState.FREE:
            assert new == old
        elif new != old:
            assert new.state is (DeviceState.LEASED if old.index in leased else DeviceState.FOREIGN)
            assert new.reason
            assert new.model_copy(update={"state": old.state, "reason": old.reason}) == old


@given(devices, limits)
def test_a_device_is_foreign_exactly_when_others_hold_more_than_allowed(before: tuple[Device, ...], limit: int) -> None:
    for old, new in zip(before, mark_foreign(before, frozenset(), limit), strict=True):
        if old.state is DeviceState.FREE:
            seen = held(old) > limit
            unseen = (old.memory_used_mib or 0.0) - held(old)
            if all(process.memory_mib is not None for process in old.processes):
                unseen = unseen - DRIVER_MIB if isinstance(old, OldDriversDevice) else unseen * (unseen > IDLE_MIB)
            assert (new.state is DeviceState.FOREIGN) == (seen or unseen > limit)


@given(devices, leases, limits)
def test_marking_twice_is_marking_once(before: tuple[Device, ...], leased: frozenset[int], limit: int) -> None:
    once = mark_foreign(before, leased, limit)
    assert mark_foreign(once, leased, limit) == once


@given(devices, leases, limits, limits)
def test_a_higher_limit_marks_no_more(before: tuple[Device, ...], leased: frozenset[int], one: int, other: int) -> None:
    low, high = sorted((one, other))

    def foreign(limit: int) -> set[int]:
        return {d.index for d in mark_foreign(before, leased, limit) if d.state is DeviceState.FOREIGN}

    assert foreign(high) <= foreign(low)


@given(devices, limits)
def test_reasons_are_short(before: tuple[Device, ...], limit: int) -> None:
    for new in mark_foreign(before, frozenset(), limit):
        assert (new.reason or "").count("pid ") <= MOST_NAMED or "pid " in str(new.processes)


def test_memory_of_processes_that_cant_be_seen_counts() -> None:
    """In a container NVML shows the memory of all, and the processes of none."""
    hidden = Device(node_id="n", index=0, name="gpu", memory_used_mib=40_000)
    idle = OldDriversDevice(node_id="n", index=1, name="gpu", memory_used_mib=650)
    marked, left = mark_foreign((hidden, idle), frozenset(), 500)
    assert (marked.state, left.state) == (DeviceState.FOREIGN, DeviceState.FREE)
    assert (
        marked.reason
        == "40000 MiB are in use, by processes that can't be seen from here (another container, a display?)"
    )
