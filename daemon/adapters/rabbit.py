"""The bus on RabbitMQ: keeps one session at a time, and says `UnavailableError` while there is none.

The connection is opened anew after every break, with a wait that grows and is jittered. That the consumer is really
there is asked of the broker, after every connection and then at an interval: a client that merely believes that it
consumes has been seen to be silent for days.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from daemon.adapters.live_queue import LiveMessage, LiveQueue, LiveStatistics
from daemon.adapters.rabbit_session import BROKER_ERRORS, CALL_LIMIT_S, Session, readable_file, unavailable
from daemon.logs import get_log
from daemon.ports import Delivery, UnavailableError
from schemas.commands import ERROR_HEADER
from schemas.events import CONTENT_TYPE, CloudEvent, OutboxEvent

log = get_log("rabbit")

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 15.0
CONSUMER_CHECK_S = 30.0
CONFIRM_LIMIT_S = 10.0
MOST_ERROR = 1000
PERSISTENT, TRANSIENT = aio_pika.DeliveryMode.PERSISTENT, aio_pika.DeliveryMode.NOT_PERSISTENT


@dataclass(frozen=True, slots=True)
class _Token:
    """What an acknowledgement needs."""

    session: Session
    message: AbstractIncomingMessage


class RabbitBus:
    """The broker behind a URL."""

    def __init__(
        self, url: str, *, node_id: str, prefetch: int = 200, ca_file: str | None = None, heartbeat_s: int = 10
    ) -> None:
        self._url = url
        self._name = f"swift-trainerd {node_id}"
        self._prefetch = prefetch
        self._ca_file = readable_file(ca_file)
        self._heartbeat_s = heartbeat_s
        self._session: Session | None = None
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._deliveries: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._consuming = False
        self._live = LiveQueue()
        self._live_there = asyncio.Event()
        self._unconfirmed = False

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Connect, waiting for the broker for as long as it takes, and stay connected."""
        self._keeper = asyncio.create_task(self._keep_connected(), name="broker connection")
        self._pump = asyncio.create_task(self._send_live(), name="live events")
        await self._connected.wait()

    async def close(self) -> None:
        """Send the live events that wait, then end the connection."""
        deadline = asyncio.get_running_loop().time() + 1.0
        while self._live.statistics().waiting and self._session and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        for task in (self._keeper, self._pump):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _keep_connected(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                session = await Session.open(
                    self._url, name=self._name, ca_file=self._ca_file, heartbeat_s=self._heartbeat_s
                )
                if self._consuming:
                    await session.consume(self._prefetch, self._on_message)
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
            await self._watch(session)
            self._session = None
            self._connected.clear()
            await session.close()
            log.warning("broker_lost", "the connection to the broker is gone; connecting anew")

    async def _watch(self, session: Session) -> None:
        """Until the session ends, or the broker does not count our consumer."""
        while not session.ended.is_set():
            try:
                async with asyncio.timeout(CONSUMER_CHECK_S):
                    await session.ended.wait()
            except TimeoutError:
                try:
                    silent = self._consuming and await session.consumers() == 0
                except UnavailableError:
                    return
                if silent:
                    log.warning("consumer_gone", "the broker counts no consumer of ours; connecting anew")
                    return

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
            except UnavailableError:
                session.ended.set()  # the next session begins with consuming
        while (delivery := await self._deliveries.get()) is not None:
            token = delivery.token
            if isinstance(token, _Token) and not token.session.ended.is_set():
                yield delivery  # else the broker sends it again

    async def _on_message(self, session: Session, message: AbstractIncomingMessage) -> None:
        """Hand a message on; how many wait here is bounded by the prefetch."""
        await self._deliveries.put(
            Delivery(
                routing_key=message.routing_key or "",
                body=message.body,
                message_id=message.message_id,
                correlation_id=message.correlation_id,
                reply_to=message.reply_to,
                user_id=message.user_id,
                redelivered=bool(message.redelivered),
                token=_Token(session, message),
            )
        )

    async def stop_consuming(self) -> None:
        """End `commands()`."""
        self._consuming = False
        try:
            if self._session is not None:
                await self._session.stop_consuming()
        finally:
            await self._deliveries.put(None)

    async def ack(self, delivery: Delivery) -> None:
        """Acknowledge; where the channel is gone the broker sends the message again, and that is right."""
        token = delivery.token
        if isinstance(token, _Token) and not token.session.ended.is_set():
            with contextlib.suppress(*BROKER_ERRORS):
                await token.message.ack()

    async def dead_letter(self, delivery: Delivery, error: str) -> None:
        """Keep a command in the dead-letter queue with the reason, then acknowledge it."""
        session = self._alive("dead-lettering")
        headers = dict(delivery.token.message.headers) if isinstance(delivery.token, _Token) else {}
        headers[ERROR_HEADER] = error[:MOST_ERROR]
        if delivery.user_id is not None:
            headers["x-swift-user"] = delivery.user_id  # as a property the broker would check it against our own user
        message = aio_pika.Message(
            delivery.body,
            headers=headers,
            delivery_mode=PERSISTENT,
            message_id=delivery.message_id,
            correlation_id=delivery.correlation_id,
            reply_to=delivery.reply_to,
            content_type="application/json",
        )
        try:
            await session.confirmed_dead.publish(
                message, routing_key=delivery.routing_key, mandatory=False, timeout=CONFIRM_LIMIT_S
            )
        except BROKER_ERRORS as problem:
            raise unavailable("dead-lettering", problem) from None
        await self.ack(delivery)

    async def reply(self, delivery: Delivery, body: bytes) -> None:
        """Answer where an answer was asked for."""
        if not delivery.reply_to:
            return
        session = self._alive("replying")
        message = aio_pika.Message(
            body,
            content_type="application/json",
            correlation_id=delivery.correlation_id or delivery.message_id,
            delivery_mode=TRANSIENT,
        )
        try:
            await session.replies.publish(message, routing_key=delivery.reply_to, mandatory=False, timeout=CALL_LIMIT_S)
        except BROKER_ERRORS as error:
            raise unavailable("replying", error) from None

    # ------------------------------------------------------------ events

    async def publish(self, event: OutboxEvent) -> None:
        """Publish a durable event and wait for the broker's word."""
        session = self._alive("publishing")
        try:
            await session.confirmed_events.publish(
                _message(event.event.id, event.event.type, event.event.model_dump_json().encode()),
                routing_key=event.routing_key,
                mandatory=False,
                timeout=CONFIRM_LIMIT_S,
            )
        except BROKER_ERRORS as error:
            self._unconfirmed = isinstance(error, TimeoutError)
            raise unavailable("publishing", error) from None
        self._unconfirmed = False

    def publish_live(self, routing_key: str, event: CloudEvent) -> None:
        """Send an event soon, or never."""
        if self._session is None:
            return
        body = event.model_dump_json(exclude={"sequence"}).encode()
        self._live.put(LiveMessage(routing_key, body, event.id, event.type))
        self._live_there.set()

    def statistics(self) -> LiveStatistics:
        """A snapshot of the live events."""
        return self._live.statistics()

    async def _send_live(self) -> None:
        while True:
            await self._live_there.wait()
            self._live_there.clear()
            while (message := self._live.take()) is not None:
                session = self._session
                if session is None or session.ended.is_set():
                    self._live.clear()
                    break
                try:
                    await session.live_events.publish(
                        _message(message.event_id, message.event_type, message.body, TRANSIENT),
                        routing_key=message.routing_key,
                        mandatory=False,
                    )
                except BROKER_ERRORS as error:
                    log.debug("live_dropped", str(unavailable("publishing", error)))

    # ------------------------------------------------------------ state

    async def check(self) -> str:
        """`ok`, or what is wrong."""
        try:
            session = self._alive("checking")
            if self._consuming and await session.consumers() == 0:
                return f"connected, but the broker counts no consumer on the command queue; asking again in {CONSUMER_CHECK_S:g} s"
        except UnavailableError as error:
            return str(error)
        return "publishes are not confirmed: a memory or disk alarm at the broker?" if self._unconfirmed else "ok"


def _message(event_id: str, event_type: str, body: bytes, mode: aio_pika.DeliveryMode = PERSISTENT) -> aio_pika.Message:
    return aio_pika.Message(body, content_type=CONTENT_TYPE, message_id=event_id, type=event_type, delivery_mode=mode)


async def check_broker(url: str, ca_file: str | None) -> str:
    """Connect once and declare what the daemon needs: `ok`, or raises `UnavailableError`."""
    session = await Session.open(url, name="swift-trainerd --check", ca_file=readable_file(ca_file), heartbeat_s=10)
    await session.close()
    return "ok"
