"""The intake: store, reply, acknowledge, in this order; one effect however often a command comes; nothing is lost."""

import asyncio
from typing import Any

import pytest

from daemon.adapters.memory_bus import PREFETCH
from daemon.loops.handling.table import HANDLERS
from daemon.loops.intake import PATIENCE_S
from daemon.ports import JobQuery
from schemas.enums import ReplyErrorCode, TrainingStatus
from tests.loops.jobs import PENDING, pending, replies
from tests.loops.rig import CREATE, World


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


# ---------------------------------------------------------------- a message is one message


async def test_a_refused_message_stays_refused(world: World) -> None:
    async with world.daemon("intake"):
        first = await world.reply("job.create", {**CREATE, "batch_size": 0}, message_id="m-1")
        assert first.error is not None
        assert first.error.code is ReplyErrorCode.INVALID_REQUEST
        assert await world.reply("job.create", PENDING, message_id="m-1") == first
        assert await world.reply("job.create", b"{", message_id="m-1") == first
        assert sum((await world.store.counts()).values()) == 0
        assert [letter.error.partition(":")[0] for letter in world.broker.dead] == ["invalid_request", "invalid_json"]


async def test_what_can_not_be_understood_is_told_also_while_the_store_is_away(world: World) -> None:
    async with world.daemon("intake"):
        world.faults.away = True
        reply = await world.reply("job.create", b"{", message_id="m-1")
        assert reply.error is not None
        assert reply.error.code is ReplyErrorCode.INVALID_JSON
        assert len(world.broker.dead) == 1


async def test_a_message_id_is_its_senders_own(world: World) -> None:
    async with world.daemon("intake"):
        senders = (None, "alice", "bob", "alice")
        replies_to = [
            await world.broker.call("job.create", PENDING, message_id="m-1", user_id=user) for user in senders
        ]
        assert replies_to[1] == replies_to[3]
        jobs = (await world.store.list_jobs(JobQuery())).jobs
        assert sorted(str(job.owner) for job in jobs) == ["None", "alice", "bob"]


async def test_one_id_for_two_jobs_at_once_has_one_effect(world: World) -> None:
    async with world.daemon("intake"):
        ids = [await pending(world) for _ in range(20)]
        for job_id in ids:
            world.broker.send("job.start", {"job_id": job_id}, message_id="m-1", reply_to="q", correlation_id="c")
        await world.clock.settle()
        told = {str(reply.result) for reply in replies(world, "c")}
        assert len(told) == 1
        assert (await world.store.counts())["queued"] == 1
        assert world.broker.unacknowledged == 0


# ---------------------------------------------------------------- expired


async def test_a_command_that_expired_while_the_store_was_away_is_never_carried_out(world: World) -> None:
    async with world.daemon("intake"):
        world.faults.away = True
        world.broker.send("job.create", PENDING, expires_in_s=5, message_id="m-1")
        world.broker.send("job.create", PENDING, expires_in_s=500, message_id="m-2")
        await world.clock.advance(60)
        world.faults.away = False
        await world.clock.advance(10)
        assert sum((await world.store.counts()).values()) == 1
        (letter,) = world.broker.dead
        assert (letter.message_id, "expired" in letter.error) == ("m-1", True)
        assert world.broker.unacknowledged == 0


async def test_a_command_that_expires_behind_a_slow_one_is_not_carried_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = slow_for(monkeypatch, "slow")
    async with world.daemon("intake"):
        for expires_in_s in (None, 1.0, 100.0):
            name = str(expires_in_s)
            body = {"job_id": "slow"}
            world.broker.send("job.get", body, reply_to="q", correlation_id=name, expires_in_s=expires_in_s)
        await world.clock.advance(2)
        gate.set()
        await world.clock.settle()
        codes = [replies(world, name)[0].error for name in ("None", "1.0", "100.0")]
        assert [error and error.code for error in codes] == ["not_found", "unavailable", "not_found"]
