"""Running attempts in trouble: silence by phase, losses that are no numbers, disks that fill up."""

import math

import pytest

from schemas.enums import ErrorCode, TrainingStatus
from tests.loops.jobs import pending, running, started
from tests.loops.rig import World

S = TrainingStatus


async def warnings(world: World, job_id: str) -> tuple[str, ...]:
    return (await world.job(job_id)).warnings


async def test_silence_while_training_is_said_once_and_taken_back_when_it_ends(world: World) -> None:
    async with world.daemon(stall_seconds=600):
        job_id, training = await running(world)
        await world.clock.advance(590)
        assert await warnings(world, job_id) == ()
        await world.clock.advance(20)
        (said,) = await warnings(world, job_id)
        assert said == "stalled: no output for 600 s while training, at step 1"
        told = [data for data in world.progress(job_id) if data["warnings"]]
        assert len(told) == 1
        assert not training.process.stops
        await world.clock.advance(3600)
        assert len([data for data in world.progress(job_id) if data["warnings"]]) == 1
        training.step(2)
        await world.clock.advance(6)
        assert await warnings(world, job_id) == ()
        assert world.progress(job_id)[-1]["warnings"] == []


async def test_loading_and_preparing_may_be_silent_for_longer(world: World) -> None:
    async with world.daemon(stall_seconds=600, stall_loading_seconds=7200):
        job_id, training = await started(world)
        training.load()
        await world.clock.advance(7000)
        assert await warnings(world, job_id) == ()
        await world.clock.advance(300)
        assert "while preprocessing" in (await warnings(world, job_id))[0]


async def test_a_bar_that_moves_is_not_silent(world: World) -> None:
    async with world.daemon(stall_seconds=600):
        job_id, training = await running(world)
        for _ in range(10):
            await world.clock.advance(500)
            training.bar(1)
        await world.clock.advance(1)
        assert await warnings(world, job_id) == ()


async def test_by_policy_a_stalled_job_is_ended_failed_and_retried_elsewhere(world: World) -> None:
    async with world.daemon(stall_seconds=600, stall_policy="stop", stop_grace_seconds=7):
        job_id, training = await running(world, max_retries=1)
        await world.clock.advance(610)
        (order,) = training.process.stops
        assert (order.grace_s, order.save) == (7, False)
        training.process.end(-9)
        await world.clock.advance(15)
        again = await world.training(job_id, 2)
        job = await world.job(job_id)
        assert (job.attempt, job.devices, job.warnings) == (2, (1,), ())
        reasons = [str(event.event.data.get("reason")) for event in world.broker.events_of(job_id)]
        assert any("stalled: no output for 600 s" in reason for reason in reasons)
        again.finish()
        await world.clock.advance(2)
        assert (await world.job(job_id)).status is S.COMPLETED


async def test_a_loss_that_stays_nan_fails_the_job(world: World) -> None:
    async with world.daemon(nan_steps=3):
        job_id, training = await running(world)
        for step, loss in ((2, math.nan), (3, math.inf), (4, 5.0), (5, math.nan), (6, math.nan)):
            training.step(step, loss, full=False)
        await world.clock.advance(10)
        assert not training.process.stops
        training.step(7, math.nan, full=False)
        await world.clock.advance(6)
        assert len(training.process.stops) == 1
        training.process.end(-15)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (S.FAILED, ErrorCode.NAN_LOSS)
        assert "3 logged steps in a row, up to step 7" in (job.error_message or "")


async def test_why_the_daemon_ended_a_run_outlives_the_daemon(world: World) -> None:
    async with world.daemon(stall_seconds=600, stall_policy="stop"):
        job_id, training = await running(world)
        await world.clock.advance(610)
        assert len(training.process.stops) == 1
    training.process.end(-9)
    async with world.daemon():
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (S.FAILED, ErrorCode.STALLED)


async def test_a_run_that_is_done_when_the_watchdog_bites_is_completed(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world, timeout_seconds=60)
        await world.clock.advance(61)
        assert len(training.process.stops) == 1
        training.finish(steps=(5,))
        await world.clock.advance(2)
        assert (await world.job(job_id)).status is S.COMPLETED


async def test_a_disk_that_fills_up_is_said_before_it_is_fatal(world: World) -> None:
    world.files.free = 5000.0
    async with world.daemon(disk_min_free_mib=100):
        job_id, _ = await running(world)
        world.files.free = 99.0
        await world.clock.advance(65)
        (said,) = await warnings(world, job_id)
        assert "99 MiB are free" in said
        world.files.free = 5000.0
        await world.clock.advance(65)
        assert await warnings(world, job_id) == ()


async def test_no_job_starts_where_the_disk_is_full_and_says_so_and_others_pass(world: World) -> None:
    world.files.free = 10.0
    async with world.daemon(disk_min_free_mib=100):
        job_id = await pending(world)
        await world.result("job.start", {"job_id": job_id})
        await world.clock.advance(5)
        job = await world.job(job_id)
        assert job.status is S.QUEUED
        assert "10 MiB are free" in (job.wait_reason or "")
        assert "10 MiB are free" in str((await world.result("queue.list"))["jobs"])
        world.files.free = 5000.0
        await world.clock.advance(40)
        assert (await world.job(job_id)).status is S.STARTING


@pytest.mark.parametrize("free", [None, 0.0])
async def test_a_disk_that_tells_nothing_or_that_nobody_minds_stops_no_job(world: World, free: float | None) -> None:
    world.files.free = free
    async with world.daemon(disk_min_free_mib=0 if free is not None else 100):
        job_id, _ = await started(world)
        assert (await world.job(job_id)).status is S.STARTING


SAVED = "disk: the next checkpoint needs about 3 MiB, and 2 MiB are free"


async def saved(world: World, **fields: object) -> str:
    """A job that trains and has saved a checkpoint of 3 MiB."""
    job_id, training = await running(world, **fields)
    training.saving(4)
    folder = training.checkpoint(4)
    world.files.write(folder / "optimizer.pt", bytes(3 * 1024 * 1024))
    await world.clock.advance(2)
    assert (await world.job(job_id)).internal.checkpoint_step == 4
    return job_id


async def test_how_large_a_checkpoint_is_outlives_the_daemon(world: World) -> None:
    async with world.daemon(disk_min_free_mib=1):
        job_id = await saved(world)
        assert await warnings(world, job_id) == ()
    world.files.free = 2.0
    async with world.daemon(disk_min_free_mib=1):
        await world.clock.advance(65)
        assert await warnings(world, job_id) == (SAVED,)


async def test_an_attempt_starts_only_where_a_checkpoint_as_large_as_the_last_fits(world: World) -> None:
    async with world.daemon(disk_min_free_mib=1):
        job_id = await saved(world, max_retries=1)
        world.files.free = 2.0
        world.process(job_id).end(1)
        await world.clock.advance(20)
        job = await world.job(job_id)
        assert (job.status, (job.wait_reason or "").partition(" (")[0]) == (S.QUEUED, SAVED)
        world.files.free = 4.0
        await world.clock.advance(40)
        assert (await world.job(job_id)).status is S.STARTING
        world.files.free = 2.0
        await world.clock.advance(65)
        assert await warnings(world, job_id) == (SAVED,), "also before it has saved one itself"
