"""The intake: store, reply, acknowledge, in this order; one effect however often a command comes; nothing is lost."""

import asyncio
from typing import Any

import pytest

from daemon.adapters.memory_bus import PREFETCH
from daemon.core.lifecycle import Cause
from daemon.core.moves import queued
from daemon.loops.handling.table import HANDLERS
from daemon.loops.intake import PATIENCE_S
from daemon.ports import JobQuery
from schemas.enums import ReplyErrorCode, TrainingStatus
from schemas.replies import Reply
from tests.loops.jobs import PENDING, pending
from tests.loops.rig import Daemon, World


def replies(world: World, correlation_id: str) -> list[Reply]:
    return [answer.reply for answer in world.broker.answers_to(correlation_id)]


async def test_a_command_is_stored_then_answered_then_acknowledged(world: World) -> None:
    async with world.daemon("intake"):
        world.journal.clear()
        await world.result("job.create", PENDING, message_id="m-1")
        done = [call for call in world.journal if call in {"store.insert_job", "bus.reply", "bus.ack"}]
        assert done == ["store.insert_job", "bus.reply", "bus.ack"]


async def test_a_reply_is_remembered_before_it_is_sent(world: World) -> None:
    async with world.daemon("intake"):
        world.journal.clear()
        await world.result("job.create", PENDING, message_id="m-1")
        assert world.journal.index("store.remember_reply") < world.journal.index("bus.reply")


async def test_nothing_is_answered_while_the_write_is_under_way(world: World) -> None:
    async with world.daemon("intake"):
        gate = world.faults.gates["insert_job"] = asyncio.Event()
        world.broker.send("job.create", PENDING, reply_to="q", correlation_id="c")
        await world.clock.settle()
        assert not world.broker.answers
        assert world.broker.unacknowledged == 1
        gate.set()
        await world.clock.settle()
        assert replies(world, "c")[0].ok
        assert world.broker.unacknowledged == 0


async def test_nothing_is_acknowledged_while_the_reply_is_under_way(world: World) -> None:
    async with world.daemon("intake") as daemon:
        gate = daemon.bus_faults.gates["reply"] = asyncio.Event()
        world.broker.send("job.create", PENDING, reply_to="q", correlation_id="c")
        await world.clock.settle()
        assert world.faults.calls["insert_job"] == 1
        assert world.broker.unacknowledged == 1
        gate.set()
        await world.clock.settle()
        assert world.broker.unacknowledged == 0


# ---------------------------------------------------------------- the same message again


async def the_only_job(world: World) -> str:
    """The id of the one job that there is, which told of its creation once."""
    assert sum((await world.store.counts()).values()) == 1
    page = world.broker.answers[-1].reply.result
    assert page is not None
    job_id = str(page["job_id"])
    job = await world.job(job_id)
    assert job.internal.sequence == 1
    return job_id


async def test_a_message_that_is_published_twice_makes_one_job(world: World) -> None:
    async with world.daemon("intake"):
        first = await world.reply("job.create", PENDING, message_id="m-1")
        second = await world.reply("job.create", PENDING, message_id="m-1")
        assert first == second
        await the_only_job(world)


async def test_a_message_without_an_id_makes_a_job_each_time(world: World) -> None:
    async with world.daemon("intake"):
        assert await pending(world) != await pending(world)


async def test_a_redelivery_whose_acknowledgement_was_lost_makes_one_job(world: World) -> None:
    async with world.daemon("intake") as daemon:
        daemon.bus_faults.failing["ack"] = 1
        world.broker.send("job.create", PENDING, message_id="m-1", reply_to="q", correlation_id="c")
        await world.clock.settle()
        daemon.bus.reconnect()
        await world.clock.settle()
        first, second = replies(world, "c")
        assert first == second
        assert world.broker.unacknowledged == 0
        await the_only_job(world)


async def test_two_daemons_that_get_the_same_message_at_once_make_one_job(world: World) -> None:
    async with world.daemon("intake", node_id="node-a"), world.daemon("intake", node_id="node-b"):
        gate = world.faults.gates["insert_job"] = asyncio.Event()
        for _ in range(2):
            world.broker.send("job.create", PENDING, message_id="m-1", reply_to="q", correlation_id="c")
        await world.clock.settle()
        assert world.faults.calls["insert_job"] == 2
        gate.set()
        await world.clock.settle()
        first, second = replies(world, "c")
        assert first == second
        await the_only_job(world)


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


async def test_two_daemons_that_get_the_same_change_at_once_make_it_once(world: World) -> None:
    async with world.daemon("intake", node_id="node-a"), world.daemon("intake", node_id="node-b"):
        job_id = await pending(world)
        gate = world.faults.gates["update_job"] = asyncio.Event()
        for _ in range(2):
            world.broker.send("job.stop", {"job_id": job_id}, message_id="m-2", reply_to="q", correlation_id="c")
        await world.clock.settle()
        assert world.faults.calls["update_job"] == 2
        gate.set()
        await world.clock.settle()
        first, second = replies(world, "c")
        assert first == second
        assert (await world.job(job_id)).internal.sequence == 2


async def test_a_crash_between_the_write_and_the_acknowledgement_makes_one_job(world: World) -> None:
    first = world.make()
    first.bus_faults.gates["reply"] = asyncio.Event()
    async with first.running("intake"):
        world.broker.send("job.create", PENDING, message_id="m-1", reply_to="q", correlation_id="c")
        await world.clock.settle()
        assert world.faults.calls["insert_job"] == 1
    assert not world.broker.answers
    async with world.daemon("intake"):
        assert [reply.ok for reply in replies(world, "c")] == [True]
        await the_only_job(world)


async def test_a_crash_before_the_reply_was_remembered_makes_one_job(world: World) -> None:
    world.faults.gates["remember_reply"] = asyncio.Event()
    async with world.daemon("intake"):
        world.broker.send("job.create", PENDING, message_id="m-1", reply_to="q", correlation_id="c")
        await world.clock.settle()
    world.faults.gates.clear()
    async with world.daemon("intake"):
        (reply,) = replies(world, "c")
        assert reply.result is not None
        assert reply.result["message"] == "created; start it with job.start"
        await the_only_job(world)


async def test_a_write_whose_answer_was_lost_makes_one_job(world: World) -> None:
    async with world.daemon("intake"):
        world.faults.losing["insert_job"] = 1
        first = await world.reply("job.create", PENDING, message_id="m-1", within_s=5)
        again = await world.reply("job.create", PENDING, message_id="m-1")
        assert first.ok
        assert first == again
        await the_only_job(world)


@pytest.mark.parametrize("command", ["job.start", "job.stop"])
async def test_a_change_whose_answer_was_lost_is_made_once(world: World, command: str) -> None:
    async with world.daemon("intake"):
        job_id = await pending(world)
        world.faults.losing["update_job"] = 1
        first = await world.reply(command, {"job_id": job_id}, message_id="m-2", within_s=5)
        again = await world.reply(command, {"job_id": job_id}, message_id="m-2")
        assert first.ok
        assert first == again
        assert (await world.job(job_id)).internal.sequence == 2


async def test_a_removal_whose_answer_was_lost_is_told_as_done(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await pending(world)
        run_dir = (await world.job(job_id)).run_dir
        world.files.write(f"{run_dir}/args.json", "{}")
        world.faults.losing["delete_job"] = 1
        body = {"job_id": job_id, "purge_output": True}
        reply = await world.reply("job.delete", body, message_id="m-3", within_s=5)
        assert reply.ok, reply.error
        assert not world.files.content(f"{run_dir}/args.json")


async def test_the_first_reply_comes_again_also_where_it_was_a_refusal(world: World) -> None:
    async with world.daemon("intake"):
        first = await world.reply("job.start", {"job_id": "nobody"}, message_id="m-1")
        assert first.error is not None
        assert first.error.code is ReplyErrorCode.NOT_FOUND
        assert await world.reply("job.start", {"job_id": "nobody"}, message_id="m-1") == first


async def test_a_start_twice_has_no_second_effect_and_no_error(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await pending(world)
        first = await world.result("job.start", {"job_id": job_id})
        second = await world.result("job.start", {"job_id": job_id})
        assert (first["status"], first["queue_position"]) == ("queued", 1)
        assert (second["status"], second["queue_position"]) == ("queued", 1)
        assert (await world.job(job_id)).internal.sequence == 2


# ---------------------------------------------------------------- order


async def test_commands_of_one_job_are_carried_out_in_the_order_in_which_they_came(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await pending(world)
        gate = world.faults.gates["get_job"] = asyncio.Event()
        for number, command in enumerate(["job.start", "job.stop", "job.resume", "job.stop"]):
            world.broker.send(command, {"job_id": job_id}, reply_to="q", correlation_id=str(number))
        await world.clock.settle()
        gate.set()
        await world.clock.settle()
        told = [(answer.correlation_id, answer.reply.ok) for answer in world.broker.answers[-4:]]
        assert told == [("0", True), ("1", True), ("2", True), ("3", True)]
        job = await world.job(job_id)
        assert [event.routing_key.rpartition(".")[2] for event in job.internal.outbox] == [
            "pending",
            "queued",
            "cancelled",
            "queued",
            "cancelled",
        ]


def slow_for(monkeypatch: pytest.MonkeyPatch, slow_id: str) -> asyncio.Event:
    """Make `job.get` of one job wait for the event."""
    gate, plain = asyncio.Event(), HANDLERS["job.get"]

    async def handler(ctx: Any, request: Any, sender: Any) -> Any:
        if request.job_id == slow_id:
            await gate.wait()
        return await plain(ctx, request, sender)

    monkeypatch.setitem(HANDLERS, "job.get", handler)
    return gate


@pytest.mark.parametrize("commands", [1, PREFETCH * 3 // 4])
async def test_a_slow_job_does_not_hold_up_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, commands: int
) -> None:
    gate = slow_for(monkeypatch, "slow")
    async with world.daemon("intake"):
        for _ in range(commands):
            world.broker.send("job.get", {"job_id": "slow"}, reply_to="q", correlation_id="slow")
        for number in range(64):
            world.broker.send("job.get", {"job_id": f"job-{number}"}, reply_to="q", correlation_id="other")
        await world.clock.settle()
        assert not replies(world, "slow")
        assert len(replies(world, "other")) >= 48  # all but those that share its lane
        gate.set()
        await world.clock.settle()
        assert len(replies(world, "slow")) == commands
        assert len(replies(world, "other")) == 64
        assert world.broker.unacknowledged == 0


# ---------------------------------------------------------------- outages


async def test_who_wants_a_reply_is_told_unavailable_after_a_while(world: World) -> None:
    async with world.daemon("intake"):
        world.faults.away = True
        began = world.clock.monotonic()
        reply = await world.reply("job.create", PENDING, message_id="m-1", within_s=60)
        waited_s = world.clock.monotonic() - began
        assert reply.error is not None
        assert reply.error.code is ReplyErrorCode.UNAVAILABLE
        assert PATIENCE_S <= waited_s <= 2 * PATIENCE_S
        assert world.broker.unacknowledged == 0
        world.faults.away = False
        assert (await world.reply("job.create", PENDING, message_id="m-1", within_s=60)).ok


async def test_each_of_many_who_want_a_reply_is_told_in_time(world: World) -> None:
    async with world.daemon("intake"):
        world.faults.away = True
        for number in range(5):
            world.broker.send("job.start", {"job_id": "job-1"}, reply_to="q", correlation_id=str(number))
        await world.clock.advance(2 * PATIENCE_S)
        told = [answer.reply.error.code for answer in world.broker.answers if answer.reply.error]
        assert told == [ReplyErrorCode.UNAVAILABLE] * 5


async def test_who_wants_a_reply_is_told_in_time_behind_one_who_wants_none(world: World) -> None:
    async with world.daemon("intake"):
        world.faults.away = True
        world.broker.send("job.start", {"job_id": "job-1"})
        world.broker.send("job.stop", {"job_id": "job-1"}, reply_to="q", correlation_id="c")
        await world.clock.advance(2 * PATIENCE_S)
        (reply,) = replies(world, "c")
        assert reply.error is not None
        assert reply.error.code is ReplyErrorCode.UNAVAILABLE


async def test_who_wants_no_reply_is_served_when_the_store_is_back(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await pending(world)
        world.faults.away = True
        world.broker.send("job.start", {"job_id": job_id})
        await world.clock.advance(3600)
        assert world.broker.unacknowledged == 1
        world.faults.away = False
        await world.clock.advance(10)
        assert (await world.job(job_id)).status is TrainingStatus.QUEUED
        assert world.broker.unacknowledged == 0


async def test_a_store_that_goes_away_between_effect_and_reply_holds_nothing_up_for_ever(world: World) -> None:
    async with world.daemon("intake"):
        world.faults.failing["remember_reply"] = 1
        reply = await world.reply("job.create", PENDING, message_id="m-1", within_s=60)
        assert reply.ok
        await world.clock.settle()
        assert world.broker.unacknowledged == 0
        await the_only_job(world)


async def test_a_query_is_answered_also_where_its_reply_can_not_be_remembered(world: World) -> None:
    async with world.daemon("intake"):
        world.faults.failing["remember_reply"] = 1
        assert (await world.reply("node.list", message_id="m-1")).ok
        assert world.broker.unacknowledged == 0


async def test_a_broker_that_is_away_at_reply_time_sends_the_command_again_and_the_effect_stays_one(
    world: World,
) -> None:
    async with world.daemon("intake"):
        gate = world.faults.gates["remember_reply"] = asyncio.Event()
        world.broker.send("job.create", PENDING, message_id="m-1", reply_to="q", correlation_id="c")
        await world.clock.settle()
        world.broker.go_away()
        gate.set()
        await world.clock.settle()
        assert not world.broker.answers
        assert not world.broker.acked
        world.broker.come_back()
        await world.clock.advance(1)
        assert [reply.ok for reply in replies(world, "c")] == [True]
        assert len(world.broker.acked) == 1
        await the_only_job(world)
