"""A client of the bus: sends commands and gets their replies, and follows events.

    async with Client("amqp://guest:guest@localhost:5672/") as client:
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
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError

from daemon.core.masking import mask
from daemon.tracing import outgoing_headers
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
    """One connection to the broker, for commands and events; entering it connects.

    It does not connect again by itself: what was under way when the connection went ends with `ClientError`, and
    `wait_lost` returns. Entering raises `ClientError` where the broker does not answer.
    """

    def __init__(self, url: str, *, ca_file: str | None = None, name: str = "swift-trainer client") -> None:
        self._url = url
        self._ca_file = ca_file
        self._name = name
        self._stack = AsyncExitStack()
        self._lost = asyncio.Event()
        self._pending: dict[str, asyncio.Future[bytes]] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._connection = await stack.enter_async_context(await self._connected())
            self._connection.close_callbacks.add(self._on_close)
            self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            self._channel.close_callbacks.add(self._on_close)  # the broker may close it alone, over a forged user
            replies = await self._channel.get_queue(DIRECT_REPLY_TO, ensure=False)
            await replies.consume(self._on_reply, no_ack=True)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def _connected(self) -> AbstractConnection:
        context = ssl.create_default_context(cafile=self._ca_file) if self._url.startswith("amqps") else None
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                return await aio_pika.connect(
                    self._url, client_properties={"connection_name": self._name}, ssl_context=context
                )
        except (AMQPError, OSError, TimeoutError, ValueError) as error:
            said = mask(str(error)) or type(error).__name__
            raise ClientError(f"the broker can't be reached ({said}); check SWIFT_TRAINER_AMQP_URL") from None

    async def wait_lost(self) -> None:
        """Until no command can be sent any more: the connection is gone, or the broker closed our channel."""
        await self._lost.wait()

    async def call(
        self,
        command: str,
        body: Mapping[str, object] | None = None,
        *,
        message_id: str | None = None,
        owner: str | None = None,
        timeout_s: float = CALL_LIMIT_S,
    ) -> Json:
        """Send a command and wait for its result.

        `message_id` makes it idempotent: give the same one when you send a command again because no answer came. A
        command that nobody took within `timeout_s` expires. `owner` goes into the property `user_id`, which RabbitMQ
        checks: it is the connection's own user, or the connection's user has the tag `impersonator`. Raises
        `RefusedError` and `ClientError`.
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
            user_id=owner,
            expiration=timeout_s,
            headers={**outgoing_headers()},
        )
        try:
            async with asyncio.timeout(timeout_s):
                exchange = await self._channel.get_exchange(COMMANDS_EXCHANGE, ensure=False)
                await exchange.publish(message, routing_key=command)
                reply = Reply.model_validate_json(await answer)
        except TimeoutError:
            raise ClientError(f"no answer to {command} within {timeout_s:g} s; is a daemon running?") from None
        except (DeliveryError, AMQPError, ChannelInvalidStateError) as error:
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
        except (AMQPError, ChannelInvalidStateError) as error:
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

    def _on_close(self, *_closed: object) -> None:
        self._lost.set()
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(ClientError("the connection to the broker went before the answer came"))

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        waiting = self._pending.get(message.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(message.body)


async def _decoded(messages: AsyncIterator[AbstractIncomingMessage]) -> AsyncGenerator[CloudEvent]:
    async for message in messages:
        yield CloudEvent.model_validate_json(message.body)
