"""One message at two daemons, late, or after a crash: what was deleted stays deleted, and what was said stays said."""

import asyncio

import pytest

from daemon.core.lifecycle import Cause
from daemon.core.moves import queued
from daemon.ports import JobQuery
from schemas.enums import ReplyErrorCode, TrainingStatus
from tests.loops.jobs import PENDING, pending, replies
from tests.loops.rig import Daemon, World


@pytest.mark.parametrize("command", ["job.resume", "job.export", "job.delete"])
async def test_a_refusal_that_one_daemon_has_decided_is_the_answer_of_all(world: World, command: str) -> None:
    """The same message at another daemon, a moment later, would find a job that allows it."""
    async with world.daemon("intake", node_id="node-a") as slow:
        job_id = await world.create()
        world.faults.gates["remember_reply"] = asyncio.Event()
        world.broker.send(command, {"job_id": job_id}, message_id="m-2", reply_to="q", correlation_id="slow")
        await world.clock.settle()
        gate = world.faults.gates.pop("remember_reply")
        await slow.bus.stop_consuming()
        async with world.daemon("intake", node_id="node-b"):
            await world.result("job.stop", {"job_id": job_id})
            reply = await world.reply(command, {"job_id": job_id}, message_id="m-2")
            assert reply.error is not None
            assert reply.error.code is ReplyErrorCode.CONFLICT
            assert "is queued" in reply.error.message
            gate.set()
            await world.clock.settle()
            assert replies(world, "slow") == [reply]
            assert (await world.job(job_id)).status is TrainingStatus.CANCELLED


async def slow_creation(world: World, daemon: Daemon) -> asyncio.Event:
    """A `job.create` m-1 that this daemon alone has, and is about to store until the event is set."""
    gate = world.faults.gates["insert_job"] = asyncio.Event()
    world.broker.send("job.create", PENDING, message_id="m-1", reply_to="q", correlation_id="slow")
    await world.clock.settle()
    await daemon.bus.stop_consuming()
    del world.faults.gates["insert_job"]
    return gate


async def made_and_deleted(world: World) -> dict[str, object]:
    """The same creation by way of another daemon, and its deletion; the creation's result."""
    made = await world.result("job.create", PENDING, message_id="m-1")
    await world.result("job.delete", {"job_id": made["job_id"]})
    return made


async def test_a_job_that_was_deleted_does_not_come_back_with_a_slow_daemons_creation(world: World) -> None:
    async with world.daemon("intake", node_id="node-a") as slow:
        gate = await slow_creation(world, slow)
        async with world.daemon("intake", node_id="node-b"):
            made = await made_and_deleted(world)
            gate.set()
            await world.clock.settle()
        assert replies(world, "slow")[0].result == made
        assert await world.store.get_job(str(made["job_id"])) is None


async def test_a_slow_creation_whose_daemon_dies_does_not_bring_a_deleted_job_back(world: World) -> None:
    async with world.daemon("intake", node_id="node-b"):
        async with world.make("node-a").running("intake") as slow:
            gate = await slow_creation(world, slow)
            made = await made_and_deleted(world)
            world.faults.gates["remember_reply"] = asyncio.Event()
            gate.set()
            await world.clock.settle()
            assert await world.store.get_job(str(made["job_id"])) is not None, "it is back when the slow one dies"
            del world.faults.gates["remember_reply"]
        await world.clock.settle()
        assert replies(world, "slow")[0].result == made
        assert await world.store.get_job(str(made["job_id"])) is None


async def test_a_deletion_that_was_not_carried_out_takes_nothing_with_a_late_repetition(world: World) -> None:
    async with world.make("node-a").running("intake") as slow:
        slow.bus_faults.gates["reply"] = asyncio.Event()
        world.broker.send("job.create", PENDING, message_id="m-1", reply_to="q", correlation_id="slow")
        await world.clock.settle()
        await slow.bus.stop_consuming()
        (job,) = (await world.store.list_jobs(JobQuery())).jobs
        async with world.daemon("intake", node_id="node-b"):
            world.faults.meddlers["delete_job"] = lambda: _started(world, job.id)
            assert (await world.reply("job.delete", {"job_id": job.id})).ok is False
    async with world.daemon("intake", node_id="node-b"):
        await world.clock.settle()
        assert len(replies(world, "slow")) == 1
        assert (await world.job(job.id)).status is TrainingStatus.QUEUED


async def _started(world: World, job_id: str) -> None:
    job = await world.job(job_id)
    moved = queued(job, Cause.START, at=world.clock.now(), by="node-b", reason="start requested")
    assert await world.store.update_job(job, moved)


async def test_a_deletion_whose_daemon_dies_before_its_answer_is_answered_the_same(world: World) -> None:
    first = world.make()
    async with first.running("intake"):
        job_id = await pending(world)
        world.faults.gates["remember_reply"] = asyncio.Event()
        world.broker.send("job.delete", {"job_id": job_id}, message_id="m-2", reply_to="q", correlation_id="c")
        await world.clock.settle()
        assert await world.store.get_job(job_id) is None
        del world.faults.gates["remember_reply"]
    async with world.daemon("intake"):
        await world.clock.settle()
        (reply,) = replies(world, "c")
        assert reply.result == {"job_id": job_id, "message": "deleted; its output and its log file are still there"}
        other = await world.reply("job.delete", {"job_id": job_id}, message_id="m-3")
        assert other.error is not None
        assert other.error.code is ReplyErrorCode.NOT_FOUND
