"""What a request says of its start: devices it wants, jobs it comes after, a time, and the owner's quotas."""

from datetime import timedelta

import pytest

from schemas.enums import ErrorCode, ReplyErrorCode, TrainingStatus
from schemas.replies import QueueList
from tests.loops.gpu_board import GpuBoard
from tests.loops.jobs import POLL_S, running, stop
from tests.loops.rig import CREATE, World

S = TrainingStatus
QUOTAS = {"ann": {"gpus": 1, "queued": 2}}


async def create(world: World, user_id: str | None = None, message_id: str | None = None, **fields: object) -> str:
    """A job of this user; its id, or the code of the refusal and its text."""
    await world.clock.advance(0.01)  # so that of two jobs the first is the older one
    body = {**CREATE, "output_dir": f"output/run-{len(world.broker.acked)}", "start": True, **fields}
    reply = await world.reply("job.create", body, user_id=user_id, message_id=message_id)
    return str(reply.result["job_id"]) if reply.result else f"{reply.error.code}: {reply.error.message}"  # type: ignore[union-attr]


async def test_a_job_after_another_starts_when_that_has_completed(world: World) -> None:
    async with world.daemon():
        first, training = await running(world)
        second = await create(world, after=[first])
        await world.clock.settle()
        assert (await world.job(second)).wait_reason == f"waits for the end of job {first} (running)"
        reply = await world.reply("job.delete", {"job_id": first})
        assert reply.error is not None
        training.finish(steps=(5,))
        await world.clock.advance(POLL_S)
        assert (await world.job(second)).status is S.STARTING


async def test_a_job_after_one_that_fails_fails_and_says_so_and_so_does_the_next(world: World) -> None:
    async with world.daemon():
        first, training = await running(world)
        second = await create(world, after=[first])
        third = await create(world, after=[second])
        anyway = await create(world, after=[first], after_policy="always")
        training.process.end(1)
        await world.clock.advance(3 * POLL_S)
        job = await world.job(second)
        assert (job.status, job.error_code, job.attempt) == (S.FAILED, ErrorCode.DEPENDENCY_FAILED, 0)
        assert job.error_message == f"job {first}, which must complete before, is failed"
        assert (await world.job(third)).error_message == f"job {second}, which must complete before, is failed"
        assert (await world.job(anyway)).status is S.STARTING
        assert world.routes(second) == ["status.pending", "status.queued", "status.failed"]


async def test_a_job_can_be_resumed_once_the_other_has_completed_after_all(world: World) -> None:
    async with world.daemon():
        first, training = await running(world)
        second = await create(world, after=[first])
        training.process.end(1)
        await world.clock.advance(2 * POLL_S)
        await world.result("job.resume", {"job_id": first})
        await world.clock.settle()
        await world.result("job.resume", {"job_id": second})
        await world.clock.settle()
        assert (await world.job(second)).wait_reason == f"waits for the end of job {first} (starting)"
        (await world.training(first, attempt=2)).finish()
        await world.clock.advance(2 * POLL_S)
        assert (await world.job(second)).status is S.STARTING


async def test_a_job_that_others_come_after_is_not_deleted(world: World) -> None:
    async with world.daemon("intake"):
        first = await create(world, start=False)
        second = await create(world, after=[first], start=False)
        reply = await world.reply("job.delete", {"job_id": first})
        assert reply.error is not None
        assert reply.error.code is ReplyErrorCode.CONFLICT
        assert second in reply.error.message
        await stop(world, second)
        await world.result("job.delete", {"job_id": first})


async def test_jobs_that_are_not_there_are_refused_by_place(world: World) -> None:
    async with world.daemon("intake"):
        first = await create(world)
        reply = await world.reply("job.create", {**CREATE, "after": [first, "nobody"]})
        assert reply.error is not None
        assert (reply.error.code, reply.error.message) == (
            ReplyErrorCode.INVALID_REQUEST,
            "after.1: there is no job nobody",
        )
        assert [fault.loc for fault in reply.error.details] == [("after", 1)]


async def test_a_start_time_is_waited_for(world: World) -> None:
    later = world.clock.now() + timedelta(seconds=30)
    async with world.daemon():
        job_id = await create(world, not_before=later.isoformat())
        await world.clock.advance(29)
        job = await world.job(job_id)
        assert job.wait_reason == "waits until 2030-01-01 00:00:30 UTC, before which it may not start"
        await world.clock.advance(1 + POLL_S)
        assert (await world.job(job_id)).status is S.STARTING


async def test_devices_are_chosen_by_memory_and_name(world: World) -> None:
    board = GpuBoard(2, "node-a")
    board.set(0, memory_total_mib=40_000, name="NVIDIA A100")
    async with world.daemon(devices=board):
        job_id = await create(world, gpu_memory_mib=60_000, gpu_name="*h100*")
        never = await create(world, gpu_memory_mib=100_000)
        await world.clock.settle()
        assert (await world.job(job_id)).devices == (1,)
        assert (await world.job(never)).wait_reason == "needs 1 device with 100000 MiB, and no node has any"
        queue = QueueList.model_validate(await world.result("queue.list"))
        assert [(job.job_id, job.gpu_memory_mib) for job in queue.jobs] == [(never, 100_000)]


async def test_the_queue_shows_the_plan(world: World) -> None:
    async with world.daemon(devices=2):
        limited, _ = await running(world, timeout_seconds=600)
        wide = await create(world, gpu_count=2)
        waits = await create(world, after=[wide])
        await world.clock.settle()
        queue = QueueList.model_validate(await world.result("queue.list"))
        first, second = queue.jobs
        started_at = (await world.job(limited)).started_at
        assert started_at is not None
        assert (first.job_id, first.position, first.node_id) == (wide, 1, "node-a")
        assert first.expected_start == started_at + timedelta(seconds=600)
        assert (second.job_id, second.after, second.node_id, second.expected_start) == (waits, (wide,), None, None)


async def test_owners_take_turns(world: World) -> None:
    async with world.daemon("intake"):
        for _ in range(3):
            await create(world, user_id="ann")
            await world.clock.advance(1)
        bobs = await create(world, user_id="bob")
    async with world.daemon(devices=2):
        await world.clock.advance(POLL_S)
        assert (await world.job(bobs)).status is S.STARTING


async def test_the_fourth_may_not_be_queued_and_is_told_why(world: World) -> None:
    async with world.daemon(devices=2, owner_quotas=QUOTAS):
        first = await create(world, user_id="ann")
        await world.clock.settle()
        second, third = await create(world, user_id="ann"), await create(world, user_id="ann")
        await world.clock.settle()
        assert (await world.job(first)).status is S.STARTING
        assert (await world.job(second)).wait_reason == "needs 1 device; owner ann has 1 and may have 1 at once"
        reason = "forbidden: owner ann has 2 jobs in the queue and may have 2"
        assert (await create(world, user_id="ann")).startswith(reason)
        pending = await create(world, user_id="ann", start=False)
        for command in ("job.start", "job.resume"):
            reply = await world.reply(command, {"job_id": pending})
            assert reply.error is not None
        assert (await create(world, user_id="bob")).count(":") == 0
        await stop(world, third)
        await world.result("job.start", {"job_id": pending})
        reply = await world.reply("job.resume", {"job_id": third})
        assert reply.error is not None
        assert reply.error.code is ReplyErrorCode.FORBIDDEN


async def test_a_creation_that_is_told_twice_meets_its_quota_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.daemon("intake", owner_quotas={"ann": {"queued": 1}}):
        job_id = await create(world, user_id="ann", message_id="m")

        async def forgotten(_message_id: str) -> None:
            return None

        monkeypatch.setattr(world.store, "find_reply", forgotten)
        assert await create(world, user_id="ann", message_id="m") == job_id
