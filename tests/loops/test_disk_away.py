"""A file system that is away for a while: what can't be read is not taken for what is not there."""

import pytest

from daemon.loops.reading import LONGEST_AWAY_S
from schemas.enums import ErrorCode, ExportStatus, ReplyErrorCode
from tests.loops.jobs import S, completed, running, started
from tests.loops.rig import CREATE, World

LOOKS = ("read", "size", "exists", "checkpoints")
"""The calls that have to say that they can't tell."""


def goes_away(world: World, *calls: str) -> None:
    for call in calls or LOOKS:
        world.disk.failing[call] = 1_000_000


def comes_back(world: World) -> None:
    world.disk.failing.clear()


async def test_an_end_that_can_not_be_read_yet_is_no_early_end(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        goes_away(world)
        training.finish(steps=(5,))
        await world.clock.advance(LONGEST_AWAY_S - 60)
        job = await world.job(job_id)
        assert (job.status, job.current_step) == (S.RUNNING, 1)
        assert "the disk is away" in "".join(job.warnings)
        comes_back(world)
        await world.clock.advance(20)
        job = await world.job(job_id)
        assert (job.status, job.progress, job.warnings) == (S.COMPLETED, 100.0, ())
        assert (job.checkpoint_path or "").endswith("checkpoint-8")
        assert [point.loss for point in await world.curve(job_id)][-1] == 5.5, "all digits, nothing skipped"


async def test_a_log_that_can_not_be_read_is_no_silence(world: World) -> None:
    async with world.daemon(stall_seconds=60, stall_policy="stop"):
        job_id, training = await running(world)
        goes_away(world)
        await world.clock.advance(300)
        assert not training.process.stops
        (said,) = (await world.job(job_id)).warnings
        assert said == "log: the disk is away"
        comes_back(world)
        await world.clock.advance(5)
        assert (await world.job(job_id)).warnings == ()
        await world.clock.advance(60)
        assert len(training.process.stops) == 1, "from here on it is"


@pytest.mark.parametrize("code", [0, 1])
async def test_a_log_that_stays_away_does_not_hold_the_devices_for_ever(world: World, code: int) -> None:
    async with world.daemon(devices=1):
        job_id, training = await running(world)
        goes_away(world)
        training.process.end(code)
        await world.clock.advance(LONGEST_AWAY_S + 10)
        job = await world.job(job_id)
        assert (job.status, job.error_code, job.exit_code) == (S.FAILED, ErrorCode.UNKNOWN, code)
        assert job.error_message == (
            f"ended with code {code}; its log is read up to step 1 of 8, and then the disk is away"
        )
        comes_back(world)
        await started(world)


async def test_a_retry_waits_for_its_checkpoint_to_be_seen(world: World) -> None:
    async with world.daemon() as daemon:
        job_id, training = await running(world, max_retries=1)
        training.saving(4)
        training.checkpoint(4)
        await world.clock.advance(2)
        training.process.lose(rebooted=True)
        await world.clock.advance(2)
        goes_away(world, "checkpoints")
        await world.clock.advance(60)
        job = await world.job(job_id)
        assert (job.status, job.attempt) == (S.QUEUED, 2)
        assert job.wait_reason == "the disk is away"
        other, _ = await started(world)
        assert (await world.job(other)).status is S.STARTING, "which holds up nobody else"
        comes_back(world)
        await world.clock.advance(35)
        job = await world.job(job_id)
        assert (job.status, job.attempt) == (S.STARTING, 2)
        assert daemon.runs.process(f"{job_id}-2").spec.argv[-1].endswith("checkpoint-4")


async def test_what_is_said_of_the_next_attempt_is_what_the_document_knows(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        training.saving(4)
        training.checkpoint(4)
        await world.clock.advance(2)
        training.process.end(1)
        await world.clock.advance(2)
        goes_away(world)
        message = str((await world.result("job.resume", {"job_id": job_id}))["message"])
        assert message.endswith("checkpoint-4") or message == "queued"
        reason = str(world.broker.events_of(job_id)[-1].event.data["reason"])
        assert reason == f"resume requested, from {training.run_dir}/checkpoint-4"


async def test_who_begins_anew_although_checkpoints_were_told_of_says_so(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world, max_retries=1)
        training.saving(4)
        training.checkpoint(4)
        await world.clock.advance(2)
        await world.files.remove_tree(training.run_dir)
        training.process.end(1)
        await world.clock.advance(15)
        assert (await world.job(job_id)).attempt == 2
        reason = str(world.broker.events_of(job_id)[-1].event.data["reason"])
        told = f"{training.run_dir}/checkpoint-4"
        assert reason.endswith(f"from the beginning: no training can go on from {told}, or it is not there")


async def test_a_daemon_that_can_not_read_what_was_said_before_follows_the_run_all_the_same(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
    world.disk.failing["read"] = 10
    async with world.daemon():
        await world.clock.advance(60)
        training.finish(steps=(5,))
        await world.clock.advance(5)
        assert (await world.job(job_id)).status is S.COMPLETED


async def test_an_export_that_can_not_be_looked_at_yet_is_no_failed_one(world: World) -> None:
    async with world.daemon():
        job_id, training = await completed(world)
        await world.clock.settle()
        world.files.make_folder(f"{training.run_dir}/exports/checkpoint-8-merged")
        world.disk.failing["exists"] = 3
        world.export_process(job_id).end(0)
        await world.clock.advance(10)
        assert (await world.job(job_id)).export_completed


async def test_an_export_that_stays_away_fails_for_that(world: World) -> None:
    async with world.daemon():
        job_id, _ = await completed(world)
        await world.clock.settle()
        goes_away(world, "exists")
        world.export_process(job_id).end(0)
        await world.clock.advance(LONGEST_AWAY_S + 30)
        job = await world.job(job_id)
        assert job.export_status is ExportStatus.FAILED
        assert "can't be looked at: the disk is away" in (job.export_error or "")


async def test_a_path_on_a_dead_mount_holds_up_no_command(world: World) -> None:
    async with world.daemon():
        goes_away(world, "exists")
        body = {**CREATE, "model_path": "/mnt/dead/model"}
        reply = await world.reply("job.create", body)
        assert reply.error is not None
        assert (reply.error.code, "does not exist" in reply.error.message) == (ReplyErrorCode.INVALID_REQUEST, True)
