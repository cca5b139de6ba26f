"""A client of the bus: sends commands and gets their replies, and follows events.

    async with Client.connect("amqp://guest:guest@localhost:5672/") as client:
        job = await client.call("job.create", {"training_type": "llm", ...})
        async with client.events(f"job.{job['job_id']}.#") as events:
            await client.call("job.start", {"job_id": job["job_id"]})
            async for event in events:
                print(event.type, event.data)

It needs the rights of a publisher (write to `swift.commands`) and of a subscriber (read from `swift.events`), nothing
else: replies come by direct reply-to. It declares nothing that is the daemon's.
"""

import asyncio
import json
import ssl
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, DeliveryError

from daemon.core.masking import mask
from schemas.commands import COMMANDS_EXCHANGE, EVENTS_EXCHANGE
from schemas.enums import ReplyErrorCode
from schemas.events import CloudEvent
from schemas.replies import Fault, Reply

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
CONNECT_LIMIT_S = 10.0
CALL_LIMIT_S = 30.0
EVENTS_KEPT = 100_000
"""Messages that may wait for a subscriber that does not read; the oldest go first."""

Json = dict[str, Any]


class ClientError(Exception):
    """No answer could be had; the message says why and what to do."""


class RefusedError(Exception):
    """The daemon refused a command."""

    def __init__(self, code: ReplyErrorCode, message: str, details: tuple[Fault, ...]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details


class Client:
    """One connection to the broker, for commands and events."""

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        self._connection = connection
        self._channel = channel
        self._pending: dict[str, asyncio.Future[bytes]] = {}

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, *, ca_file: str | None = None) -> AsyncGenerator["Client"]:
        """Connect to the broker. Raises `ClientError` where it does not answer."""
        context = ssl.create_default_context(cafile=ca_file) if url.startswith("amqps") else None
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                connection = await aio_pika.connect(
                    url, client_properties={"connection_name": "swift-trainer client"}, ssl_context=context
                )
        except (AMQPError, OSError, TimeoutError, ValueError) as error:
            said = mask(str(error)) or type(error).__name__
            raise ClientError(f"the broker can't be reached ({said}); check SWIFT_TRAINER_AMQP_URL") from None
        async with connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            client = cls(connection, channel)
            replies = await channel.get_queue(DIRECT_REPLY_TO, ensure=False)
            await replies.consume(client._on_reply, no_ack=True)
            yield client

    async def call(
        self,
        command: str,
        body: Mapping[str, object] | None = None,
        *,
        message_id: str | None = None,
        timeout_s: float = CALL_LIMIT_S,
    ) -> Json:
        """Send a command and wait for its result.

        `message_id` makes it idempotent: give the same one when you send a command again because no answer came. A
        command that nobody took within `timeout_s` expires. Raises `RefusedError` and `ClientError`.
        """
        correlation_id = uuid.uuid4().hex
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = answer
        message = aio_pika.Message(
            json.dumps(body or {}).encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            reply_to=DIRECT_REPLY_TO,
            correlation_id=correlation_id,
            message_id=message_id or uuid.uuid4().hex,
            expiration=timeout_s,
        )
        try:
            async with asyncio.timeout(timeout_s):
                exchange = await self._channel.get_exchange(COMMANDS_EXCHANGE, ensure=False)
                await exchange.publish(message, routing_key=command)
                reply = Reply.model_validate_json(await answer)
        except TimeoutError:
            raise ClientError(f"no answer to {command} within {timeout_s:g} s; is a daemon running?") from None
        except (DeliveryError, AMQPError) as error:
            raise ClientError(
                f"{command} could not be sent ({mask(str(error))}); did swift-trainerd ever run on this broker?"
            ) from None
        finally:
            del self._pending[correlation_id]
        if reply.error is not None:
            raise RefusedError(reply.error.code, reply.error.message, reply.error.details)
        return dict(reply.result or {})

    @asynccontextmanager
    async def events(self, binding: str = "#") -> AsyncGenerator[AsyncIterator[CloudEvent]]:
        """Events whose routing key matches `binding`, from the entry of the block on."""
        channel = await self._connection.channel()
        try:
            queue = await channel.declare_queue(
                exclusive=True, auto_delete=True, arguments={"x-max-length": EVENTS_KEPT}
            )
            await queue.bind(EVENTS_EXCHANGE, binding)
        except AMQPError as error:
            raise ClientError(f"can't subscribe to {EVENTS_EXCHANGE}: {mask(str(error))}") from None
        try:
            async with queue.iterator(no_ack=True) as messages:
                yield _decoded(messages)
        finally:
            await channel.close()

    @asynccontextmanager
    async def channel(self) -> AsyncGenerator[AbstractChannel]:
        """A channel of its own with publisher confirms, for who works on a queue; raises aio-pika's errors."""
        async with self._connection.channel(publisher_confirms=True, on_return_raises=True) as channel:
            yield channel

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        waiting = self._pending.get(message.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(message.body)


async def _decoded(messages: AsyncIterator[AbstractIncomingMessage]) -> AsyncGenerator[CloudEvent]:
    async for message in messages:
        yield CloudEvent.model_validate_json(message.body)
