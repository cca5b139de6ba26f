"""A publisher and subscriber as the contract wants them, over whatever happens to the broker.

It subscribes with a durable queue and acknowledges, so no durable event that the broker has taken can pass it by; it
publishes persistent commands with confirms, under a `message_id`, and sends one again until it is answered.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from tests.e2e.harness import Json, Probe, RefusedError

AGAIN_S = 0.1
ANSWER_LIMIT_S = 5.0
ORDER_LIMIT_S = 60.0
PREFETCH = 200
AWAY = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError, asyncio.InvalidStateError)
"""What aio-pika raises when the broker is gone."""


class Witness(Probe):
    """A probe that connects anew."""

    def __init__(self, url: str, connected: "_Connected", name: str) -> None:
        super().__init__(connected.channel, connected.replies, connected.events)
        self._url = url
        self._name = name
        self._connection = connected.connection
        self.jobs: list[str] = []
        """Ids of the jobs that were created here."""
        self.repeated = 0
        """Events that came again under a known id, as at-least-once allows."""
        self._ids: set[str] = set()

    async def start(self) -> None:
        """Consume replies and events."""
        await self._replies.consume(self._on_reply, no_ack=True)
        await self._events.consume(self._on_kept_event)

    async def _on_kept_event(self, message: AbstractIncomingMessage) -> None:
        event_id = message.message_id or ""
        self.repeated += event_id in self._ids
        self._ids.add(event_id)
        await self._on_event(message)
        with suppress(*AWAY):
            await message.ack()

    async def keep_connected(self) -> None:
        """For as long as the test runs."""
        while True:
            gone = _Gone()
            self._connection.close_callbacks.add(gone)
            self._channel.close_callbacks.add(gone)
            if not self._connection.is_closed:
                await gone.event.wait()
            await _close(self._connection)
            await self._connect_anew()

    async def _connect_anew(self) -> None:
        while True:
            try:
                connected = await _connect(self._url, self._name)
            except AWAY:
                await asyncio.sleep(AGAIN_S)
                continue
            self._connection, self._channel = connected.connection, connected.channel
            self._replies, self._events = connected.replies, connected.events
            with suppress(*AWAY):
                await self.start()
            return

    async def envelope(
        self,
        command: str,
        body: Mapping[str, Any] | None = None,
        *,
        message_id: str | None = None,
        limit_s: float = ORDER_LIMIT_S,
    ) -> Json:
        """The reply to a command, sent again under one `message_id` until there is one that is not `unavailable`."""
        encoded = json.dumps(body or {}).encode()
        message_id = message_id or uuid.uuid4().hex
        async with asyncio.timeout(limit_s):
            while True:
                try:
                    async with asyncio.timeout(ANSWER_LIMIT_S):
                        reply = await self.raw(command, encoded, ANSWER_LIMIT_S, message_id=message_id)
                except AWAY:
                    await asyncio.sleep(AGAIN_S)
                    continue
                if reply["ok"] or reply["error"]["code"] != "unavailable":
                    return reply

    async def order(
        self,
        command: str,
        body: Mapping[str, Any] | None = None,
        *,
        message_id: str | None = None,
        limit_s: float = ORDER_LIMIT_S,
    ) -> Json:
        """The result of a command. Raises `RefusedError`."""
        reply = await self.envelope(command, body, message_id=message_id, limit_s=limit_s)
        if not reply["ok"]:
            raise RefusedError(reply["error"])
        return reply["result"]

    async def create(
        self, request: Mapping[str, Any], *, message_id: str | None = None, limit_s: float = ORDER_LIMIT_S
    ) -> str:
        """Create a job; its id."""
        result = await self.order("job.create", request, message_id=message_id, limit_s=limit_s)
        job_id: str = result["job_id"]
        self.jobs.append(job_id)
        return job_id

    async def post(self, command: str, body: Mapping[str, Any], *, message_id: str | None = None) -> None:
        """Publish a persistent command that wants no reply, once, and wait for the broker's word."""
        exchange = await self._channel.get_exchange("swift.commands", ensure=False)
        message = aio_pika.Message(json.dumps(body).encode(), delivery_mode=2, message_id=message_id)
        await exchange.publish(message, routing_key=command)

    async def job(self, job_id: str) -> Json:
        """The document."""
        return await self.order("job.get", {"job_id": job_id})

    async def purge(self) -> None:
        """Commands that an earlier test left are nobody's."""
        await (await self._channel.get_queue("swift.commands", ensure=False)).purge()

    async def consumers(self) -> int:
        """How many consumers the broker counts on the queue of commands."""
        queue = await self._channel.declare_queue("swift.commands", passive=True)
        return queue.declaration_result.consumer_count or 0

    async def leave(self) -> None:
        """Remove the queue, end the connection."""
        with suppress(*AWAY):
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self._events.delete(if_unused=False, if_empty=False)
        await _close(self._connection)


class _Gone:
    """Waits for the end of a connection or a channel."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def __call__(self, _sender: object, _error: BaseException | None) -> None:
        self.event.set()


class _Connected:
    """A connection with what a witness needs on it."""

    def __init__(
        self, connection: AbstractConnection, channel: AbstractChannel, replies: AbstractQueue, events: AbstractQueue
    ) -> None:
        self.connection = connection
        self.channel = channel
        self.replies = replies
        self.events = events


async def _connect(url: str, name: str) -> _Connected:
    async with asyncio.timeout(ANSWER_LIMIT_S):
        connection = await aio_pika.connect(url)
        try:
            channel = await connection.channel(on_return_raises=True)
            await channel.set_qos(prefetch_count=PREFETCH)
            exchange = await channel.declare_exchange("swift.events", aio_pika.ExchangeType.TOPIC, durable=True)
            replies = await channel.declare_queue(exclusive=True)
            events = await channel.declare_queue(name, durable=True)
            await events.bind(exchange, "#")
        except BaseException:
            await _close(connection)
            raise
    return _Connected(connection, channel, replies, events)


async def _close(connection: AbstractConnection) -> None:
    with suppress(*AWAY):
        async with asyncio.timeout(ANSWER_LIMIT_S):
            await connection.close()


@asynccontextmanager
async def witness(url: str) -> AsyncGenerator[Witness]:
    """A connected witness, listening to everything."""
    name = f"witness-{uuid.uuid4().hex}"
    found = Witness(url, await _connect(url, name), name)
    await found.start()
    keeper = asyncio.create_task(found.keep_connected(), name="witness")
    try:
        yield found
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await found.leave()
