"""Large work keeps devices; small work that is over in time borrows them, and delays nobody."""

from dataclasses import replace
from datetime import timedelta

from daemon.core.scheduler import plan
from daemon.core.work import LONGEST_S, Held, Plan, Reservation, Work, WorkKind, end_of
from schemas.enums import DeviceState
from tests.core.factory import NOW
from tests.core.test_scheduler import node, reasons, work


def until(seconds: float, job_id: str, *devices: int, on: str = "n1") -> Held:
    return Held(job_id, WorkKind.TRAIN, on, devices, until=NOW + timedelta(seconds=seconds))


def small(job_id: str, timeout_s: float | None, count: int = 1, *, age_s: int = 0) -> Work:
    return replace(work(job_id, count, age_s=age_s), timeout_s=timeout_s)


BIG = work("big", 4, age_s=100)


def started(decided: Plan) -> dict[str, tuple[int, ...]]:
    return {start.work.job_id: start.devices for start in decided.starts}


def test_who_is_over_in_time_may_pass() -> None:
    waiting = [BIG, small("long", 61), small("fits", 60), small("endless", None)]
    decided = plan(waiting, [node()], [until(60, "x", 0)], NOW)
    assert started(decided) == {"fits": (1,)}
    assert decided.reservations == (Reservation(BIG, "n1", (1, 2, 3), NOW + timedelta(seconds=60)),)
    assert reasons(decided)["big"] == (
        "needs 4 devices, 3 of 4 free on n1: device 0 runs job x; expected to start by 2026-11-24 12:01:00 UTC"
    )


def test_what_has_no_known_end_is_lent_to_nobody() -> None:
    waiting = [BIG, small("short", 1)]
    unknown = plan(waiting, [node()], [Held("x", WorkKind.TRAIN, "n1", (0,))], NOW)
    assert unknown.starts == ()
    assert unknown.reservations[0].starts_at is None
    sick = plan(waiting, [node(d0=DeviceState.UNHEALTHY)], [until(60, "x", 0)], NOW)
    assert sick.starts == ()


def test_it_is_the_last_of_those_needed_that_counts() -> None:
    leases = [until(30, "x", 0), until(60, "y", 1), until(90, "z", 2)]
    decided = plan([BIG, small("s", 90), small("t", 91)], [node(count=5)], leases, NOW)
    assert decided.reservations[0].starts_at == NOW + timedelta(seconds=60)
    assert started(decided) == {}
    decided = plan([BIG, small("s", 60)], [node(count=5)], leases, NOW)
    assert started(decided) == {"s": (3,)}


def test_the_node_that_is_free_soonest_is_kept() -> None:
    nodes = [node("n1"), node("n2")]
    leases = [until(90, "x", 0, 1), until(30, "y", 0, 1, 2, on="n2")]
    decided = plan([BIG, small("s", None)], nodes, leases, NOW)
    assert decided.reservations[0].node_id == "n2"
    assert decided.starts[0].node_id == "n1"


def test_several_large_ones_await_devices_of_their_own() -> None:
    leases = [until(30, "x", 0, 1, 2, 3), until(60, "y", 4, 5, 6, 7)]
    other = work("other", 4, age_s=50)
    third = work("third", 4, age_s=20)
    decided = plan([BIG, other, third], [node(count=8)], leases, NOW)
    assert [each.starts_at for each in decided.reservations] == [
        NOW + timedelta(seconds=30),
        NOW + timedelta(seconds=60),
    ]
    assert reasons(decided)["third"].startswith("needs 4 devices, 0 of 8 free on n1: device 0 runs job x;")


def test_what_was_lent_is_not_lent_twice() -> None:
    waiting = [BIG, *(small(f"s{number}", 10) for number in range(5))]
    decided = plan(waiting, [node()], [until(60, "x", 0)], NOW)
    assert started(decided) == {"s0": (1,), "s1": (2,), "s2": (3,)}
    wide = [BIG, small("t", 10, 2), small("u", 10, 2), small("v", 5, 2)]
    assert started(plan(wide, [node()], [until(60, "x", 0)], NOW)) == {"t": (1, 2)}


def test_free_devices_go_before_kept_ones_and_both_may_be_had_together() -> None:
    waiting = [work("big", age_s=9, pinned=(0, 1)), small("s", 10, 2), small("t", 10)]
    decided = plan(waiting, [node(count=3)], [until(60, "x", 0)], NOW)
    assert started(decided) == {"s": (1, 2)}
    decided = plan([waiting[0], waiting[2]], [node(count=3)], [until(60, "x", 0)], NOW)
    assert started(decided) == {"t": (2,)}


def test_new_reservations_are_looked_at_when_they_come() -> None:
    nodes = [node("n1", 2), node("n2", 4)]
    leases = [until(20, "x", 0), until(60, "y", 0, on="n2")]
    waiting = [
        work("two", 2, age_s=99, pinned=(0, 1)),
        small("early", 30, age_s=98),
        work("four", 4, age_s=97),
        small("late", 30, age_s=96),
        small("later", 30, age_s=95),
        small("short", 15, age_s=94),
    ]
    decided = plan(waiting, nodes, leases, NOW)
    assert [(each.work.job_id, each.node_id) for each in decided.reservations] == [("two", "n1"), ("four", "n2")]
    assert started(decided) == {"early": (1,), "late": (2,), "later": (3,), "short": (1,)}


def test_a_limit_of_many_years_is_none() -> None:
    assert end_of(NOW, None) is None
    assert end_of(NOW, LONGEST_S * 2) is None
    assert end_of(NOW, 5) == NOW + timedelta(seconds=5)
