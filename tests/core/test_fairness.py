"""What `plan()` promises over any queue and any fleet: no idle device while work fits, order kept, nobody starved."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.scheduler import plan
from daemon.core.turns import order
from daemon.core.work import Held, NodeView, Plan, Work, WorkKind, end_of
from schemas.enums import DeviceState, NodeState
from schemas.events import Device
from tests.core.factory import NOW

Slot = tuple[str, int]


def device(node_id: str, index: int, state: DeviceState, memory_mib: int | None = None) -> Device:
    return Device(node_id=node_id, index=index, name="gpu", state=state, memory_total_mib=memory_mib)


DEVICE_STATES = st.tuples(
    st.sampled_from([DeviceState.FREE] * 4 + [DeviceState.FOREIGN, DeviceState.UNHEALTHY]),
    st.sampled_from([40_000, 80_000, 80_000, None]),
)
NODE_STATES = st.sampled_from([NodeState.ONLINE] * 4 + [NodeState.DRAINED, NodeState.OFFLINE])
FLEETS = st.lists(st.tuples(NODE_STATES, st.lists(DEVICE_STATES, max_size=8)), max_size=3).map(
    lambda found: [
        NodeView(f"n{number}", state, tuple(device(f"n{number}", index, *each) for index, each in enumerate(devices)))
        for number, (state, devices) in enumerate(found)
    ]
)
TIMES = [NOW + timedelta(seconds=after_s) for after_s in (-1, 10, 10, 50)]
OWNERS = st.sampled_from([None, "ann", "bob"])
QUEUES = st.lists(
    st.builds(
        Work,
        job_id=st.integers(0, 10_000).map(str),
        kind=st.sampled_from(WorkKind),
        priority=st.integers(0, 3),
        queued_at=st.integers(0, 50).map(lambda age_s: NOW - timedelta(seconds=age_s)),
        count=st.integers(1, 6),
        pinned=st.one_of(st.just(()), st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True).map(tuple)),
        not_before=st.sampled_from([None, None, None, NOW, NOW + timedelta(seconds=1)]),
        avoid=st.lists(st.tuples(st.sampled_from(["n0", "n1"]), st.integers(0, 7)), max_size=3).map(tuple),
        owner=OWNERS,
        memory_mib=st.sampled_from([None, None, 40_000, 60_000]),
        timeout_s=st.sampled_from([None, 5.0, 10.0, 30.0]),
    ).map(lambda work: replace(work, count=len(work.pinned) or work.count)),
    max_size=12,
    unique_by=lambda work: (work.job_id, work.kind),
)
LEASES = st.dictionaries(
    st.tuples(st.integers(0, 2), st.integers(0, 7)), st.tuples(OWNERS, st.sampled_from([None, *TIMES])), max_size=8
).map(
    lambda slots: [
        Held(f"h{number}", WorkKind.TRAIN, f"n{node}", (index,), owner, until)
        for number, ((node, index), (owner, until)) in enumerate(sorted(slots.items(), key=lambda item: item[0]))
    ]
)


def left_over(nodes: Sequence[NodeView], held: Iterable[Held], decided: Plan) -> set[Slot]:
    """The devices that stay idle."""
    taken = {(item.node_id, index) for item in held for index in item.devices}
    taken |= {(start.node_id, index) for start in decided.starts for index in start.devices}
    return {
        (node.node_id, each.index)
        for node in nodes
        if node.state is NodeState.ONLINE
        for each in node.devices
        if each.state is DeviceState.FREE
    } - taken


def suits(work: Work, each: Device) -> bool:
    """Whether a device has what work asks for."""
    return work.memory_mib is None or (each.memory_total_mib or 0) >= work.memory_mib


def fits(work: Work, slots: set[Slot], nodes: Sequence[NodeView]) -> bool:
    """Whether work could be placed on these devices."""
    for node in nodes:
        here = {each.index for each in node.devices if (node.node_id, each.index) in slots and suits(work, each)}
        if here.issuperset(work.pinned) if work.pinned else len(here) >= work.count:
            return True
    return False


def could_ever(work: Work, nodes: Sequence[NodeView]) -> bool:
    """Whether any node that is online is large enough."""
    slots = {(node.node_id, each.index) for node in nodes if node.state is NodeState.ONLINE for each in node.devices}
    return fits(work, slots, nodes)


def is_due(work: Work) -> bool:
    return work.not_before is None or work.not_before <= NOW


@given(waiting=QUEUES, nodes=FLEETS, held=LEASES)
def test_no_device_is_given_twice_and_none_that_is_not_free(
    waiting: list[Work], nodes: list[NodeView], held: list[Held]
) -> None:
    decided = plan(waiting, nodes, held, NOW)
    there = left_over(nodes, held, Plan((), ()))
    given_away: list[Slot] = [(start.node_id, index) for start in decided.starts for index in start.devices]
    assert len(set(given_away)) == len(given_away)
    assert set(given_away) <= there
    assert all(len(start.devices) == start.work.count for start in decided.starts)
    assert all(start.work.pinned in ((), start.devices) for start in decided.starts)
    assert all(is_due(start.work) for start in decided.starts)
    by_slot = {(node.node_id, each.index): each for node in nodes for each in node.devices}
    assert all(suits(start.work, by_slot[start.node_id, i]) for start in decided.starts for i in start.devices)


@given(waiting=QUEUES, nodes=FLEETS, held=LEASES, random=st.randoms(use_true_random=False))
def test_the_answer_does_not_depend_on_any_order(
    waiting: list[Work], nodes: list[NodeView], held: list[Held], random: Random
) -> None:
    mixed = [random.sample(items, len(items)) for items in (waiting, nodes, held)]
    turned = [replace(node, devices=tuple(reversed(node.devices))) for node in mixed[1]]  # type: ignore[arg-type]
    decided = plan(waiting, nodes, held, NOW)
    again = plan(mixed[0], mixed[1], mixed[2], NOW)  # type: ignore[arg-type]
    assert decided == again
    assert [(start.work, start.devices) for start in decided.starts] == [
        (start.work, start.devices)
        for start in plan(waiting, turned, held, NOW).starts  # type: ignore[arg-type]
    ]


@given(waiting=QUEUES, nodes=FLEETS, held=LEASES)
def test_everybody_gets_an_answer_and_who_waits_a_reason(
    waiting: list[Work], nodes: list[NodeView], held: list[Held]
) -> None:
    decided = plan(waiting, nodes, held, NOW)
    answered = [start.work for start in decided.starts] + [work for work, _ in decided.waits]
    assert order(answered) == order(waiting)
    assert all(reason.strip() for _, reason in decided.waits)
    assert order(decided.turns) == order(waiting)
    assert [work for work, _ in decided.waits] == [work for work in decided.turns if work in dict(decided.waits)]


@given(waiting=QUEUES, nodes=FLEETS, held=LEASES)
def test_no_device_idles_that_is_not_kept_for_somebody_ahead(
    waiting: list[Work], nodes: list[NodeView], held: list[Held]
) -> None:
    decided = plan(waiting, nodes, held, NOW)
    idle = left_over(nodes, held, decided)
    ahead = False
    for work, _ in decided.waits:
        if not is_due(work) or not could_ever(work, nodes):
            continue
        assert ahead or not fits(work, idle, nodes), f"{work} fits on {idle}, and nobody is ahead of it"
        ahead = True


@given(waiting=QUEUES, nodes=FLEETS, held=LEASES)
def test_nobody_behind_takes_what_the_first_who_waits_could_have_used(
    waiting: list[Work], nodes: list[NodeView], held: list[Held]
) -> None:
    decided = plan(waiting, nodes, held, NOW)
    able = [work for work, _ in decided.waits if is_due(work) and could_ever(work, nodes)]
    if not able:
        return
    first = able[0]
    place = decided.turns.index(first)
    behind = [start for start in decided.starts if decided.turns.index(start.work) > place]
    taken = {(start.node_id, index) for start in behind for index in start.devices}
    assert not fits(first, left_over(nodes, held, decided) | taken, nodes)
    kept = next((each for each in decided.reservations if each.work == first), None)
    for start in behind:
        if kept is not None and start.node_id == kept.node_id and set(start.devices) & set(kept.devices):
            assert kept.starts_at is not None, "what nobody knows the end of is lent to nobody"
            assert start.work.timeout_s is not None
            assert NOW + timedelta(seconds=start.work.timeout_s) <= kept.starts_at


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 6), min_size=1, max_size=3),
    longest=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    pinned=st.booleans(),
    limited=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_big_job_starts_within_a_bound_however_many_small_ones_come(
    sizes: list[int], longest: int, seed: int, pinned: bool, limited: float
) -> None:
    """Also where a share of the small ones has a time limit, and so may borrow what is kept."""
    random = Random(seed)
    nodes = [
        NodeView(f"n{n}", NodeState.ONLINE, tuple(device(f"n{n}", i, DeviceState.FREE) for i in range(size)))
        for n, size in enumerate(sizes)
    ]
    count = max(sizes)
    big = Work("big", WorkKind.TRAIN, 0, NOW, count, pinned=tuple(range(count)) if pinned else ())
    running: dict[str, tuple[Held, int]] = {}
    lasts: dict[str, int] = {}
    waiting: list[Work] = []
    bound = longest * (count + 1) * len(sizes)
    for tick in range(-longest, bound + 1):
        now = NOW + timedelta(seconds=tick)
        if tick <= 0:  # what is older than the big job may go before it: so nothing older waits
            waiting = [big] if tick == 0 else []
        for number in range(sum(sizes)):
            small = Work(f"small-{tick}-{number}", WorkKind.TRAIN, 0, now, random.randint(1, 2))
            lasts[small.job_id] = random.randint(1, longest)
            has_limit = random.random() < limited
            waiting.append(replace(small, timeout_s=float(lasts[small.job_id]) if has_limit else None))
        running = {key: (item, until) for key, (item, until) in running.items() if until > tick}
        for start in plan(waiting, nodes, [item for item, _ in running.values()], now).starts:
            if start.work is big:
                return
            until = end_of(now, start.work.timeout_s)
            lease = Held(start.work.job_id, WorkKind.TRAIN, start.node_id, start.devices, None, until)
            running[lease.job_id] = (lease, tick + lasts[lease.job_id])
            waiting.remove(start.work)
    raise AssertionError(f"the big job has not started after {bound} ticks of jobs that run {longest} at most")


@given(waiting=QUEUES, nodes=FLEETS, held=LEASES)
def test_a_second_look_at_what_was_decided_starts_nothing_more(
    waiting: list[Work], nodes: list[NodeView], held: list[Held]
) -> None:
    waiting = [replace(work, owner=None, timeout_s=None) for work in waiting]  # whose starts change nothing else
    decided = plan(waiting, nodes, held, NOW)
    now_held = [*held, *(Held(s.work.job_id, s.work.kind, s.node_id, s.devices) for s in decided.starts)]
    again = plan([work for work, _ in decided.waits], nodes, now_held, NOW)
    assert again.starts == ()
