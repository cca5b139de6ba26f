"""Subscribers that never read, requesters that are gone, and a heap of dead letters: nobody else notices."""

import json
import time

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from tests.bounds.room import Ear, Room, say
from tests.waiting import until

pytestmark = pytest.mark.services

STEPS = 5000
STEPS_A_SECOND = 1000
GONE = 1000
HEAP, DEAD = 8000, 2000
MOST_MIB = 40
LIMIT_S = 60.0


async def never_acknowledge(_message: AbstractIncomingMessage) -> None:
    """Take a message and do nothing with it."""


async def test_a_subscriber_that_never_reads(room: Room) -> None:
    """One that takes a message and never acknowledges it, and a queue that nobody takes from."""
    async with await aio_pika.connect(room.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        deaf = await channel.declare_queue(exclusive=True)
        await deaf.bind("swift.events", "#")
        await deaf.consume(never_acknowledge)
        lonely = await channel.declare_queue(exclusive=True)
        await lonely.bind("swift.events", "#")
        seconds = STEPS // STEPS_A_SECOND
        model = room.model({"lines": 40 * STEPS, "seconds": seconds, "steps": STEPS})
        async with (
            room.quiet_job() as quiet,
            Ear.on(room.url, "job.*.progress") as ear,
            room.watched(quiet, node_list={}) as watched,
        ):
            job_id = await room.create(model)
            await room.probe.status(job_id, "completed", LIMIT_S)
            await ear.wait_reached(f"job.{job_id}.progress", "step", STEPS, LIMIT_S)
        kept = await channel.declare_queue(lonely.name, passive=True)
        say(f"{kept.declaration_result.message_count} events lie there unread; others heard {len(ear.heard)} live")
        say(watched)
        watched.holds(MOST_MIB)
        assert [heard.data["step"] for heard in ear.steps(job_id)] == list(range(1, STEPS + 1))
        assert (kept.declaration_result.message_count or 0) > STEPS


async def all_dead(room: Room) -> bool:
    """Whether every one is buried: that goes on beside the commands behind them, and the broker counts late."""
    count = await room.probe.dead_letters()
    assert count <= HEAP + DEAD
    return count == HEAP + DEAD


async def test_requesters_that_are_gone_and_dead_letters(room: Room) -> None:
    async with await aio_pika.connect(room.url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        await (await channel.get_queue("swift.commands.dead", ensure=False)).purge()
        exchange = await channel.get_exchange("swift.commands", ensure=False)
        async with room.quiet_job() as quiet:
            began = time.monotonic()
            async with room.watched(quiet) as watched:
                for number in range(GONE):
                    message = aio_pika.Message(b'{"training_type": "llm"}', reply_to=f"gone-{number}")
                    await exchange.publish(message, "params.default")
                await room.probe.call("system.status")  # which came behind them all
                answered_s = time.monotonic() - began
            say(f"{GONE} commands of requesters that are gone: {answered_s:.1f} s")
            say(watched)
            watched.holds(MOST_MIB)
            dead = await channel.get_exchange("swift.commands.dead", ensure=False)
            for number in range(HEAP):
                await dead.publish(aio_pika.Message(b"{}", headers={"x-swift-error": f"old {number}"}), "job.get")
            began = time.monotonic()
            async with room.watched(quiet) as watched:
                for number in range(DEAD):
                    body = json.dumps({"job_id": "../x", "number": number}).encode()
                    await exchange.publish(aio_pika.Message(body, reply_to=f"gone-{number}"), "job.get")
                sent_s = time.monotonic() - began
                await room.probe.raw("system.status", b"{}", LIMIT_S)
                answered_s = time.monotonic() - began
            say(
                f"{DEAD} that can't be understood, sent in {sent_s:.1f} s: the one behind them after {answered_s:.1f} s"
            )
            say(watched)
            watched.holds(MOST_MIB)
            await until(lambda: all_dead(room))
            async with room.watched(quiet) as watched:
                job_id = await room.create(room.model({"steps": 20, "pause_s": 0.02}))
                await room.probe.status(job_id, "completed")
            say(f"with {HEAP + DEAD} dead letters: {watched}")
            watched.holds(MOST_MIB)
        await (await channel.get_queue("swift.commands.dead", ensure=False)).purge()
