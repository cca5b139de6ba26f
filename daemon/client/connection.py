"""One connection to the broker, used once: it sends commands, gets their replies, and subscribes to events.

It does not connect again: what is under way when the connection goes ends with `BrokerAwayError`, a subscription ends,
and `wait_lost` returns. `Client` replaces it whole. Nothing is declared that is the daemon's.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPConnectionError, AMQPError, ChannelInvalidStateError
from pydantic import ValidationError
from yarl import URL

from daemon.amqp import connect
from daemon.client.errors import BrokerAwayError, ClientError, NoAnswerError, RefusedError
from daemon.core.masking import mask
from daemon.tracing import outgoing_headers
from schemas.commands import COMMANDS_EXCHANGE, EVENTS_EXCHANGE
from schemas.events import CloudEvent
from schemas.replies import Reply

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
CONNECT_LIMIT_S = 10.0
CALL_LIMIT_S = 30.0
CLOSE_LIMIT_S = 5.0
HEARTBEAT_S = 10
"""Where the URL names none: with RabbitMQ's own 60, aio-pika notices a dead peer after three minutes."""
EVENTS_KEPT = 100_000
"""Messages that may wait for a subscriber that does not read; the oldest go first."""
AWAY = (AMQPConnectionError, ChannelInvalidStateError, RuntimeError)
"""What aio-pika raises where the connection is gone; a bare RuntimeError of its own among them."""

URL_SETTING, CA_SETTING = "SWIFT_TRAINER_AMQP_URL", "SWIFT_TRAINER_AMQP_CA_FILE"
UNVERIFIED = "certificate verify failed"
"""As OpenSSL words it."""
FORBIDDEN = "ACCESS_REFUSED"
FORGED = "user_id property"
"""As RabbitMQ words them."""
DEFAULT_USER = "guest"
"""As aio-pika connects where the URL names none."""

Json = dict[str, Any]
_log = logging.getLogger(__name__)


class Connection:
    """Entering it connects, and raises `BrokerAwayError` where the broker does not answer.

    With `signed` a command that names no owner is its user's own: RabbitMQ takes a connection's own name.
    """

    def __init__(self, url: str, *, ca_file: str | None, name: str, signed: bool) -> None:
        self._url = url
        self._signed = signed
        self._ca_file = ca_file
        self._name = name
        self._stack = AsyncExitStack()
        self._lost = asyncio.Event()
        self._pending: dict[str, asyncio.Future[bytes]] = {}
        self.unreadable = 0
        """Events that were skipped because they could not be read."""

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S), AsyncExitStack() as stack:
                self._connection = await stack.enter_async_context(await self._connected())
                self._connection.close_callbacks.add(self._on_close)
                self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._channel.close_callbacks.add(self._on_close)  # the broker may close it alone, over a forged user
                replies = await self._channel.get_queue(DIRECT_REPLY_TO, ensure=False)
                await replies.consume(self._on_reply, no_ack=True)
                self._stack = stack.pop_all()
        except (AMQPError, OSError, TimeoutError, ValueError, RuntimeError) as error:
            said = mask(str(error)) or type(error).__name__
            look_at = f"the host in {URL_SETTING} and {CA_SETTING}" if UNVERIFIED in said else URL_SETTING
            raise BrokerAwayError(f"the broker can't be reached ({said}); check {look_at}") from None
        return self

    async def __aexit__(self, *error: object) -> None:
        with suppress(TimeoutError):  # a goodbye that nobody takes any more
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._stack.aclose()

    async def _connected(self) -> AbstractConnection:
        return await connect(URL(self._url), name=self._name, ca_file=self._ca_file, heartbeat_s=HEARTBEAT_S)

    @property
    def lost(self) -> bool:
        """No command can be sent any more."""
        return self._lost.is_set()

    async def wait_lost(self) -> None:
        """Until no command can be sent any more: the connection is gone, or the broker closed our channel."""
        await self._lost.wait()

    async def call(
        self, command: str, body: Mapping[str, object], *, message_id: str, owner: str | None, timeout_s: float
    ) -> Json:
        """Send a command and wait for its result; as `Client.call`."""
        correlation_id = uuid.uuid4().hex
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = answer
        message = aio_pika.Message(
            json.dumps(body).encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            reply_to=DIRECT_REPLY_TO,
            correlation_id=correlation_id,
            message_id=message_id,
            user_id=user_of(self._url) if owner is None and self._signed else owner,
            expiration=timeout_s,
            headers={**outgoing_headers()},
        )
        try:
            async with asyncio.timeout(timeout_s):
                exchange = await self._channel.get_exchange(COMMANDS_EXCHANGE, ensure=False)
                await exchange.publish(message, routing_key=command)
                reply = Reply.model_validate_json(await answer)
        except TimeoutError:
            raise NoAnswerError(f"no answer to {command} within {timeout_s:g} s; is a daemon running?") from None
        except AWAY as error:
            raise BrokerAwayError(f"{command} could not be sent ({mask(str(error))})") from None
        except AMQPError as error:
            said = mask(str(error))
            raise ClientError(f"{command} could not be sent ({said}); {_why_not_sent(said)}") from None
        except ValidationError:
            raise ClientError(f"the answer to {command} is none of this contract's") from None
        finally:
            del self._pending[correlation_id]
        if reply.error is not None:
            raise RefusedError(reply.error.code, reply.error.message, reply.error.details)
        return dict(reply.result or {})

    @asynccontextmanager
    async def events(self, *bindings: str) -> AsyncGenerator[AsyncIterator[CloudEvent]]:
        """Events whose routing key matches one of `bindings`; as `Client.events`."""
        async with AsyncExitStack() as stack:
            try:
                channel = await self._connection.channel()
                stack.push_async_callback(channel.close)
                queue = await _subscribed(channel, bindings)
                messages = await stack.enter_async_context(queue.iterator(no_ack=True))
            except AWAY as error:
                raise BrokerAwayError(f"can't subscribe to {EVENTS_EXCHANGE}: {mask(str(error))}") from None
            except AMQPError as error:
                raise ClientError(f"can't subscribe to {EVENTS_EXCHANGE}: {mask(str(error))}") from None
            yield self._decoded(messages)

    async def _decoded(self, messages: AsyncIterator[AbstractIncomingMessage]) -> AsyncGenerator[CloudEvent]:
        async for message in messages:
            try:
                event = CloudEvent.model_validate_json(message.body)
            except ValidationError as error:
                self.unreadable += 1
                _log.warning("an event could not be read and was skipped: %s", mask(str(error.errors()[0]["msg"])))
            else:
                yield event

    @asynccontextmanager
    async def channel(self) -> AsyncGenerator[AbstractChannel]:
        """A channel of its own with publisher confirms; as `Client.channel`."""
        async with self._connection.channel(publisher_confirms=True, on_return_raises=True) as channel:
            yield channel

    def _on_close(self, *_closed: object) -> None:
        self._lost.set()
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(BrokerAwayError("the connection to the broker went before the answer came"))

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        waiting = self._pending.get(message.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(message.body)


def user_of(url: str) -> str:
    """Whom the broker knows a connection to a URL as."""
    return URL(url).user or DEFAULT_USER


def _why_not_sent(said: str) -> str:
    """What to look at, by what the broker said."""
    if FORBIDDEN in said:
        return f"the user in {URL_SETTING} may not"
    if FORGED in said:
        return f"jobs are ordered under the name that the broker has: let {URL_SETTING} name that user"
    return "did swift-trainerd ever run there?"


async def _subscribed(channel: AbstractChannel, bindings: tuple[str, ...]) -> AbstractQueue:
    """A queue of ours alone that gets what matches, each event once."""
    queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments={"x-max-length": EVENTS_KEPT})
    for binding in bindings:
        await queue.bind(EVENTS_EXCHANGE, binding)
    return queue
