"""Replies, on a connection of their own.

The address of a reply comes from outside, and RabbitMQ closes the whole connection over some that only look like
direct reply-to. Were that the connection of the commands, all unacknowledged ones would come again, the harmful one
among them, for ever. So replies have their own; when it breaks, each reply that was on its way goes once more over a
connection that serves for it alone, and where the broker closes that too, the address is at fault, and the requester
counts as gone.
"""

import asyncio
from collections.abc import Awaitable, Callable

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelClosed, ConnectionInternalError

from daemon.adapters.rabbit_errors import said, talking
from daemon.logs import get_log
from daemon.ports import UnavailableError

log = get_log("rabbit")

REPLY_LIMIT_S = 10.0

Connect = Callable[[], Awaitable[AbstractConnection]]


class ReplyLine:
    """Sends replies; connects when the first one comes, and again after a break."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connecting = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None

    async def send(self, message: aio_pika.Message, address: str) -> None:
        """Send a reply; returns when the broker has it. Raises `UnavailableError` where the broker is away."""
        try:
            with talking("replying"):
                await _publish(await self._line(), message, address)
        except UnavailableError:
            await self._send_alone(message, address)

    async def _send_alone(self, message: aio_pika.Message, address: str) -> None:
        with talking("replying"):
            connection = await self._connect()
            try:
                await _publish(await connection.channel(publisher_confirms=True), message, address)
            except (ChannelClosed, ConnectionInternalError) as error:
                log.warning("reply_refused", f"the broker does not take replies to {address[:80]!r}: {said(error)}")
            finally:
                await connection.close()

    async def _line(self) -> AbstractChannel:
        """A channel that is open."""
        async with self._connecting:
            channel = self._channel
            if channel is None or channel.is_closed:
                await self.close()
                self._connection = await self._connect()
                channel = self._channel = await self._connection.channel(publisher_confirms=True)
            return channel

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await connection.close()


async def _publish(channel: AbstractChannel, message: aio_pika.Message, address: str) -> None:
    await channel.default_exchange.publish(message, address, mandatory=False, timeout=REPLY_LIMIT_S)
