"""Preemption from end to end: the order, the save, the queue, and the next attempt from the last checkpoint."""

from schemas.enums import TrainingStatus
from tests.loops.jobs import POLL_S, running, stop
from tests.loops.rig import World

S = TrainingStatus


async def test_a_training_gives_way_saves_waits_and_goes_on(world: World) -> None:
    async with world.daemon(devices=1, preemption=True, preemption_grace_seconds=60):
        low, training = await running(world)
        queued_at = (await world.job(low)).queued_at
        high = await world.create(priority=5, auto_export=False)
        await world.clock.advance(POLL_S)
        assert [(order.grace_s, order.save) for order in training.process.stops] == [(60.0, True)]
        assert (await world.job(low)).status is S.RUNNING
        checkpoint = training.checkpoint(1)
        training.process.end(0)
        await world.clock.advance(POLL_S)
        job = await world.job(low)
        assert (job.status, job.attempt, job.internal.preemption, job.queued_at) == (S.QUEUED, 2, None, queued_at)
        reason = world.broker.events_of(low)[-1].event.data["reason"]
        assert reason == f"interrupted for job {high} of priority 5 at step 1; goes on from {checkpoint}"
        assert (await world.job(high)).status is S.STARTING
        (await world.training(high)).finish()
        await world.clock.advance(3 * POLL_S)
        job = await world.job(low)
        assert (job.status, job.attempt, job.internal.retries_used) == (S.STARTING, 2, 0)
        assert str(checkpoint) in job.swift_argv


async def test_who_would_not_save_is_killed_and_not_lost(world: World) -> None:
    async with world.daemon(devices=1, preemption=True):
        low, training = await running(world)
        await world.create(priority=5)
        await world.clock.advance(POLL_S)
        training.process.end(-9)
        await world.clock.advance(POLL_S)
        job = await world.job(low)
        assert (job.status, job.error_code) == (S.QUEUED, None)
        assert str(world.broker.events_of(low)[-1].event.data["reason"]).endswith("because it had no checkpoint yet")


async def test_who_finishes_meanwhile_is_completed(world: World) -> None:
    async with world.daemon(devices=1, preemption=True):
        low, training = await running(world)
        await world.create(priority=5)
        await world.clock.advance(POLL_S)
        training.finish(steps=(5,))
        await world.clock.advance(POLL_S)
        assert (await world.job(low)).status is S.COMPLETED


async def test_a_persons_stop_counts_more(world: World) -> None:
    async with world.daemon(devices=1, preemption=True):
        low, training = await running(world)
        await world.create(priority=5)
        await world.clock.advance(POLL_S)
        await stop(world, low)
        training.process.end(0)
        await world.clock.advance(POLL_S)
        assert (await world.job(low)).status is S.CANCELLED


async def test_a_daemon_that_starts_anew_knows_that_it_gives_way(world: World) -> None:
    async with world.daemon(devices=1, preemption=True):
        low, training = await running(world)
        await world.create(priority=5)
        await world.clock.advance(POLL_S)
    training.process.end(0)
    async with world.daemon(devices=1, preemption=True):
        await world.clock.advance(POLL_S)
        assert (await world.job(low)).status is S.QUEUED


async def test_nobody_gives_way_to_an_equal_or_where_it_is_off(world: World) -> None:
    async with world.daemon(devices=1, preemption=True):
        low, training = await running(world)
        await world.create()
        await world.clock.advance(3 * POLL_S)
        assert not training.process.stops
    async with world.daemon(devices=1):
        await world.create(priority=9)
        await world.clock.advance(3 * POLL_S)
        assert not training.process.stops
        assert (await world.job(low)).status is S.RUNNING


async def test_who_is_interrupted_in_the_midst_of_its_last_save_is_not_completed(world: World) -> None:
    async with world.daemon(devices=1, preemption=True):
        low, training = await running(world)
        await world.create(priority=5)
        await world.clock.advance(POLL_S)
        training.step(8)
        training.saving(8)
        training.process.end(0)
        await world.clock.advance(POLL_S)
        assert (await world.job(low)).status is S.QUEUED
