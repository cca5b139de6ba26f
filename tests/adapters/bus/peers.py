"""The other side of the bus under test: who sends commands, reads dead letters, gets replies and events.

One for the in-memory broker and one for RabbitMQ, with the same face, so that the same tests run against both.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue, HeadersType

from daemon.adapters.memory_bus import MemoryBroker, MemoryBus
from daemon.ports import Bus, Delivery
from schemas.commands import COMMANDS_EXCHANGE, DEAD_QUEUE, EVENTS_EXCHANGE
from schemas.events import CloudEvent, OutboxEvent

LIMIT_S = 20.0


@dataclass(frozen=True)
class Seen:
    """A message as the peer got it."""

    routing_key: str
    body: bytes
    correlation_id: str | None = None
    message_id: str | None = None
    headers: Mapping[str, object] = field(default_factory=dict[str, object])


class Peer(Protocol):
    """The other side."""

    @property
    def reply_queue(self) -> str: ...

    async def send(
        self,
        command: str,
        body: bytes = b"{}",
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        user_id: str | None = None,
        expires_in_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...

    async def dead(self) -> Seen | None:
        """Take a message out of the dead-letter queue; None: it is empty for a while."""
        ...

    async def answer(self) -> Seen | None:
        """Take a reply."""
        ...

    async def event(self) -> Seen | None:
        """Take an event, durable or live."""
        ...


# ---------------------------------------------------------------- in memory


class MemoryPeer:
    """Beside a `MemoryBroker`."""

    reply_queue = "replies"

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def send(
        self,
        command: str,
        body: bytes = b"{}",
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        user_id: str | None = None,
        expires_in_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._broker.send(
            command,
            body,
            message_id=message_id,
            correlation_id=correlation_id,
            reply_to=reply_to,
            user_id=user_id,
            expires_in_s=expires_in_s,
            headers=headers,
        )

    async def dead(self) -> Seen | None:
        if not self._broker.dead:
            return None
        letter = self._broker.dead.pop(0)
        return Seen(letter.routing_key, letter.body, letter.correlation_id, letter.message_id, letter.headers)

    async def answer(self) -> Seen | None:
        mine = [answer for answer in self._broker.answers if answer.reply_to == self.reply_queue]
        if not mine:
            return None
        self._broker.answers.remove(mine[0])
        return Seen(mine[0].reply_to, mine[0].body, mine[0].correlation_id)

    async def event(self) -> Seen | None:
        await asyncio.sleep(0)
        if self._broker.events:
            event = self._broker.events.pop(0)
            return Seen(event.routing_key, event.event.model_dump_json().encode(), message_id=event.event.id)
        if self._broker.live:
            key, live = self._broker.live.pop(0)
            return Seen(key, live.model_dump_json().encode(), message_id=live.id)
        return None


# ---------------------------------------------------------------- RabbitMQ


class RabbitPeer:
    """A connection of its own."""

    def __init__(self, channel: AbstractChannel, replies: AbstractQueue, events: AbstractQueue) -> None:
        self._channel = channel
        self._replies = replies
        self._events = events
        self.reply_queue = replies.name

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str) -> AsyncGenerator["RabbitPeer"]:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            replies = await channel.declare_queue(exclusive=True)
            events = await channel.declare_queue(exclusive=True)
            await channel.declare_exchange(EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            await events.bind(EVENTS_EXCHANGE, "#")
            yield cls(channel, replies, events)

    async def send(
        self,
        command: str,
        body: bytes = b"{}",
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        user_id: str | None = None,
        expires_in_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        own: HeadersType = dict(headers or {})
        message = aio_pika.Message(
            body,
            message_id=message_id or None,
            correlation_id=correlation_id,
            reply_to=reply_to,
            user_id=user_id,
            expiration=expires_in_s,
            headers=own,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        exchange = await self._channel.get_exchange(COMMANDS_EXCHANGE, ensure=False)
        await exchange.publish(message, command, timeout=LIMIT_S)

    async def dead(self) -> Seen | None:
        return await _take(await self._channel.get_queue(DEAD_QUEUE, ensure=False))

    async def answer(self) -> Seen | None:
        return await _take(self._replies)

    async def event(self) -> Seen | None:
        return await _take(self._events)


async def _take(queue: AbstractQueue) -> Seen | None:
    """The next message; None where none comes within half a second."""
    message: AbstractIncomingMessage | None = None
    for _ in range(25):
        message = await queue.get(no_ack=True, fail=False)
        if message is not None:
            break
        await asyncio.sleep(0.02)
    if message is None:
        return None
    return Seen(
        message.routing_key or "", message.body, message.correlation_id, message.message_id, dict(message.headers)
    )


# ---------------------------------------------------------------- the daemon's side


class Reader:
    """Reads the commands of a bus one by one, as the intake does."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._commands = bus.commands()

    async def next(self, limit_s: float = LIMIT_S) -> Delivery:
        """The next delivery."""
        async with asyncio.timeout(limit_s):
            return await anext(self._commands)

    async def nothing(self, for_s: float = 0.3) -> bool:
        """Whether nothing comes for a while. The last thing to ask: it ends the reading."""
        try:
            async with asyncio.timeout(for_s):
                await anext(self._commands)
        except TimeoutError:
            return True
        return False

    async def rest(self) -> list[Delivery]:
        """Everything until `commands()` ends."""
        async with asyncio.timeout(LIMIT_S):
            return [delivery async for delivery in self._commands]


def make_event(number: int, job_id: str = "j", body: str = "") -> OutboxEvent:
    """A durable event."""
    event = make_live(number, job_id, body).model_copy(update={"sequence": number})
    return OutboxEvent(sequence=number, routing_key=f"job.{job_id}.status.queued", event=event)


def make_live(number: int, job_id: str = "j", body: str = "") -> CloudEvent:
    """An event that is worth something only now."""
    return CloudEvent(
        id=f"{job_id}-{number}",
        source="/swift-trainer/nodes/n",
        type="swift.test.v1",
        subject=job_id,
        time=datetime(2030, 1, 1, tzinfo=UTC),
        data={"number": number, "text": body},
    )


def is_memory(bus: Bus) -> bool:
    """Whether this is the twin."""
    return isinstance(bus, MemoryBus)
