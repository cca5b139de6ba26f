"""What daemons say to each other over any bus: wake-ups by events, and queries that are sent on."""

import asyncio

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
