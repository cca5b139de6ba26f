"""The bus on RabbitMQ: keeps one session at a time, and says `UnavailableError` while there is none.

The connection is opened anew after every break, with a wait that grows and is jittered. That the consumer is really
there is made sure of at an interval (`Session.check_consumer`): a client that merely believes that it consumes has been
seen to be silent for days. The two tasks here, the connection's keeper and the sender of live events, never end but by
`close`; a bug in one is told loudly, and it begins anew.
"""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, HeadersType
from aiormq.abc import DeliveredMessage

from daemon.adapters.live_queue import LiveMessage, LiveQueue
from daemon.adapters.rabbit_errors import talking
from daemon.adapters.rabbit_node_line import NodeLine, send_on
from daemon.adapters.rabbit_session import Session, readable_file
from daemon.amqp import readable
from daemon.logs import get_log
from daemon.ports import Delivery, LiveStatistics, UnavailableError
from schemas.commands import COMMAND_HEADER, ERROR_HEADER, USER_HEADER
from schemas.events import CONTENT_TYPE, CloudEvent, OutboxEvent
from schemas.tracing import TRACEPARENT_HEADER, TRACESTATE_HEADER, trace_context

log = get_log("rabbit")

PREFETCH = 64
"""More brings no more throughput (measured), and each may be as large as the broker lets messages be."""
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0
CONSUMER_CHECK_S = 30.0
CONFIRM_LIMIT_S = 10.0
LIVE_LIMIT_S = 1.0
"""How long `close` waits for the live events that are on their way."""
MOST_WAKES = 1000
"""More wake-ups than that wait for nobody: whoever has so many looks at everything anyway."""
MOST_ERROR = 1000
MOST_HEADERS = 16_000
"""Characters of a dead command's own headers that are kept: all headers have to fit into one frame."""
PERSISTENT, TRANSIENT = aio_pika.DeliveryMode.PERSISTENT, aio_pika.DeliveryMode.NOT_PERSISTENT


@dataclass(frozen=True, slots=True)
class _Token:
    """What an acknowledgement needs."""

    session: Session
    message: AbstractIncomingMessage


class RabbitBus:
    """The broker behind a URL."""

    def __init__(
        self,
        url: str,
        *,
        node_id: str,
        prefetch: int = PREFETCH,
        ca_file: str | None = None,
        heartbeat_s: int = 10,
        consumer_check_s: float = CONSUMER_CHECK_S,
    ) -> None:
        self._url = url
        self._node_id = node_id
        self._name = f"swift-trainerd {node_id}"
        self._prefetch = prefetch
        self._ca_file = readable_file(ca_file)
        self._heartbeat_s = heartbeat_s
        self._consumer_check_s = consumer_check_s
        self._session: Session | None = None
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._deliveries: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._consuming = False
        self._closing = False
        self._wakes: asyncio.Queue[str] = asyncio.Queue(MOST_WAKES)
        self._live = LiveQueue()
        self._live_there = asyncio.Event()

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Connect, waiting for the broker for as long as it takes, and stay connected."""
        self._keeper = asyncio.create_task(_always(self._keep_connected), name="broker connection")
        self._sender = asyncio.create_task(_always(self._send_live), name="live events")
        await self._connected.wait()

    async def close(self) -> None:
        """Send the live events that wait, then end the connection."""
        self._closing = True
        self._live_there.set()
        if self._sender is not None and self._session is not None:
            await asyncio.wait({self._sender}, timeout=LIVE_LIMIT_S)
        tasks = [task for task in (self._keeper, self._sender) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _keep_connected(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                session = await self._open()
            except UnavailableError as error:
                pause_s = wait_s * random.uniform(0.5, 1.5)  # noqa: S311  # jitter, so that not all daemons knock at once
                log.warning("broker_waiting", str(error), retry_in_s=round(pause_s, 2))
                await asyncio.sleep(pause_s)
                wait_s = min(LONGEST_WAIT_S, wait_s * 2)
                continue
            wait_s = FIRST_WAIT_S
            self._session = session
            self._connected.set()
            log.info("broker_connected", "connected to the broker")
            try:
                await self._watch(session)
            finally:
                self._session = None
                self._connected.clear()
                self._forget_deliveries(session)
                await session.close()
            log.warning("broker_lost", f"connecting anew: {session.reason}")

    async def _open(self) -> Session:
        """A session that consumes, where that is wanted. Raises `UnavailableError`."""
        session = await Session.open(self._url, name=self._name, ca_file=self._ca_file, heartbeat_s=self._heartbeat_s)
        line = NodeLine(self._node_id, self._on_event, lambda query: self._on_query(session, query))
        try:
            with talking("declaring the node's queue"):
                await line.open(session.connection)
            if self._consuming:
                await session.consume(self._prefetch, self._on_message)
                if not self._consuming:  # `stop_consuming` came meanwhile
                    await session.stop_consuming()
        except BaseException:
            self._forget_deliveries(session)
            await session.close()
            raise
        return session

    async def _watch(self, session: Session) -> None:
        """Until the session ends; see to its consumer meanwhile."""
        while not session.ended.is_set():
            try:
                async with asyncio.timeout(self._consumer_check_s):
                    await session.ended.wait()
            except TimeoutError:
                await session.check_consumer()

    def _alive(self, doing: str) -> Session:
        session = self._session
        if session is None or session.ended.is_set():
            raise UnavailableError(f"the broker is away ({doing}: not connected)")
        return session

    # ------------------------------------------------------------ commands

    async def commands(self) -> AsyncIterator[Delivery]:
        """Deliveries over reconnections, until `stop_consuming`."""
        self._consuming = True
        session = self._session
        if session is not None:
            try:
                await session.consume(self._prefetch, self._on_message)
            except UnavailableError as error:
                session.end(str(error))  # the next session begins with consuming
        while (delivery := await self._deliveries.get()) is not None:
            if _token(delivery) is not None:
                yield delivery

    def _on_message(self, session: Session, message: AbstractIncomingMessage) -> None:
        """Hand a message on; how many wait here is bounded by the prefetch."""
        self._deliveries.put_nowait(_delivery(session, message))

    def _on_query(self, session: Session, message: AbstractIncomingMessage) -> None:
        """A query that another daemon has sent on."""
        session.unacknowledged += 1
        command = str(message.headers[COMMAND_HEADER])
        self._deliveries.put_nowait(
            replace(_delivery(session, message), routing_key=command, user_id=None, sent_on=True)
        )

    def _on_event(self, routing_key: str) -> None:
        with suppress(asyncio.QueueFull):
            self._wakes.put_nowait(routing_key)

    async def wakeups(self) -> AsyncIterator[str]:
        """Routing keys of the durable events of other nodes, over reconnections."""
        while True:
            yield await self._wakes.get()

    async def send_on(self, delivery: Delivery, node_id: str) -> bool:
        """Hand a query on to another node's daemon, and wait until the broker has it."""
        token = _token(delivery)
        if token is None:
            raise UnavailableError("the broker is away (sending on: the command's connection is gone; it comes again)")
        with _or_again(token.session), talking("sending a query on"):
            return await send_on(token.session.confirmed_default, token.message, node_id)

    def _forget_deliveries(self, session: Session) -> None:
        """Drop what a session that is gone has delivered: the broker sends it again, and memory stays bounded."""
        waiting = [self._deliveries.get_nowait() for _ in range(self._deliveries.qsize())]
        for delivery in waiting:
            token = delivery.token if delivery is not None else None
            if not isinstance(token, _Token) or token.session is not session:
                self._deliveries.put_nowait(delivery)

    async def stop_consuming(self) -> None:
        """End `commands()`, whether or not the broker is there to be told."""
        self._consuming = False
        try:
            if self._session is not None:
                await self._session.stop_consuming()
        except UnavailableError as error:
            log.debug("consumer_left", str(error))
        finally:
            self._deliveries.put_nowait(None)

    async def ack(self, delivery: Delivery) -> None:
        """Acknowledge; where the channel is gone the broker sends the message again, and that is right."""
        token = _token(delivery)
        if token is not None:
            try:
                await token.session.ack(token.message)
            except UnavailableError as error:
                log.debug("ack_lost", str(error))

    async def dead_letter(self, delivery: Delivery, error: str) -> None:
        """Keep a command in the dead-letter queue with the reason, then acknowledge it.

        One whose channel is gone is left alone: the broker sends it again, and then it is kept.
        """
        token = _token(delivery)
        if token is None:
            return
        reason: HeadersType = {ERROR_HEADER: error[:MOST_ERROR]}
        if delivery.user_id is not None:
            reason[USER_HEADER] = delivery.user_id  # as a property the broker would check it against our own user
        own = {name: value for name, value in token.message.headers.items() if name != USER_HEADER}
        with _or_again(token.session), talking("dead-lettering"):
            try:
                await _bury(token, {**own, **reason} if len(str(own)) < MOST_HEADERS else reason)
            except (TypeError, ValueError, struct.error):  # headers that can be read but not written again
                await _bury(token, reason)
        await self.ack(delivery)

    async def reply(self, delivery: Delivery, body: bytes) -> None:
        """Answer where an answer was asked for."""
        if not delivery.reply_to:
            return
        token = _token(delivery)
        if token is None:
            raise UnavailableError("the broker is away (replying: the command's connection is gone; it comes again)")
        message = aio_pika.Message(
            body,
            content_type="application/json",
            correlation_id=delivery.correlation_id or token.message.message_id,
            delivery_mode=TRANSIENT,
        )
        with _or_again(token.session):
            await token.session.replies.send(message, delivery.reply_to)

    # ------------------------------------------------------------ events

    async def publish(self, event: OutboxEvent) -> None:
        """Publish a durable event and wait for the broker's word; calls side by side share the waiting."""
        session = self._alive("publishing")
        message = _message(event.event.id, event.event.type, event.event.model_dump_json().encode(), PERSISTENT)
        message.app_id = self._node_id  # by which its own daemon knows it
        if event.trace is not None:
            message.headers.update(event.trace.headers)
        with talking("publishing"):
            await session.confirmed_events.publish(
                message, routing_key=event.routing_key, mandatory=False, timeout=CONFIRM_LIMIT_S
            )

    def publish_live(self, routing_key: str, event: CloudEvent) -> None:
        """Send an event soon, or never."""
        if self._session is None or self._closing:
            self._live.refuse()
            return
        body = event.model_dump_json(exclude={"sequence"}).encode()
        self._live.put(LiveMessage(routing_key, body, event.id, event.type))
        self._live_there.set()

    def statistics(self) -> LiveStatistics:
        """A snapshot of the live events."""
        return self._live.statistics()

    async def _send_live(self) -> None:
        while not self._closing:
            await self._live_there.wait()
            self._live_there.clear()
            while (message := self._live.take()) is not None:
                session = self._session
                if session is None or session.ended.is_set():
                    self._live.clear()
                    break
                try:
                    with talking("publishing"):
                        await session.live_events.publish(
                            _message(message.event_id, message.event_type, message.body, TRANSIENT),
                            routing_key=message.routing_key,
                            mandatory=False,
                        )
                except UnavailableError as error:
                    log.debug("live_dropped", str(error))

    # ------------------------------------------------------------ state

    async def check(self) -> str:
        """`ok`, or what is wrong."""
        try:
            session = self._alive("checking")
            if await session.blocked():
                return "the broker takes no messages: a memory or disk alarm (rabbitmq-diagnostics alarms)"
            if self._consuming and await session.consumers() == 0:
                return "connected, but the broker counts no consumer on the command queue; it is made again soon"
        except UnavailableError as error:
            return str(error)
        return "ok"


def _delivery(session: Session, message: AbstractIncomingMessage) -> Delivery:
    return Delivery(
        routing_key=readable(message.routing_key or ""),
        body=message.body,
        message_id=message.message_id and readable(message.message_id),
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        user_id=message.user_id and readable(message.user_id),
        expires_in_s=None if message.expiration is None else float(message.expiration),  # pyright: ignore[reportArgumentType]
        redelivered=bool(message.redelivered),
        trace=trace_context(message.headers.get(TRACEPARENT_HEADER), message.headers.get(TRACESTATE_HEADER)),
        token=_Token(session, message),
    )


def _token(delivery: Delivery) -> _Token | None:
    """The token of a delivery that can still be acknowledged."""
    token = delivery.token
    return token if isinstance(token, _Token) and not token.session.ended.is_set() else None


@contextmanager
def _or_again(session: Session) -> Generator[None]:
    """What can't be answered is not acknowledged; only when its session ends does the broker send it again."""
    try:
        yield
    except UnavailableError as error:
        session.end(str(error))
        raise


async def _bury(token: _Token, headers: HeadersType) -> None:
    dead = token.message
    message = aio_pika.Message(
        dead.body,
        headers=headers,
        delivery_mode=PERSISTENT,
        message_id=dead.message_id,
        correlation_id=dead.correlation_id,
        reply_to=dead.reply_to,
        content_type=dead.content_type,
        content_encoding=dead.content_encoding,
        timestamp=dead.timestamp,
        type=dead.type,
        app_id=dead.app_id,
        priority=dead.priority,
    )
    result = await token.session.confirmed_dead.publish(
        message, routing_key=dead.routing_key or "", mandatory=True, timeout=CONFIRM_LIMIT_S
    )
    if isinstance(result, DeliveredMessage):
        raise UnavailableError("the dead-letter queue was gone; it is being made again")


async def _always(work: Callable[[], Awaitable[None]]) -> None:
    """Do it for ever; a bug in it is told and must not leave the daemon deaf."""
    while True:
        try:
            await work()
        except Exception as error:  # whatever it is, the daemon needs its broker
            log.crash("broker_task_failed", "a bug; beginning anew", error)
            await asyncio.sleep(FIRST_WAIT_S)
        else:
            return


def _message(event_id: str, event_type: str, body: bytes, mode: aio_pika.DeliveryMode) -> aio_pika.Message:
    return aio_pika.Message(body, content_type=CONTENT_TYPE, message_id=event_id, type=event_type, delivery_mode=mode)


async def check_broker(url: str, ca_file: str | None) -> str:
    """Connect once and declare what the daemon needs: `ok`, or raises `UnavailableError`."""
    session = await Session.open(url, name="swift-trainerd --check", ca_file=readable_file(ca_file), heartbeat_s=10)
    await session.close()
    return "ok"
