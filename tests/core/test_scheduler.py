"""`plan()` never gives a device twice, keeps order, starves nobody, and always says why."""

from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.scheduler import plan
from daemon.core.turns import order
from daemon.core.work import Held, NodeView, Plan, Work, WorkKind
from schemas.enums import DeviceState, NodeState
from schemas.events import Device
from tests.core.factory import NOW


def node(name: str = "n1", count: int = 4, state: NodeState = NodeState.ONLINE, **states: DeviceState) -> NodeView:
    devices = tuple(
        Device(node_id=name, index=index, name="gpu", state=states.get(f"d{index}", DeviceState.FREE))
        for index in range(count)
    )
    return NodeView(node_id=name, state=state, devices=devices)


def work(job_id: str, count: int = 1, *, priority: int = 0, age_s: int = 0, pinned: tuple[int, ...] = ()) -> Work:
    return Work(
        job_id=job_id,
        kind=WorkKind.TRAIN,
        priority=priority,
        queued_at=NOW - timedelta(seconds=age_s),
        count=len(pinned) or count,
        pinned=pinned,
    )


def held(job_id: str, *devices: int, on: str = "n1") -> Held:
    return Held(job_id=job_id, kind=WorkKind.TRAIN, node_id=on, devices=devices)


def reasons(decided: Plan) -> dict[str, str]:
    return {item.job_id: reason for item, reason in decided.waits}


def test_priority_then_age_decides() -> None:
    decided = plan([work("young", age_s=1), work("old", age_s=9), work("high", priority=5)], [node(count=2)], [], NOW)
    assert [(start.work.job_id, start.devices) for start in decided.starts] == [("high", (0,)), ("old", (1,))]
    assert "young" in reasons(decided)


def test_pins_are_exact() -> None:
    decided = plan([work("p", pinned=(3, 1))], [node()], [], NOW)
    assert decided.starts[0].devices == (3, 1)


def test_a_pinned_job_waits_for_its_own_devices_and_says_who_has_them() -> None:
    decided = plan([work("p", pinned=(1,)), work("other", age_s=-1)], [node(count=2)], [held("x", 1)], NOW)
    assert [start.work.job_id for start in decided.starts] == ["other"]
    assert reasons(decided) == {"p": "device 1 runs job x"}


def test_a_big_job_is_not_starved_by_small_ones() -> None:
    nodes = [node(count=4)]
    waiting = [work("big", 4, age_s=100), work("small", 1, age_s=1)]
    decided = plan(waiting, nodes, [held("running", 0)], NOW)
    assert decided.starts == ()
    assert "device 1 is kept for job big, which is ahead" in reasons(decided)["small"]
    freed = plan(waiting, nodes, [], NOW)
    assert [start.work.job_id for start in freed.starts] == ["big"]


def test_what_can_never_run_says_so_and_holds_nothing_back() -> None:
    decided = plan([work("huge", 9, age_s=9), work("pin", pinned=(7,), age_s=8), work("small")], [node()], [], NOW)
    assert [start.work.job_id for start in decided.starts] == ["small"]
    assert reasons(decided)["huge"] == "needs 9 devices on one node; the largest, n1, has 4"
    assert reasons(decided)["pin"] == "no node has the devices 7 (n1 has 0,1,2,3)"


def test_unfit_devices_are_left_alone_with_their_reason() -> None:
    nodes = [node(count=2, d0=DeviceState.FOREIGN, d1=DeviceState.UNHEALTHY)]
    decided = plan([work("j")], nodes, [], NOW)
    assert reasons(decided)["j"] == ("needs 1 device, 0 of 2 free on n1: device 0 is foreign; device 1 is unhealthy")


def test_no_node_and_drained_nodes_are_said() -> None:
    assert reasons(plan([work("j")], [], [], NOW))["j"] == "no node is online"
    drained = [node(state=NodeState.DRAINED)]
    assert reasons(plan([work("j")], drained, [], NOW))["j"] == "every node is drained (n1)"


def test_a_retry_waits_its_time_and_holds_nothing_back() -> None:
    later = Work("r", WorkKind.TRAIN, 10, NOW, 1, not_before=NOW + timedelta(seconds=30))
    decided = plan([later, work("j")], [node(count=1)], [], NOW)
    assert [start.work.job_id for start in decided.starts] == ["j"]
    assert reasons(decided)["r"].startswith("waits until 2026-11-24 12:00:30 UTC")


def test_avoided_devices_are_taken_only_where_nothing_else_is_free() -> None:
    avoiding = Work("r", WorkKind.TRAIN, 0, NOW, 1, avoid=(("n1", 0),))
    assert plan([avoiding], [node(count=2)], [], NOW).starts[0].devices == (1,)
    assert plan([avoiding], [node(count=1)], [], NOW).starts[0].devices == (0,)


def test_a_device_is_avoided_on_its_own_node_alone() -> None:
    avoiding = Work("r", WorkKind.TRAIN, 0, NOW, 1, avoid=(("n1", 0),))
    (start,) = plan([avoiding], [node("n1", 1), node("n2", 1)], [], NOW).starts
    assert (start.node_id, start.devices) == ("n2", (0,))
    several = Work("r", WorkKind.TRAIN, 0, NOW, 2, avoid=(("n1", 0), ("n1", 1)))
    (start,) = plan([several], [node("n1", 3), node("n2", 4)], [], NOW).starts
    assert (start.node_id, start.devices) == ("n2", (0, 1))


def test_among_nodes_the_tightest_fit_is_taken() -> None:
    nodes = [node("wide", 8), node("tight", 2)]
    assert plan([work("j", 2)], nodes, [], NOW).starts[0].node_id == "tight"


WORKS = st.lists(
    st.builds(
        work,
        job_id=st.uuids().map(str),
        count=st.integers(1, 6),
        priority=st.integers(0, 10),
        age_s=st.integers(0, 1000),
        pinned=st.one_of(st.just(()), st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True).map(tuple)),
    ),
    max_size=12,
)
NODES = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(NodeState)), max_size=3).map(
    lambda found: [node(f"n{number}", count, state) for number, (count, state) in enumerate(found)]
)


@given(waiting=WORKS, nodes=NODES, taken=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 7)), max_size=8))
def test_never_over_allocates_and_everybody_gets_an_answer(
    waiting: list[Work], nodes: list[NodeView], taken: set[tuple[int, int]]
) -> None:
    leases = [held(f"h{number}", index, on=f"n{where}") for number, (where, index) in enumerate(sorted(taken))]
    decided = plan(waiting, nodes, leases, NOW)
    given_away = {(item.node_id, index) for item in leases for index in item.devices}
    states = {view.node_id: view for view in nodes}
    for start in decided.starts:
        assert states[start.node_id].state is NodeState.ONLINE
        assert len(start.devices) == start.work.count == len(set(start.devices))
        assert start.work.pinned in ((), start.devices)
        for index in start.devices:
            assert index in {device.index for device in states[start.node_id].devices}
            assert (start.node_id, index) not in given_away
            given_away.add((start.node_id, index))
    answered = [start.work.job_id for start in decided.starts] + [item.job_id for item, _ in decided.waits]
    assert sorted(answered) == sorted(item.job_id for item in waiting)
    assert all(reason for _, reason in decided.waits)


@given(waiting=WORKS, nodes=NODES, seed=st.randoms(use_true_random=False))
def test_the_answer_does_not_depend_on_the_order_of_the_arguments(
    waiting: list[Work], nodes: list[NodeView], seed: Random
) -> None:
    shuffled, moved = waiting[:], nodes[:]
    seed.shuffle(shuffled)
    seed.shuffle(moved)
    assert plan(waiting, nodes, [], NOW) == plan(shuffled, moved, [], NOW)


@given(waiting=WORKS, nodes=NODES)
def test_the_first_in_order_starts_wherever_it_fits(waiting: list[Work], nodes: list[NodeView]) -> None:
    decided = plan(waiting, nodes, [], NOW)
    if waiting and not decided.starts:
        fits = [
            view
            for view in nodes
            if view.state is NodeState.ONLINE
            for item in waiting
            if (
                {device.index for device in view.devices}.issuperset(item.pinned)
                if item.pinned
                else len(view.devices) >= item.count
            )
        ]
        assert not fits, "devices are idle, work fits, and nothing starts"
    assert [item.job_id for item, _ in decided.waits] == [
        item.job_id for item in order(waiting) if item.job_id in reasons(decided)
    ]


def test_a_job_of_several_devices_gets_no_mig_instance_and_holds_none_back() -> None:
    whole = node(count=2).devices
    instances = tuple(
        Device(node_id="n1", index=1000 + number, uuid=f"MIG-{number}", name="gpu MIG") for number in range(3)
    )
    cut = NodeView(node_id="n1", state=NodeState.ONLINE, devices=(*whole, *instances))
    decided = plan([work("two", 2, age_s=9), work("three", 3, age_s=5), work("one")], [cut], [], NOW)
    assert {start.work.job_id: start.devices for start in decided.starts} == {"two": (0, 1), "one": (1000,)}
    (waits,) = [reason for item, reason in decided.waits if item.job_id == "three"]
    assert waits == ("needs 3 devices on one node; the largest, n1, has 2; of MIG instances a job can have one at most")
