"""The training curve: written in any order and more than once, read evenly thinned."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.adapters.curves import Thinning, thin
from daemon.ports import Store
from schemas.jobs import MetricPoint
from tests.adapters.store.records import at, make_point


async def test_a_training_record_and_an_evaluation_of_one_step_are_one_point(store: Store) -> None:
    train = make_point(50, seconds=1, loss=1.5, epoch=0.5, learning_rate=1e-4)
    evaluation = make_point(50, seconds=2, epoch=0.5, eval={"eval_loss": 1.25, "eval_a.b$%/loss": 2.0})
    await store.add_points("a", [train])
    await store.add_points("a", [evaluation])
    for again in ([train], [evaluation], [train, evaluation], []):
        await store.add_points("a", again)
        assert await store.points("a", 0, 10) == [
            make_point(
                50,
                seconds=2,
                loss=1.5,
                epoch=0.5,
                learning_rate=1e-4,
                eval={"eval_loss": 1.25, "eval_a.b$%/loss": 2.0},
            )
        ]


async def test_a_newer_attempts_point_replaces_an_older_ones(store: Store) -> None:
    old = [make_point(step, loss=1.0, token_acc=0.5) for step in (10, 20, 30)]
    new = [make_point(step, attempt=2, loss=0.5) for step in (20, 30, 40)]
    shuffled = [*old, *new, *old]
    random.Random(1).shuffle(shuffled)
    for point in shuffled:
        await store.add_points("a", [point])
    assert await store.points("a", 0, 10) == [old[0], *new]


async def test_what_an_attempt_behind_the_newer_ones_begin_had_reached_is_left_out(store: Store) -> None:
    """Attempt 1 came to step 1500; 2 fell back to 1000 and came to 1200; 3 began anew, and is at 25."""
    first = [make_point(step, loss=1.0) for step in range(25, 1501, 25)]
    second = [make_point(step, attempt=2, loss=2.0) for step in range(1025, 1201, 25)]
    third = [make_point(step, attempt=3, loss=3.0) for step in (1, 25)]
    await store.add_points("a", second)
    await store.add_points("a", first)
    for after, rest in ((-1, 0), (999, 39), (1024, 40), (1025, 40), (1026, 40)):
        behind = [point for point in second if point.step > after]
        assert await store.points("a", after, 1000) == [*first[rest:40], *behind], after
    for after in (1200, 1300, 1499):
        assert await store.points("a", after, 1000) == [], "nor where the newer one has not come yet"
    await store.add_points("a", third)
    assert await store.points("a", -1, 1000) == third
    assert await store.points("a", 1, 1000) == third[1:]
    assert await store.points("a", 600, 1000) == []


async def test_the_curve_is_read_behind_a_step_over_many_buckets(store: Store) -> None:
    points = [make_point(step, loss=float(step), seconds=step) for step in range(5, 4001, 5)]
    await store.add_points("a", points[400:])
    await store.add_points("a", points[:400])
    await store.add_points("b", [make_point(1, loss=9.0)])
    assert await store.points("a", 0, 1000) == points
    assert await store.points("a", 500, 1000) == points[100:]
    assert await store.points("a", 498, 1000) == points[99:]
    assert await store.points("a", 4000, 1000) == []
    thinned = await store.points("a", 0, 10)
    assert (len(thinned), thinned[0], thinned[-1]) == (10, points[0], points[-1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_a_loss_that_is_no_number_is_kept(store: Store, value: float) -> None:
    await store.add_points("a", [make_point(1, loss=value)])
    assert [str(point.loss) for point in await store.points("a", 0, 10)] == [str(value)]


def curve(length: int, evaluated: set[int]) -> list[MetricPoint]:
    return [
        MetricPoint(step=step, time=at(step), eval={"eval_loss": 1.0} if step in evaluated else {})
        for step in range(length)
    ]


def check_thinned(points: Sequence[MetricPoint], found: Sequence[MetricPoint], max_points: int) -> None:
    steps = [point.step for point in found]
    assert len(found) <= max_points
    assert steps == sorted(set(steps))
    assert {*steps} <= {point.step for point in points}
    if len(points) <= max_points:
        assert list(found) == list(points)
    elif max_points >= 2:
        assert (found[0], found[-1]) == (points[0], points[-1])


@given(length=st.integers(0, 300), max_points=st.integers(0, 40), evaluated=st.sets(st.integers(0, 300)))
def test_thinning_keeps_the_ends_and_the_order(length: int, max_points: int, evaluated: set[int]) -> None:
    points = curve(length, evaluated)
    whole = thin(points, max_points)
    check_thinned(points, whole, max_points)
    if length > max_points >= 2:
        assert len(whole) == max_points
    piecewise = Thinning(max_points)
    for start in range(0, length, 7):
        piecewise.add(points[start : start + 7])
    check_thinned(points, piecewise.result(), max_points)


def test_thinning_prefers_evaluations_and_leaves_no_gap() -> None:
    evaluated = set(range(50, 10_000, 500))
    points = curve(10_000, evaluated)
    piecewise = Thinning(100)
    piecewise.add(points)
    for found in (thin(points, 100), piecewise.result()):
        steps = [point.step for point in found]
        assert evaluated <= set(steps)
        assert len(found) == 100
        assert max(after - before for before, after in pairwise(steps)) < 300
