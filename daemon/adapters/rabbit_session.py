"""One connection to RabbitMQ with everything on it: the topology, the channels, the consumer.

A session is made whole and replaced whole: whatever of it breaks, the connection, a channel or the consumer, ends it,
and `daemon.adapters.rabbit` opens the next. That is simpler, and recovers from more, than mending parts.

The command queue is a quorum queue. A command that expires, or that was delivered 100 times without an acknowledgement
(a daemon that dies of it), goes to the dead-letter queue through the same exchange as one that can't be understood.

That the consumer is there is known in three ways. The broker says so when it ends it. The queue's count of consumers
tells when there is none at all. And because that count has the consumers of other daemons in it, a consumer to which
nothing has come for a while is replaced by a new one: what the broker has just confirmed is there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from yarl import URL

from daemon.adapters.rabbit_errors import said, talking
from daemon.adapters.rabbit_replies import Connect, ReplyLine
from daemon.adapters.rabbit_topology import declare_topology
from daemon.amqp import connect
from daemon.ports import UnavailableError
from schemas.commands import COMMANDS_QUEUE, DEAD_EXCHANGE, EVENTS_EXCHANGE

CONNECT_LIMIT_S = 10.0
CALL_LIMIT_S = 10.0
CLOSE_LIMIT_S = 2.0
NO_LEADER = (
    "if this lasts, the queue has lost its leader (a broker that was killed in the queue's first second): "
    "delete it with rabbitmqctl delete_queue, and it is made again"
)

OnMessage = Callable[["Session", AbstractIncomingMessage], None]


class Session:
    """One connection, alive until `ended` is set."""

    def __init__(self, connection: AbstractConnection, connect: Connect) -> None:
        self.connection = connection
        self.replies = ReplyLine(connect)
        self.ended = asyncio.Event()
        self.reason = ""
        """Why it ended."""
        self.unacknowledged = 0
        self.received = 0
        self.confirmed_events: AbstractExchange
        self.confirmed_dead: AbstractExchange
        self.confirmed_default: AbstractExchange
        self.live_events: AbstractExchange
        self._checks: AbstractChannel
        self._consuming: AbstractChannel
        self._queue: AbstractQueue
        self._consumer: str | None = None
        self._on_message: OnMessage
        self._received_before = 0

    @classmethod
    async def open(cls, url: str, *, name: str, ca_file: str | None, heartbeat_s: int) -> "Session":
        """Connect and declare the topology. Raises `UnavailableError`."""
        try:
            place = URL(url)
        except ValueError as error:
            raise UnavailableError(f"SWIFT_TRAINER_AMQP_URL is not a URL: {said(error)}") from None

        async def connected(what: str) -> AbstractConnection:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                return await connect(place, name=f"{name} {what}", ca_file=ca_file, heartbeat_s=heartbeat_s)

        with talking("connecting", hint="is the broker running? check SWIFT_TRAINER_AMQP_URL"):
            connection = await connected("commands and events")
        session = cls(connection, lambda: connected("replies"))
        try:
            with talking("declaring exchanges and queues"):
                async with asyncio.timeout(CONNECT_LIMIT_S):
                    await session._prepare()
        except BaseException:
            await session.close()
            raise
        return session

    async def _prepare(self) -> None:
        self.connection.close_callbacks.add(self._on_close)
        await declare_topology(self.connection)
        confirmed = await self._channel(confirms=True)
        self.confirmed_events = await confirmed.get_exchange(EVENTS_EXCHANGE, ensure=False)
        self.confirmed_dead = await confirmed.get_exchange(DEAD_EXCHANGE, ensure=False)
        self.confirmed_default = confirmed.default_exchange
        self._consuming = await self._channel(confirms=False)
        consuming = await self._consuming.get_underlay_channel()
        consuming.on_consumer_cancel_callbacks.add(self._on_cancel)
        self._queue = await self._consuming.get_queue(COMMANDS_QUEUE, ensure=False)
        live = await self._channel(confirms=False)
        self.live_events = await live.get_exchange(EVENTS_EXCHANGE, ensure=False)
        self._checks = confirmed

    async def _channel(self, *, confirms: bool) -> AbstractChannel:
        channel = self.connection.channel(publisher_confirms=confirms)
        await channel.initialize()
        channel.close_callbacks.add(self._on_close)
        return channel

    # ------------------------------------------------------------ its end

    def end(self, reason: str) -> None:
        """Have it replaced."""
        self.reason = self.reason or reason
        self.ended.set()

    def _on_close(self, _: object, error: BaseException | None = None) -> None:
        self.end("closed" if error is None else said(error))

    def _on_cancel(self, _: object) -> None:
        self.end("the broker ended our consumer; was the command queue deleted?")

    async def close(self) -> None:
        """End the connection; an error is of no interest any more."""
        self.end("closed by us")
        await asyncio.gather(_quietly(self.connection.close), _quietly(self.replies.close))

    # ------------------------------------------------------------ commands

    async def consume(self, prefetch: int, on_message: OnMessage) -> None:
        """Begin to take commands. Raises `UnavailableError`."""
        self._on_message = on_message
        with talking("consuming", hint=NO_LEADER):
            await self._consuming.set_qos(prefetch_count=prefetch, timeout=CALL_LIMIT_S)
            self._consumer = await self._queue.consume(self._receive, timeout=CALL_LIMIT_S)

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        """Hand a message on; waits for nothing, so that messages stay in order."""
        if not self.ended.is_set():
            self.received += 1
            self.unacknowledged += 1
            self._on_message(self, message)

    async def ack(self, message: AbstractIncomingMessage) -> None:
        """Acknowledge. Raises `UnavailableError`; then the broker sends the message again."""
        with talking("acknowledging"):
            await message.ack()
        self.unacknowledged -= 1

    async def stop_consuming(self) -> None:
        """Take no more commands; those that were handed on can still be acknowledged. Raises `UnavailableError`."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None and not self.ended.is_set():
            with talking("ending the consumer"):
                await self._queue.cancel(consumer, timeout=CALL_LIMIT_S)

    async def check_consumer(self) -> None:
        """Have a living consumer, or end the session. For a call now and then; does nothing while messages come."""
        quiet = self.unacknowledged == 0 and self.received == self._received_before
        self._received_before = self.received
        consumer = self._consumer
        if consumer is None or await self.blocked():
            return
        try:
            if await self.consumers() == 0:
                self.end("the broker counts no consumer on the command queue")
            elif quiet:
                await self.stop_consuming()  # first, or commands that come meanwhile would lose their order
                with talking("renewing the consumer"):
                    self._consumer = await self._queue.consume(self._receive, timeout=CALL_LIMIT_S)
        except UnavailableError as error:
            self.end(str(error))

    async def consumers(self) -> int:
        """How many consumers the broker counts on the command queue, all daemons' together. Raises
        `UnavailableError`."""
        with talking("asking for the queue"):
            async with asyncio.timeout(CALL_LIMIT_S):
                found = await self._checks.declare_queue(COMMANDS_QUEUE, passive=True)
        return found.declaration_result.consumer_count or 0

    async def blocked(self) -> bool:
        """Whether the broker has told us that it takes nothing more: an alarm."""
        transport = self.connection.transport
        if transport is None:
            return False
        try:
            async with asyncio.timeout(0):
                await transport.connection.ready()
        except TimeoutError:
            return True
        return False


async def _quietly(close: Callable[[], Awaitable[None]]) -> None:
    try:
        with talking("closing"):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await close()
    except UnavailableError:
        return


def readable_file(path: str | None) -> str | None:
    """The path of a CA bundle, checked early. Raises `FileNotFoundError`."""
    if path is not None and not Path(path).is_file():
        raise FileNotFoundError(f"SWIFT_TRAINER_AMQP_CA_FILE: there is no file {path}")
    return path
