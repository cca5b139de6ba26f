"""A training goes on while the store is away; afterwards everything is there, in order."""

import pytest

from daemon.loops import recorder
from tests.loops.jobs import S, running
from tests.loops.rig import World


async def test_a_training_goes_on_while_the_store_is_away_and_everything_is_there_afterwards(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        world.faults.away = True
        for step in range(2, 8):
            training.step(step, 6 - step / 10)
            await world.clock.advance(20)
        training.saving(7)
        training.checkpoint(7)
        await world.clock.advance(2)
        told = [event["step"] for event in world.progress(job_id) if event["loss"] is not None]
        assert told == [1, 2, 3, 4, 5, 6, 7], "progress is told also while the store is away"
        training.step(8, 5.2)
        training.process.end(0)
        await world.clock.advance(300)
        assert (await world.job(job_id)).status is S.RUNNING
        world.faults.away = False
        await world.clock.advance(60)
        job = await world.job(job_id)
        assert (job.status, job.current_step) == (S.COMPLETED, 8)
        assert [point.step for point in await world.curve(job_id)] == list(range(1, 9))
    assert world.routes(job_id)[:6] == [
        "status.pending",
        "status.queued",
        "status.starting",
        "status.running",
        "checkpoint",
        "status.completed",
    ]


async def test_points_wait_within_a_bound_and_then_the_reader_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MOST_POINTS", 500)
    async with world.daemon():
        job_id, training = await running(world)
        training.total = 2000
        world.faults.away = True
        for number in range(2, 2001):
            training.step(number, full=False)
            if number % 100 == 0:
                await world.clock.advance(1)
        told = {event["step"] for event in world.progress(job_id)}
        assert 500 <= len(told) <= 500 + 300, "the reader waits at the end of a chunk, and memory stays flat"
        world.faults.away = False
        await world.clock.advance(60)
        assert [point.step for point in await world.curve(job_id)] == list(range(1, 2001))
        steps = [event["step"] for event in world.progress(job_id) if event["loss"] is not None]
        assert steps == list(range(1, 2001))
