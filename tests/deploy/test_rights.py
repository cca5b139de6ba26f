"""The shipped users on a real broker: each can do its work, and nothing else."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ProbableAuthenticationError
from aiormq.exceptions import ChannelAccessRefused

from daemon.client import Client, ClientError
from daemon.notifier.listening import have_queue, live_events
from schemas.events import CloudEvent, OutboxEvent
from tests.deploy.broker import LIMIT_S, Broker

pytestmark = pytest.mark.services

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
Attempt = Callable[[AbstractChannel], Awaitable[object]]


# ---------------------------------------------------------------- what is refused


def publishing(exchange: str, key: str) -> Attempt:
    async def attempt(channel: AbstractChannel) -> None:
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await target.publish(aio_pika.Message(b"{}"), routing_key=key)

    return attempt


def with_queue(name: str, act: Callable[[AbstractQueue], Awaitable[object]]) -> Attempt:
    async def attempt(channel: AbstractChannel) -> None:
        await act(await channel.get_queue(name, ensure=False))

    return attempt


def declaring(name: str | None, **arguments: str) -> Attempt:
    async def attempt(channel: AbstractChannel) -> None:
        given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        await channel.declare_queue(name, exclusive=True, arguments=dict(given))

    return attempt


async def copy_commands(channel: AbstractChannel) -> None:
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind("swift.commands", "#")


async def ignore(_: AbstractIncomingMessage) -> None:
    """A consumer."""


ATTEMPTS: dict[str, Attempt] = {
    "publish an event": publishing("swift.events", "job.x.status.completed"),
    "publish a command": publishing("swift.commands", "job.create"),
    "drain a node": publishing("swift.commands", "node.drain"),
    "publish a dead letter": publishing("swift.commands.dead", ""),
    "publish into a queue by its name": publishing("", "swift.commands"),
    "consume commands": with_queue("swift.commands", lambda queue: queue.consume(ignore)),
    "read dead letters": with_queue("swift.commands.dead", lambda queue: queue.get(fail=False)),
    "purge commands": with_queue("swift.commands", lambda queue: queue.purge()),
    "delete the command queue": with_queue("swift.commands", lambda queue: queue.delete()),
    "unbind the command queue": with_queue("swift.commands", lambda queue: queue.unbind("swift.commands", "#")),
    "delete the event exchange": lambda channel: channel.exchange_delete("swift.events"),
    "declare a queue of any name": declaring("mine"),
    "copy all commands": copy_commands,
    "dead-letter into commands": declaring(None, dead_letter_exchange="swift.commands"),
    "dead-letter through the default exchange": declaring(
        None, dead_letter_exchange="", dead_letter_routing_key="swift.commands"
    ),
}
"""What somebody without the right might try."""

MAY = {
    "subscriber": set[str](),
    "publisher": {"publish a command", "dead-letter into commands"},
    "operator": {"publish a command", "dead-letter into commands", "drain a node", "read dead letters"},
    "gateway": {"publish a command", "dead-letter into commands", "drain a node"},
    "notifier": set[str](),
}


@pytest.mark.parametrize(
    ("role", "attempt"), [(role, attempt) for role, may in MAY.items() for attempt in ATTEMPTS if attempt not in may]
)
async def test_refused(broker: Broker, role: str, attempt: str) -> None:
    async with broker.bus(), broker.channel(role) as channel:
        with pytest.raises(ChannelAccessRefused):
            await ATTEMPTS[attempt](channel)


@pytest.mark.parametrize("attempt", ["declare a queue of any name", "copy all commands", "delete another's queue"])
async def test_refused_to_the_daemon(broker: Broker, attempt: str) -> None:
    attempts = {**ATTEMPTS, "delete another's queue": with_queue("swift-subscriber.web", lambda queue: queue.delete())}
    async with broker.channel("daemon") as channel:
        with pytest.raises(ChannelAccessRefused):
            await attempts[attempt](channel)


@pytest.mark.parametrize("user", ["guest:guest", "swift-daemon:", "swift-daemon:CHANGE_ME", "swift-daemon:wrong"])
async def test_nobody_else_gets_in(broker: Broker, user: str) -> None:
    with pytest.raises(ProbableAuthenticationError):
        await aio_pika.connect(f"amqp://{user}@{broker.address}/")


# ---------------------------------------------------------------- what has to work


@pytest.mark.parametrize(("role", "command"), [("publisher", "job.create"), ("operator", "node.drain")])
async def test_a_command_is_answered_by_direct_reply_to(broker: Broker, role: str, command: str) -> None:
    async with broker.answering(), Client(broker.url(role)) as client:
        assert await client.call(command, {}, timeout_s=10) == {"owner": f"swift-{role}"}


@pytest.mark.parametrize("named", ["", None, "swift-publisher.replies"], ids=["broker", "robust", "own"])
async def test_a_command_is_answered_to_a_queue_of_ones_own(broker: Broker, named: str | None) -> None:
    """Named by the broker (amq.gen-...), by aio-pika's robust connections (amq_...), or after the user."""
    connect = aio_pika.connect_robust if named is None else aio_pika.connect
    async with broker.answering(), asyncio.timeout(LIMIT_S), await connect(broker.url("publisher")) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        replies = await channel.declare_queue(named, exclusive=True)
        assert replies.name.startswith(("amq.gen-", "amq_", "swift-publisher."))
        message = aio_pika.Message(b"{}", reply_to=replies.name, user_id="swift-publisher")
        exchange = await channel.get_exchange("swift.commands", ensure=False)
        await exchange.publish(message, routing_key="job.list")
        assert json.loads((await first(replies)).body)["result"] == {"owner": "swift-publisher"}


async def test_the_gateway_acts_for_any_owner_and_nobody_else_does(broker: Broker) -> None:
    async with broker.answering():
        async with Client(broker.url("gateway")) as client:
            assert await client.call("job.create", {}, owner="alice", timeout_s=10) == {"owner": "alice"}
        async with Client(broker.url("operator")) as client:
            with pytest.raises(ClientError, match="user_id"):
                await client.call("job.create", {}, owner="alice", timeout_s=10)


async def first(queue: AbstractQueue) -> AbstractIncomingMessage:
    async with queue.iterator(no_ack=True) as messages:
        return await anext(messages)


@pytest.mark.parametrize("role", ["subscriber", "operator", "gateway"])
async def test_events_reach_those_who_may_read_them(broker: Broker, role: str) -> None:
    async with broker.bus() as bus, Client(broker.url(role)) as client, client.events("job.#") as events:
        durable, live = event(), event()
        await bus.publish(OutboxEvent(sequence=1, routing_key="job.j1.status.running", event=durable))
        bus.publish_live("job.j1.log", live)
        async with asyncio.timeout(LIMIT_S):
            assert [(await anext(events)).id, (await anext(events)).id] == [durable.id, live.id]


async def test_a_subscribers_named_queue_keeps_events_while_it_is_away(broker: Broker) -> None:
    sent = event()
    async with broker.bus() as bus:
        async with broker.channel("subscriber") as channel:
            queue = await channel.declare_queue("swift-subscriber.web", durable=True)
            await queue.bind("swift.events", "job.*.status.*")
        await bus.publish(OutboxEvent(sequence=1, routing_key="job.j1.status.running", event=sent))
        async with broker.channel("subscriber") as channel:
            queue = await channel.get_queue("swift-subscriber.web")
            found = await first(queue)
            await queue.delete()
    assert found.message_id == sent.id


async def test_the_notifier_has_its_queue_and_follows_nothing_but_what_it_tells_of(broker: Broker) -> None:
    sent = event()
    async with broker.bus() as bus, Client(broker.url("notifier")) as client:
        async with client.channel() as channel:
            queue = await have_queue(client, channel, "swift.notifications")
            await bus.publish(OutboxEvent(sequence=1, routing_key="job.j1.status.completed", event=sent))
            assert (await first(queue)).message_id == sent.id
            await queue.delete(if_unused=False, if_empty=False)
        async with live_events(client) as found:
            await bus.publish(OutboxEvent(sequence=1, routing_key="node.n1.offline", event=sent))
            async with asyncio.timeout(LIMIT_S):
                assert CloudEvent.model_validate_json(await anext(found)).id == sent.id
        for binding in ("#", "job.*.log", "job.#"):
            async with client.channel() as channel:
                queue = await channel.declare_queue(exclusive=True)
                with pytest.raises(ChannelAccessRefused):
                    await queue.bind("swift.events", binding)


def event() -> CloudEvent:
    return CloudEvent.model_validate(
        {
            "id": uuid.uuid4().hex,
            "source": "/swift-trainer/nodes/n1",
            "type": "swift.job.log.v1",
            "subject": "j1",
            "time": "2026-01-01T00:00:00Z",
            "data": {},
        }
    )
