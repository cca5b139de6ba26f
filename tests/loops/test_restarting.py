"""What goes on: retries, resumes, and trainings that outlive their daemon."""

import asyncio

import pytest

from daemon.core.moves import claimed
from daemon.loops import supervision
from daemon.loops.context import Context
from daemon.loops.supervision import LOOK_S
from schemas.enums import ErrorCode
from schemas.jobs import TrainingJob
from tests.loops.jobs import POLL_S, S, running, started, stop
from tests.loops.rig import World

# ---------------------------------------------------------------- again


async def fail(world: World, job_id: str, attempt: int, line: str = "RuntimeError: something odd") -> TrainingJob:
    training = await world.training(job_id, attempt)
    training.process.write(f"{line}\n")
    training.process.end(1)
    await world.clock.advance(1)
    return await world.job(job_id)


async def test_a_retry_waits_its_time_twice_as_long_each_time(world: World) -> None:
    async with world.daemon():
        job_id = await world.create(max_retries=2)
        await world.clock.settle()
        for attempt, wait_s in ((1, 10), (2, 20)):
            job = await fail(world, job_id, attempt)
            assert (job.status, job.attempt, job.error_code) == (S.QUEUED, attempt + 1, None)
            await world.clock.advance(wait_s - 2)
            assert (await world.job(job_id)).status is S.QUEUED
            await world.clock.advance(1 + POLL_S)
            assert (await world.job(job_id)).status is S.STARTING
        job = await fail(world, job_id, 3)
        assert (job.status, job.error_code, job.error_message) == (
            S.FAILED,
            ErrorCode.UNKNOWN,
            "RuntimeError: something odd",
        )
        await world.clock.advance(1)
        assert world.sequences(job_id) == list(range(1, len(world.sequences(job_id)) + 1))


async def test_a_retry_after_a_sick_device_goes_elsewhere(world: World) -> None:
    async with world.daemon(devices=2):
        job_id = await world.create(max_retries=1)
        await world.clock.settle()
        assert (await world.job(job_id)).devices == (0,)
        await fail(world, job_id, 1, "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251")
        await world.clock.advance(10 + POLL_S)
        job = await world.job(job_id)
        assert (job.status, job.attempt, job.devices) == (S.STARTING, 2, (1,))


async def test_what_would_fail_again_is_not_tried_again(world: World) -> None:
    async with world.daemon():
        job_id = await world.create(max_retries=5)
        await world.clock.settle()
        job = await fail(world, job_id, 1, "ValueError: remaining_argv: ['--no_such']")
        assert (job.status, job.error_code) == (S.FAILED, ErrorCode.BAD_ARGUMENT)


async def test_a_resume_begins_at_its_checkpoint_and_its_progress_there(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.step(5)
        training.saving(4)
        training.checkpoint(4)
        training.step(7)
        await world.clock.advance(2)
        await stop(world, job_id)
        await world.clock.settle()
        training.process.end(-15)
        await world.clock.advance(1)
        assert (await world.job(job_id)).current_step == 7

        await world.result("job.resume", {"job_id": job_id})
        await world.clock.settle()
        job = await world.job(job_id)
        checkpoint = f"{training.run_dir}/checkpoint-4"
        assert (job.status, job.attempt, job.current_step, job.progress) == (S.STARTING, 2, 4, 50.0)
        assert job.swift_argv[-2:] == ("--resume_from_checkpoint", checkpoint)
        assert job.run_dir == str(training.run_dir)
        again = await world.training(job_id, 2)
        again.begin()
        again.step(5, 4.5)
        await world.clock.advance(2)
        event = world.progress(job_id)[-1]
        assert (event["attempt"], event["step"], event["percent"], event["loss"]) == (2, 5, 62.5, 4.5)
        again.finish(steps=(6,))
        await world.clock.advance(2)
        assert (await world.job(job_id)).status is S.COMPLETED
        steps = [
            event.event.data["step"]
            for event in world.broker.events_of(job_id)
            if event.routing_key.endswith(".checkpoint")
        ]
        assert steps == [4, 8]
        attempts = {point.step: point.attempt for point in await world.curve(job_id)}
        assert attempts == {1: 1, 5: 2, 6: 2}, "step 7 was logged by a training that was thrown away"


async def test_a_resume_without_a_usable_checkpoint_begins_anew(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.checkpoint(4, optimizer=False)
        training.checkpoint(6, torn=True)
        training.process.end(1)
        await world.clock.advance(2)
        result = await world.result("job.resume", {"job_id": job_id})
        assert result["status"] == "queued"
        await world.clock.settle()
        job = await world.job(job_id)
        assert (job.attempt, job.current_step, job.progress) == (2, 0, 0.0)
        assert "--resume_from_checkpoint" not in job.swift_argv


# ---------------------------------------------------------------- restarts


async def test_a_daemon_that_ends_leaves_its_trainings_and_the_next_one_takes_them_up(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world, auto_export=False)
        training.step(2, 5.2)
        await world.clock.settle()  # read and told, and not yet written
    assert training.process.alive
    assert not training.process.stops
    training.step(3, 5.3)
    training.saving(3)
    training.checkpoint(3)
    await world.clock.advance(100)
    async with world.daemon():
        training.step(4, 5.4)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.attempt, job.current_step, job.loss) == (S.RUNNING, 1, 4, 5.4)
        assert [(point.step, point.loss) for point in await world.curve(job_id)] == [
            (1, 5.96943665),
            (2, 5.2),
            (3, 5.3),
            (4, 5.4),
        ]
        assert job.checkpoint_path == f"{training.run_dir}/checkpoint-3"
        assert {event["step"] for event in world.progress(job_id) if event["loss"] is not None} == {1, 2, 3, 4}
        training.step(8)
        training.process.end(0)
        await world.clock.advance(2)
    assert (await world.job(job_id)).status is S.COMPLETED
    assert len(world.hosts["node-a"].spawned) == 1
    once = list(dict.fromkeys(world.sequences(job_id)))
    assert once == list(range(1, len(once) + 1))
    assert world.routes(job_id).count("checkpoint") == 1


@pytest.mark.parametrize("cut_after_s", [0.0, 0.3, 0.9, 1.0, 1.7])
async def test_wherever_a_daemon_is_cut_no_step_is_lost_and_none_is_there_twice(
    world: World, cut_after_s: float
) -> None:
    async with world.daemon():
        job_id, training = await started(world)
        training.total = 40
        training.load()
        training.begin()
    for first in range(1, 40, 4):
        async with world.daemon():
            for step in range(first, first + 4):
                training.step(step, 6 - step / 100)
            await world.clock.advance(cut_after_s)
    async with world.daemon():
        training.step(40, 5.6)
        training.process.end(0)
        await world.clock.advance(2)
    job = await world.job(job_id)
    assert (job.status, job.current_step) == (S.COMPLETED, 40)
    curve = [(point.step, point.loss) for point in await world.curve(job_id)]
    assert curve == [(step, 6 - step / 100) for step in range(1, 40)] + [(40, 5.6)]
    once = list(dict.fromkeys(world.sequences(job_id)))
    assert once == list(range(1, len(once) + 1))


async def test_a_run_that_ended_while_no_daemon_ran_is_read_from_its_record(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
    training.finish(steps=(5,))
    await world.clock.advance(1000)
    async with world.daemon():
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.exit_code, job.current_step) == (S.COMPLETED, 0, 8)
        assert job.checkpoint_path == f"{training.run_dir}/checkpoint-8"


async def test_the_evidence_of_a_failure_is_found_also_where_an_earlier_daemon_read_it(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.process.write("torch.OutOfMemoryError: CUDA out of memory.\n")
        await world.clock.advance(3)
    training.process.end(1)
    async with world.daemon():
        await world.clock.advance(2)
        assert (await world.job(job_id)).error_code is ErrorCode.OUT_OF_MEMORY


async def test_a_stop_that_came_while_no_daemon_ran_is_carried_out(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
    async with world.daemon("intake", node_id="node-b", devices=0):
        await stop(world, job_id, grace_seconds=3)
    assert not training.process.stops
    async with world.daemon():
        assert [order.grace_s for order in training.process.stops] == [3]


async def test_a_claim_while_the_last_attempts_supervisor_leaves_is_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read that the job ended, and has not yet gone when the job is claimed again."""
    real, leaving = supervision.read_job, asyncio.Event()

    async def slow(ctx: Context, job_id: str) -> TrainingJob | None:
        job = await real(ctx, job_id)
        if job is not None and job.status is S.FAILED:
            await leaving.wait()
        return job

    monkeypatch.setattr(supervision, "read_job", slow)
    async with world.daemon():
        job_id, training = await running(world)
        training.process.end(1)
        await world.clock.advance(2)
        await world.result("job.resume", {"job_id": job_id})
        await world.clock.advance(5)
        assert (await world.job(job_id)).status is S.STARTING
        leaving.set()
        await world.clock.settle()
        assert world.process(job_id, 2).alive


async def test_a_run_without_a_record_is_lost(world: World) -> None:
    async with world.daemon():
        job_id, _ = await running(world)
    world.hosts.clear()
    async with world.daemon() as daemon:
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (S.FAILED, ErrorCode.KILLED)
        assert not daemon.runs.spawned, "a training is never started a second time in one attempt"


async def test_a_checkpoint_that_was_being_written_at_a_restart_is_told_when_it_is_complete(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.saving(5)
        training.checkpoint(5, torn=True)
        await world.clock.advance(3)
    async with world.daemon():
        await world.clock.advance(3)
        training.checkpoint(5)
        await world.clock.advance(3)
        assert (await world.job(job_id)).checkpoint_path == f"{training.run_dir}/checkpoint-5"


async def test_a_checkpoint_that_goes_while_its_job_waits_is_not_waited_for(world: World) -> None:
    async with world.daemon(devices=1):
        job_id, training = await running(world)
        training.checkpoint(2)
        training.checkpoint(4)
        training.process.end(1)
        await world.clock.advance(2)
        other, _ = await started(world)
        await world.result("job.resume", {"job_id": job_id})
        reason = world.broker.events_of(job_id)[-1].event.data["reason"]
        assert str(reason).endswith("checkpoint-4")
        await world.files.remove_tree(training.run_dir / "checkpoint-4")
        world.process(other).end(1)
        await world.clock.advance(5)
        job = await world.job(job_id)
        assert job.status is S.STARTING
        assert job.swift_argv[-1] == str(training.run_dir / "checkpoint-2")
        assert (job.current_step, job.internal.resume_from) == (2, job.swift_argv[-1])


# ---------------------------------------------------------------- claims that came late


async def claimed_late(world: World, job_id: str, devices: tuple[int, ...]) -> None:
    """As by a store that was frozen, for a daemon that has died since."""
    job = await world.job(job_id)
    late = claimed(
        job, at=world.clock.now(), by="node-a", devices=devices, log_file_path=f"/state/logs/{job_id}.log",
        argv=("swift", "sft"), log_size=0, metrics_size=0,
    )  # fmt: skip
    assert await world.store.update_job(job, late)


async def test_a_claim_that_came_late_is_taken_up(world: World) -> None:
    async with world.daemon("intake", "outbox", "unfollowed"):
        job_id = await world.create()
        await claimed_late(world, job_id, (0,))
        await world.clock.advance(3 * LOOK_S)
        training = await world.training(job_id)
        training.finish()
        await world.clock.advance(3)
        assert (await world.job(job_id)).status is S.COMPLETED


async def test_a_claim_that_came_late_for_a_device_that_another_has_is_given_back(world: World) -> None:
    async with world.daemon("intake", "scheduling", "outbox", "unfollowed", devices=1):
        first = await world.create()
        await world.clock.settle()
        waiting = await world.create()
        await claimed_late(world, waiting, (0,))
        await world.clock.advance(3 * LOOK_S)
        job = await world.job(waiting)
        assert (job.status, job.attempt, job.devices) == (S.QUEUED, 2, ())
        assert (await world.job(first)).status is S.STARTING
        (await world.training(first)).finish()
        await world.clock.advance(POLL_S)
        assert (await world.job(waiting)).status is S.STARTING
