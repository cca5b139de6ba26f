"""Owners: their turns alternate by weight, quotas hold, and nobody's queue hides another's."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.scheduler import plan
from daemon.core.turns import first_of_each, front, order
from daemon.core.work import EQUAL, Held, Shares, Waiting, Work, WorkKind
from tests.core.factory import NOW
from tests.core.test_scheduler import node, reasons


def work(job_id: str, owner: str | None, *, age_s: int = 0, priority: int = 0, count: int = 1) -> Work:
    return Work(job_id, WorkKind.TRAIN, priority, NOW - timedelta(seconds=age_s), count, owner=owner)


def held(job_id: str, owner: str | None, *devices: int) -> Held:
    return Held(job_id, WorkKind.TRAIN, "n1", devices, owner)


def started(waiting: list[Work], devices: int, *leases: Held, shares: Shares = EQUAL) -> list[str]:
    return [start.work.job_id for start in plan(waiting, [node(count=devices)], leases, NOW, shares).starts]


def test_who_comes_late_is_not_behind_the_whole_queue_of_another() -> None:
    waiting = [work(f"a{n}", "ann", age_s=100 - n) for n in range(6)] + [
        work(f"b{n}", "bob", age_s=9 - n) for n in (0, 1)
    ]
    assert started(waiting, 4) == ["a0", "b0", "a1", "b1"]


def test_what_is_held_counts() -> None:
    waiting = [work("a", "ann", age_s=100), work("b", "bob", age_s=1)]
    assert started(waiting, 2, held("x", "ann", 0)) == ["b"]


def test_weights_say_how_much_is_whose() -> None:
    waiting = [work(f"{owner}{n}", owner, age_s=100 - n) for owner in ("ann", "bob") for n in range(12)]
    got = Counter(job_id[:3] for job_id in started(waiting, 9, shares=Shares(weights={"ann": 2})))
    assert got == {"ann": 6, "bob": 3}
    got = Counter(job_id[:3] for job_id in started(waiting, 9, shares=Shares(weights={"*": 2, "bob": 1})))
    assert got == {"ann": 6, "bob": 3}


def test_priority_comes_before_shares() -> None:
    waiting = [work(f"a{n}", "ann", priority=1) for n in range(3)] + [work("b", "bob", age_s=100)]
    assert started(waiting, 3) == ["a0", "a1", "a2"]


def test_a_quota_of_devices_holds_and_says_so() -> None:
    waiting = [work(f"a{n}", "ann", age_s=9 - n, count=2) for n in range(3)] + [work("b", "bob"), work("n", None)]
    shares = Shares(devices={"ann": 3, "*": 1})
    decided = plan(waiting, [node(count=8)], [held("x", None, 7)], NOW, shares)
    assert sorted(start.work.job_id for start in decided.starts) == ["a0", "b"]
    assert reasons(decided) == {
        "a1": "needs 2 devices; owner ann has 2 and may have 3 at once",
        "a2": "job a1 is ahead, and waits until owner ann may have more devices at once",
        "n": "needs 1 device; who has no owner has 1 and may have 1 at once",
    }
    assert decided.reservations == ()


def test_what_is_more_than_a_quota_never_starts_and_holds_nobody_up() -> None:
    waiting = [work("a", "ann", age_s=9, count=4), work("a1", "ann")]
    decided = plan(waiting, [node(count=8)], [], NOW, Shares(devices={"ann": 3}))
    assert [start.work.job_id for start in decided.starts] == ["a1"]
    assert reasons(decided)["a"] == "needs 4 devices; owner ann may have 3 at once, so it can never start"


def test_quotas_and_weights_have_a_name_for_all_others() -> None:
    shares = Shares(weights={"*": 3}, devices={"ann": 1}, queued={"*": 5, "ann": 2})
    assert (shares.weight("ann"), shares.weight(None), Shares().weight("ann")) == (3, 3, 1)
    assert (shares.most_devices("ann"), shares.most_devices("bob")) == (1, None)
    assert (shares.most_queued("ann"), shares.most_queued(None)) == (2, 5)


def test_the_front_of_a_long_queue_has_everybody_in_it() -> None:
    queue = order([work(f"a{n}", "ann", priority=5) for n in range(10)] + [work("b", "bob"), work("n", None)])
    assert front(queue, 12) == Waiting(tuple(queue))
    part = front(queue, 6)
    assert [item.job_id for item in part.work] == ["a0", "a1", "b", "n"]
    assert part.cut == {"ann"}
    assert first_of_each(queue, 1).cut == {"ann"}


def test_devices_are_left_where_more_work_of_somebody_could_have_them() -> None:
    waiting = [work("a", "ann"), work("b", "bob")]
    assert plan(waiting, [node(count=4)], [], NOW, cut=frozenset({"ann"})).left == 3
    assert plan(waiting, [node(count=4)], [], NOW, cut=frozenset({"bob"})).left == 2
    assert plan(waiting, [node(count=2)], [], NOW, cut=frozenset({"bob"})).left == 0
    assert plan(waiting, [node(count=4)], [], NOW).left == 0


@given(
    weights=st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, 2, 5]), min_size=3),
    queues=st.dictionaries(st.sampled_from("abc"), st.integers(1, 12), min_size=2),
    leases=st.lists(st.sampled_from("abc"), max_size=6),
    devices=st.integers(1, 12),
)
def test_shares_are_fair_within_one_job(
    weights: dict[str, int], queues: dict[str, int], leases: list[str], devices: int
) -> None:
    waiting = [
        work(f"{owner}{n}", owner, age_s=100 * ord(owner) - n) for owner, size in queues.items() for n in range(size)
    ]
    now_held = [Held(f"h{n}", WorkKind.TRAIN, "elsewhere", (n,), owner) for n, owner in enumerate(leases)]
    decided = plan(waiting, [node(count=devices)], now_held, NOW, Shares(weights=weights))
    got = Counter(start.work.owner for start in decided.starts)
    has = Counter(leases) + got
    still = {item.owner for item, _ in decided.waits}
    for one in got:
        for other in still - {one}:
            assert one is not None
            assert other is not None
            most = has[other] / weights[other] + 1 / weights[one]
            assert has[one] / weights[one] <= most + 1e-9, f"{one} got more than its share, and {other} waits"


@given(
    quotas=st.dictionaries(st.sampled_from(["ann", "bob", "*"]), st.integers(0, 4)),
    counts=st.lists(st.tuples(st.sampled_from([None, "ann", "bob"]), st.integers(1, 4)), max_size=10),
)
def test_no_quota_is_ever_exceeded(quotas: dict[str, int], counts: list[tuple[str | None, int]]) -> None:
    waiting = [work(f"j{n}", owner, count=count) for n, (owner, count) in enumerate(counts)]
    shares = Shares(devices=quotas)
    decided = plan(waiting, [node(count=8)], [held("x", "ann", 0)], NOW, shares)
    has = Counter({"ann": 1})
    for start in decided.starts:
        has[start.work.owner or ""] += len(start.devices)
        most = shares.most_devices(start.work.owner)
        assert most is None or has[start.work.owner or ""] <= most
