"""One connection to RabbitMQ with everything on it: the topology, the channels, the consumer.

A session is made whole and replaced whole: whatever of it breaks, the connection or one channel, ends it, and
`daemon.adapters.rabbit` opens the next. That is simpler, and recovers from more, than mending parts.

The command queue is a quorum queue. A command that expires, or that was delivered 100 times without an acknowledgement
(a daemon that dies of it), goes to the dead-letter queue through the same exchange as one that can't be understood.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from yarl import URL

from daemon.core.masking import mask
from daemon.ports import UnavailableError
from schemas.commands import COMMANDS_EXCHANGE, COMMANDS_QUEUE, DEAD_EXCHANGE, DEAD_QUEUE, EVENTS_EXCHANGE

CONNECT_LIMIT_S = 10.0
CALL_LIMIT_S = 10.0
DELIVERY_LIMIT = 100

BROKER_ERRORS = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, asyncio.InvalidStateError, RuntimeError)
"""What aio-pika raises when the broker is away: its own errors, the socket's, and those of closed channels."""

OnMessage = Callable[["Session", AbstractIncomingMessage], Awaitable[None]]


def unavailable(doing: str, error: BaseException) -> UnavailableError:
    """The port's error for a broker that is away."""
    text = mask(str(error)) or type(error).__name__
    return UnavailableError(f"the broker is away ({doing}: {text})")


class Session:
    """One connection, alive until `ended` is set."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        self.ended = asyncio.Event()
        self.confirmed_events: AbstractExchange
        self.confirmed_dead: AbstractExchange
        self.live_events: AbstractExchange
        self.replies: AbstractExchange
        self._checks: AbstractChannel
        self._queue: AbstractQueue
        self._consumer: str | None = None

    @classmethod
    async def open(cls, url: str, *, name: str, ca_file: str | None, heartbeat_s: int) -> "Session":
        """Connect and declare the topology. Raises `UnavailableError`."""
        place = URL(url)
        place = place.update_query(heartbeat=str(heartbeat_s)) if "heartbeat" not in place.query else place
        context = ssl.create_default_context(cafile=ca_file) if place.scheme == "amqps" else None
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                connection = await aio_pika.connect(
                    place, client_properties={"connection_name": name}, ssl_context=context
                )
        except (*BROKER_ERRORS, ValueError) as error:
            raise unavailable("connecting", error) from None
        session = cls(connection)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await session._prepare()
        except BROKER_ERRORS as error:
            await session.close()
            raise unavailable("declaring exchanges and queues", error) from None
        return session

    async def _prepare(self) -> None:
        self.connection.close_callbacks.add(self._on_close)
        topology = await self._channel(confirms=True)
        topic, fanout = aio_pika.ExchangeType.TOPIC, aio_pika.ExchangeType.FANOUT
        commands = await topology.declare_exchange(COMMANDS_EXCHANGE, topic, durable=True)
        self.confirmed_events = await topology.declare_exchange(EVENTS_EXCHANGE, topic, durable=True)
        self.confirmed_dead = await topology.declare_exchange(DEAD_EXCHANGE, fanout, durable=True)
        dead = await topology.declare_queue(DEAD_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        await dead.bind(DEAD_EXCHANGE)
        consuming = await self._channel(confirms=False)
        self._queue = await consuming.declare_queue(
            COMMANDS_QUEUE,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-dead-letter-exchange": DEAD_EXCHANGE,
                "x-delivery-limit": DELIVERY_LIMIT,
            },
        )
        await self._queue.bind(commands, "#")
        self._consuming = consuming
        live = await self._channel(confirms=False)
        self.live_events = await live.get_exchange(EVENTS_EXCHANGE, ensure=False)
        self.replies = (await self._channel(confirms=False)).default_exchange
        self._checks = topology

    async def _channel(self, *, confirms: bool) -> AbstractChannel:
        channel = self.connection.channel(publisher_confirms=confirms)
        await channel.initialize()
        channel.close_callbacks.add(self._on_close)
        return channel

    def _on_close(self, *_: object) -> None:
        self.ended.set()

    async def consume(self, prefetch: int, on_message: OnMessage) -> None:
        """Begin to take commands. Raises `UnavailableError`."""

        async def hand_on(message: AbstractIncomingMessage) -> None:
            await on_message(self, message)

        try:
            await self._consuming.set_qos(prefetch_count=prefetch)
            self._consumer = await self._queue.consume(hand_on, timeout=CALL_LIMIT_S)
        except BROKER_ERRORS as error:
            raise unavailable("consuming", error) from None

    async def stop_consuming(self) -> None:
        """Take no more commands; those that were handed on can still be acknowledged."""
        if self._consumer is not None and not self.ended.is_set():
            consumer, self._consumer = self._consumer, None
            try:
                await self._queue.cancel(consumer, timeout=CALL_LIMIT_S)
            except BROKER_ERRORS as error:
                raise unavailable("ending the consumer", error) from None

    async def consumers(self) -> int:
        """How many consumers the broker counts on the command queue. Raises `UnavailableError`."""
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                found = await self._checks.declare_queue(COMMANDS_QUEUE, passive=True)
        except BROKER_ERRORS as error:
            raise unavailable("asking for the queue", error) from None
        return found.declaration_result.consumer_count or 0

    async def close(self) -> None:
        """End the connection; an error is of no interest any more."""
        self.ended.set()
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                await self.connection.close()
        except BROKER_ERRORS:
            pass


def readable_file(path: str | None) -> str | None:
    """The path of a CA bundle, checked early. Raises `FileNotFoundError`."""
    if path is not None and not Path(path).is_file():
        raise FileNotFoundError(f"SWIFT_TRAINER_AMQP_CA_FILE: there is no file {path}")
    return path
