"""What daemons say to each other over any bus: wake-ups by events, and queries that are sent on."""

import asyncio

import aio_pika
import pytest

from daemon.adapters.rabbit import RabbitBus
from schemas.commands import COMMAND_HEADER, USER_HEADER
from tests.adapters.bus.conftest import World
from tests.adapters.bus.peers import LIMIT_S, Reader, make_event


async def test_an_event_wakes_the_other_daemons_and_not_its_own(world: World) -> None:
    other = await world.another()
    readers = [Reader(bus) for bus in (world.bus, other)]
    reading = [asyncio.create_task(reader.nothing(for_s=LIMIT_S)) for reader in readers]
    wakes, own = other.wakeups(), world.bus.wakeups()
    await world.consuming(2)
    await world.bus.publish(make_event(1))
    async with asyncio.timeout(LIMIT_S):
        assert await anext(wakes) == "job.j.status.queued"
    await other.publish(make_event(2, "j2"))
    async with asyncio.timeout(LIMIT_S):
        assert await anext(own) == "job.j2.status.queued", "and not its own, which came first"
    for task in reading:
        task.cancel()


async def test_a_query_that_is_sent_on_is_answered_there_and_is_acknowledged_here(world: World) -> None:
    other = await world.another()
    await world.peer.send("job.logs", b"1", message_id="m", correlation_id="c", reply_to=world.peer.reply_queue)
    here = Reader(world.bus)
    delivery = await here.next()
    there = Reader(other)
    waiting = asyncio.create_task(there.next())
    await world.consuming(2)
    assert await world.bus.send_on(delivery, "n1")
    await world.bus.ack(delivery)
    taken = await waiting
    assert (taken.routing_key, taken.body, taken.message_id, taken.sent_on) == ("job.logs", b"1", "m", True)
    await other.reply(taken, b"there")
    await other.ack(taken)
    answer = await world.peer.answer()
    assert answer is not None
    assert (answer.body, answer.correlation_id) == (b"there", "c")
    assert await world.peer.dead() is None


async def test_a_node_that_is_not_there_takes_nothing(world: World) -> None:
    await world.peer.send("job.logs", b"1")
    delivery = await Reader(world.bus).next()
    assert not await world.bus.send_on(delivery, "gone")
    await world.bus.ack(delivery)


@pytest.mark.services
async def test_who_writes_to_a_nodes_queue_may_ask_and_change_nothing(rabbit: RabbitBus, amqp_url: str) -> None:
    """Whoever may reply may write there; the broker checks no user of what the headers say."""
    reader = Reader(rabbit)
    asking = asyncio.create_task(reader.next())
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = (await connection.channel()).default_exchange
        for command in ("job.create", "job.stop", "no.such", "job.logs"):
            headers: dict[str, aio_pika.abc.FieldValue] = {COMMAND_HEADER: command, USER_HEADER: "alice"}
            await exchange.publish(aio_pika.Message(command.encode(), headers=headers), "swift.node.n0")
    taken = await asking
    assert (taken.routing_key, taken.body, taken.user_id, taken.sent_on) == ("job.logs", b"job.logs", None, True)
    await rabbit.ack(taken)
