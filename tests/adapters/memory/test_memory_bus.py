"""What only the in-memory bus can: outages and lost answers on demand, and a look at everything that came out."""

import asyncio

import pytest

from daemon.adapters.manual_clock import ManualClock
from daemon.adapters.memory_bus import MemoryBroker, MemoryBus
from daemon.ports import UnavailableError
from schemas.replies import Reply
from tests.adapters.bus.peers import Reader, make_event, make_live


async def test_an_outage_and_its_end() -> None:
    broker = MemoryBroker()
    bus = MemoryBus(broker)
    reader = Reader(bus)
    broker.send("job.get", {"job_id": "j"}, message_id="m", reply_to="q")
    old = await reader.next()
    assert broker.unacknowledged == 1
    broker.go_away()
    assert "the broker is away" in await bus.check()
    with pytest.raises(UnavailableError):
        await bus.publish(make_event(1))
    with pytest.raises(UnavailableError):
        await bus.reply(old, b"x")
    bus.publish_live("job.j.log", make_live(1))
    await bus.ack(old)
    assert (broker.events, broker.live, broker.acked) == ([], [], [])
    assert bus.statistics().dropped == 1
    broker.come_back()
    new = await reader.next()
    assert (new.body, new.redelivered) == (b'{"job_id": "j"}', True)
    await bus.ack(new)
    assert [command.message_id for command in broker.acked] == ["m"]
    assert (broker.waiting, broker.unacknowledged) == (0, 0)


async def test_a_lost_confirmation_publishes_and_raises() -> None:
    async def lose(name: str) -> None:
        if name == "publish":
            raise UnavailableError("no answer")

    broker = MemoryBroker()
    bus = MemoryBus(broker, after_call=lose)
    with pytest.raises(UnavailableError):
        await bus.publish(make_event(1))
    assert broker.events_of("j") == [make_event(1)]
    assert broker.events_of("another") == []


async def test_a_lost_acknowledgement_is_said_to_nobody() -> None:
    async def away(name: str) -> None:
        raise UnavailableError(name)

    broker = MemoryBroker()
    bus = MemoryBus(broker)
    broker.send("job.get")
    delivery = await Reader(bus).next()
    bus.before_call = away
    await bus.ack(delivery)
    assert broker.unacknowledged == 1


async def test_a_command_whose_reply_failed_comes_again() -> None:
    async def lose(name: str) -> None:
        if name == "reply":
            raise UnavailableError("no answer")

    clock = ManualClock()
    bus = MemoryBus(MemoryBroker(clock))
    reader = Reader(bus)
    bus.broker.send("job.get", message_id="m", reply_to="q")
    first = await reader.next()
    bus.before_call = lose
    with pytest.raises(UnavailableError):
        await bus.reply(first, b"{}")
    await bus.ack(first)
    again = asyncio.create_task(reader.next())
    await clock.advance(0.4)
    assert not again.done()
    await clock.advance(0.1)
    assert (again.result().message_id, again.result().redelivered) == ("m", True)


async def test_a_call_gets_its_reply() -> None:
    broker = MemoryBroker()
    bus = MemoryBus(broker)
    call = asyncio.create_task(broker.call("job.get", {"job_id": "j"}))
    delivery = await Reader(bus).next()
    await bus.reply(delivery, b'{"ok": true, "command": "job.get", "result": {}}')
    assert await call == Reply(ok=True, command="job.get", result={})
    assert [answer.reply.ok for answer in broker.answers_to(delivery.correlation_id or "")] == [True]


async def test_expiry_goes_by_the_brokers_clock() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock)
    broker.send("job.create", expires_in_s=10)
    broker.send("job.create", b"lasting")
    await clock.advance(11)
    assert (await Reader(MemoryBus(broker)).next()).body == b"lasting"
    assert [(letter.body, letter.error) for letter in broker.dead] == [(b"{}", "")]


async def test_a_command_that_kills_its_daemons_ends_among_the_dead() -> None:
    broker = MemoryBroker()
    broker.send("job.create", b"poison")
    deliveries = 0
    while broker.waiting:
        bus = MemoryBus(broker)
        reader = Reader(bus)
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(0)
        deliveries += waiting.done()
        waiting.cancel()
        await bus.close()
    assert deliveries == 101
    assert [letter.body for letter in broker.dead] == [b"poison"]
