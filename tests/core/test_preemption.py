"""Preemption: only lower priorities give way, as few as will do, and none while enough is ending already."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.scheduler import plan
from daemon.core.work import Held, NodeView, Plan, Work, WorkKind
from tests.core.factory import NOW
from tests.core.test_scheduler import node, reasons, work


def runs(job_id: str, *devices: int, priority: int = 0, on: str = "n1", age_s: int = 0) -> Held:
    since = NOW - timedelta(seconds=age_s)
    return Held(job_id, WorkKind.TRAIN, on, devices, yields_to=priority, since=since)


def ends(job_id: str, *devices: int, on: str = "n1") -> Held:
    return Held(job_id, WorkKind.TRAIN, on, devices, until=NOW + timedelta(seconds=60))


def interrupted(waiting: list[Work], nodes: list[NodeView], held: list[Held]) -> set[str]:
    return {each.job_id for each in decide(waiting, nodes, held).interruptions}


def decide(waiting: list[Work], nodes: list[NodeView], held: list[Held]) -> Plan:
    return plan(waiting, nodes, held, NOW, preempts=True)


def test_it_is_off_unless_asked_for() -> None:
    assert plan([work("j", priority=5)], [node(count=1)], [runs("x", 0)], NOW).interruptions == ()


def test_a_lower_priority_gives_way_and_no_other() -> None:
    held = [runs("x", 0, priority=5), runs("y", 1, priority=4)]
    (found,) = decide([work("j", priority=5)], [node(count=2)], held).interruptions
    assert (found.job_id, found.node_id, found.work.job_id) == ("y", "n1", "j")
    assert interrupted([work("j", priority=4)], [node(count=2)], held) == set()
    decided = decide([work("j", priority=5)], [node(count=2)], held)
    assert reasons(decided)["j"].startswith("needs 1 device, 0 of 2 free on n1: device 0 runs job x")


def test_of_one_priority_the_youngest_gives_way_and_none_that_is_not_needed() -> None:
    held = [runs("old", 0, age_s=9), runs("young", 1, age_s=1), runs("wide", 2, 3, age_s=5)]
    assert interrupted([work("j", priority=1)], [node()], held) == {"young"}
    assert interrupted([work("j", 2, priority=1)], [node()], [*held[:1], held[2], runs("s", 1, age_s=0)]) == {"wide"}
    assert interrupted([work("j", priority=1, pinned=(0,))], [node()], held) == {"old"}


def test_the_node_where_the_least_is_lost_is_chosen() -> None:
    nodes = [node("n1", 2), node("n2", 2), node("n3", 2)]
    held = [
        runs("a", 0, 1, priority=2),
        runs("b", 0, 1, on="n2"),
        runs("c", 0, on="n3"),
        runs("d", 1, on="n3", priority=3),
    ]
    assert interrupted([work("j", priority=5)], nodes, held) == {"c"}
    assert interrupted([work("j", 2, priority=5)], nodes, held) == {"b"}
    assert interrupted([work("j", 3, priority=5)], nodes, held) == set()
    assert interrupted([work("j", 2, priority=5)], [node("n1", 1), *nodes[1:]], [runs("a", 0), *held[1:]]) == {"b"}


def test_nobody_gives_way_while_enough_is_ending() -> None:
    held = [ends("x", 0), runs("y", 1)]
    first, second = work("first", priority=5, age_s=9), work("second", priority=5)
    assert interrupted([first], [node(count=2)], held) == set()
    assert interrupted([first, second], [node(count=2)], held) == {"y"}


def test_what_is_given_up_is_kept_for_whom_it_was_given_up() -> None:
    held = [runs("x", 1), Held("e", WorkKind.EXPORT, "n1", (2,))]
    decided = decide([work("j", 2, priority=5), work("low", age_s=5)], [node(count=3)], held)
    assert decided.starts == ()
    assert [(each.work.job_id, each.devices) for each in decided.reservations] == [("j", (0,))]
    assert "device 0 is kept for job j, which is ahead" in reasons(decided)["low"]


def test_two_do_not_count_on_one_victim() -> None:
    held = [runs("x", 0), runs("y", 1)]
    waiting = [
        work("a", priority=5, age_s=9),
        work("b", priority=5, age_s=8),
        work("c", priority=5),
        work("d", priority=4),
    ]
    decided = decide(waiting, [node(count=2)], held)
    assert [(each.job_id, each.work.job_id) for each in decided.interruptions] == [("y", "a"), ("x", "b")]


def test_an_export_interrupts_nobody() -> None:
    export = Work("e", WorkKind.EXPORT, 9, NOW, 1)
    assert interrupted([export], [node(count=1)], [runs("x", 0)]) == set()


@given(
    waiting=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=6),
    running=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(1, 3), st.booleans()), max_size=6),
    size=st.integers(1, 6),
)
def test_an_interruption_is_for_a_higher_priority_and_makes_enough_room(
    waiting: list[tuple[int, int]], running: list[tuple[int, int, int, bool]], size: int
) -> None:
    nodes = [node("n0", size), node("n1", size)]
    held: list[Held] = []
    free = {"n0": list(range(size)), "n1": list(range(size))}
    for number, (priority, where, count, ending) in enumerate(running):
        name = f"n{where}"
        if len(free[name]) >= count:
            devices = tuple(free[name].pop() for _ in range(count))
            held.append(
                ends(f"h{number}", *devices, on=name)
                if ending
                else runs(f"h{number}", *devices, priority=priority, on=name)
            )
    queue = [work(f"w{n}", count, priority=priority, age_s=n) for n, (priority, count) in enumerate(waiting)]
    decided = decide(queue, nodes, held)
    assert decided.starts == plan(queue, nodes, held, NOW).starts or decided.interruptions
    known = {item.job_id: item for item in held}
    assert len({each.job_id for each in decided.interruptions}) == len(decided.interruptions)
    for each in decided.interruptions:
        priority = known[each.job_id].yields_to
        assert priority is not None
        assert priority < each.work.priority
    for name in {each.work.job_id for each in decided.interruptions}:
        mine = [each for each in decided.interruptions if each.work.job_id == name]
        (kept,) = [each for each in decided.reservations if each.work.job_id == name]
        assert {each.node_id for each in mine} == {kept.node_id}
        gained = sum(len(known[each.job_id].devices) for each in mine)
        ending = sum(len(item.devices) for item in held if item.node_id == kept.node_id and item.yields_to is None)
        assert len(kept.devices) + gained + ending >= kept.work.count
