"""Supervising a training: from its spawn to its verdict, by what it writes and how it ends."""

import math

import pytest

from daemon.loops.recorder import INTERVAL_S
from daemon.ports import SpawnError
from schemas.enums import ErrorCode, Phase
from tests.loops.jobs import S, running, started
from tests.loops.rig import World

# ---------------------------------------------------------------- running


async def test_a_job_is_starting_until_its_log_tells_of_training(world: World) -> None:
    async with world.daemon():
        job_id, training = await started(world)
        training.load()
        await world.clock.advance(10)
        job = await world.job(job_id)
        assert (job.status, job.phase, job.progress, job.total_steps) == (S.STARTING, Phase.PREPROCESSING, 0.0, None)
        assert job.process_id == training.process.pid
        training.begin()
        training.bar(1)
        await world.clock.settle()
        assert (await world.job(job_id)).status is S.RUNNING


async def test_a_progress_event_follows_its_log_line_without_any_time_passing(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        seen = len(world.progress(job_id))
        training.step(5)
        await world.clock.settle()
        (event,) = world.progress(job_id)[seen:]
        assert (event["step"], event["total_steps"], event["percent"]) == (5, 8, 62.5)


async def test_every_logged_step_is_told_once_with_all_digits(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        for step in (2, 3, 4, 5, 6, 7, 8):
            training.step(step, 5.9 + step / 1e6)
        await world.clock.advance(2)
        told = [(event["step"], event["loss"]) for event in world.progress(job_id) if event["loss"] is not None]
        assert told == [(1, 5.96943665), *((step, 5.9 + step / 1e6) for step in range(2, 9))]
        curve = await world.curve(job_id)
        assert [(point.step, point.loss) for point in curve] == told
        assert all(point.attempt == 1 for point in curve)


async def test_without_a_metrics_file_the_printed_digits_stand(world: World) -> None:
    async with world.daemon():
        job_id, training = await started(world)
        training.begin()
        training.step(1, 5.96943665, full=False)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.loss, job.grad_norm, job.seconds_per_step) == (5.969, 0.7598, 12.25)
        assert [point.loss for point in await world.curve(job_id)] == [5.969]


async def test_what_is_told_is_in_the_document(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.step(5, 5.96505833)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.current_step, job.total_steps, job.progress, job.phase) == (5, 8, 62.5, Phase.TRAINING)
        assert (job.loss, job.current_epoch, job.current_learning_rate) == (5.96505833, 0.125, 0.0001)
        assert (job.estimated_time_remaining, job.seconds_per_step) == (86, 12.246091)
        assert job.internal.log_offset == await world.files.size(training.process.spec.log_path)
        assert job.internal.metrics_offset == await world.files.size(training.run_dir / "logging.jsonl")


async def test_an_evaluation_is_told_apart_and_merges_into_its_steps_point(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.step(5, 5.5)
        training.evaluate(5, 5.25)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.phase, job.loss, job.eval_metrics["eval_loss"]) == (Phase.EVALUATING, 5.5, 5.25)
        event = world.progress(job_id)[-1]
        assert (event["phase"], event["loss"]) == ("evaluating", None)
        assert event["eval"] == {"eval_loss": 5.25}
        point = (await world.curve(job_id))[-1]
        assert (point.step, point.loss, point.eval) == (5, 5.5, {"eval_loss": 5.25})


async def test_a_loss_that_is_no_number_is_null_on_the_wire_and_itself_in_the_store(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.step(5, math.nan, full=False)
        await world.clock.advance(2)
        assert world.progress(job_id)[-1]["loss"] is None
        assert math.isnan((await world.job(job_id)).loss or 0.0)
        assert math.isnan((await world.curve(job_id))[-1].loss or 0.0)


async def test_the_document_is_written_at_most_once_a_second(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        await world.clock.advance(5)
        before = world.faults.calls.copy()
        for number in range(100):  # ten seconds, ten lines each
            training.step(min(8, 1 + number // 12))
            await world.clock.advance(0.1)
        await world.clock.advance(2)
        made = world.faults.calls - before
        assert 9 <= made["note_progress"] <= 10 / INTERVAL_S + 2
        assert made["add_points"] <= 10 / INTERVAL_S + 2
        assert (await world.job(job_id)).current_step == 8


# ---------------------------------------------------------------- checkpoints


async def test_a_checkpoint_is_told_when_it_is_complete_and_not_before(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.saving(5)
        training.checkpoint(5, torn=True)
        await world.clock.advance(5)
        assert (await world.job(job_id)).checkpoint_path is None
        assert (await world.job(job_id)).phase is Phase.SAVING
        training.checkpoint(5)
        await world.clock.advance(1)
        job = await world.job(job_id)
        assert job.checkpoint_path == f"{training.run_dir}/checkpoint-5"
        assert world.routes(job_id).count("checkpoint") == 1
        (event,) = [event for event in world.broker.events_of(job_id) if event.routing_key.endswith(".checkpoint")]
        assert (event.event.data["step"], event.event.data["path"]) == (5, job.checkpoint_path)


async def test_each_checkpoint_is_told_once_and_the_best_is_known(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        for step in (2, 4, 6):
            training.saving(step)
            training.checkpoint(step, best=4 if step >= 4 else 2)
            await world.clock.advance(3)
        steps = [
            event.event.data["step"]
            for event in world.broker.events_of(job_id)
            if event.routing_key.endswith(".checkpoint")
        ]
        assert steps == [2, 4, 6]
        job = await world.job(job_id)
        assert job.best_checkpoint_path == f"{training.run_dir}/checkpoint-4"


async def test_a_checkpoint_that_is_complete_just_before_the_end_is_told_before_it(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.finish()
        await world.clock.advance(2)
        routes = world.routes(job_id)
        assert routes.index("checkpoint") < routes.index("status.completed")


# ---------------------------------------------------------------- ends


async def test_completed_is_who_ends_with_0_at_the_last_step(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.step(8, 5.5)
        training.process.end(0)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.progress, job.exit_code, job.final_loss) == (S.COMPLETED, 100.0, 0, 5.5)
        assert (job.training_time, job.process_id, job.internal.output_lock) == (1.5, None, job.run_dir)
        assert not world.hosts["node-a"].processes, "the record of an ended run is removed"


async def test_who_could_not_write_why_because_the_disk_was_full_failed_of_that(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.process.end(1, disk_full=True)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.error_code, job.exit_code) == (S.FAILED, ErrorCode.DISK_FULL, 1)
        assert "the disk of its log was full" in (job.error_message or "")


async def test_code_0_before_the_last_step_is_killed_and_says_where(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.step(5)
        training.process.end(0)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.error_code, job.exit_code) == (S.FAILED, ErrorCode.KILLED, 0)
        assert "step 5 of 8" in (job.error_message or "")


async def test_code_0_without_any_training_is_no_success(world: World) -> None:
    async with world.daemon():
        job_id, training = await started(world)
        training.load()
        training.process.end(0)
        await world.clock.advance(2)
        assert (await world.job(job_id)).status is S.FAILED


async def test_a_failure_is_explained_by_the_line_that_a_person_would_look_for(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.process.write(
            "Traceback (most recent call last):\n"
            '  File "/env/swift/cli/sft.py", line 20, in <module>\n'
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
        )
        training.process.end(1)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.error_code, job.exit_code) == (S.FAILED, ErrorCode.OUT_OF_MEMORY, 1)
        assert job.error_message == "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
        event = world.broker.events_of(job_id)[-1].event.data
        assert (event["error_code"], event["error_message"], event["exit_code"]) == (
            "out_of_memory",
            job.error_message,
            1,
        )


async def test_a_process_that_can_not_be_started_fails_the_job(world: World) -> None:
    daemon = world.make()

    async def refuse(call: str) -> None:
        if call == "spawn":
            raise SpawnError("no such program: /env/bin/swift")

    daemon.runs.before_call = refuse
    async with daemon.running():
        job_id = await world.create()
        await world.clock.advance(1)
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (S.FAILED, ErrorCode.SPAWN_FAILED)
        assert job.error_message == "no such program: /env/bin/swift"


@pytest.mark.parametrize(("rebooted", "code"), [(False, ErrorCode.KILLED), (True, ErrorCode.NODE_LOST)])
async def test_a_run_that_was_lost_is_never_completed(world: World, rebooted: bool, code: ErrorCode) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.step(8)
        training.process.lose(rebooted=rebooted)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.error_code, job.exit_code) == (S.FAILED, code, None)


# ---------------------------------------------------------------- bugs


async def test_a_supervisor_with_a_bug_is_taken_up_again_and_the_others_go_on(world: World) -> None:
    async with world.daemon() as daemon:
        job_id, training = await running(world)
        other, second = await running(world)
        broken = True

        async def break_once(call: str) -> None:
            nonlocal broken
            if call == "wait" and broken:
                broken = False
                raise RuntimeError("a bug")

        daemon.runs.after_call = break_once
        training.step(8)
        training.process.end(0)
        await world.clock.advance(5)
        assert (await world.job(job_id)).status is S.RUNNING
        second.step(5)
        await world.clock.advance(2)
        assert (await world.job(other)).current_step == 5
        await world.clock.advance(31)
        assert (await world.job(job_id)).status is S.COMPLETED
