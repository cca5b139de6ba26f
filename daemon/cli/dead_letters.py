"""The dead letters on their queue: read without being lost, put back among the commands, or dropped.

A letter is acknowledged only after its copy has been confirmed, or when it is to be dropped. What is merely looked at
goes back when the channel closes. A quorum queue may count that, by the broker's version, and drops what reached its
limit (20 where nothing else is set); so a letter with a high count is replaced by a copy, confirmed before the old
one is acknowledged: killed between the two it is there twice, and never lost.
"""

import hashlib
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, DeliveryError

from daemon.amqp import BYTES, readable
from daemon.client import Client, ClientError
from daemon.core.masking import mask
from schemas.commands import COMMANDS_EXCHANGE, DEAD_EXCHANGE, DEAD_QUEUE, ERROR_HEADER

MOST = 1000
"""Letters looked at in one go; the oldest come first."""
LOOKS_BEFORE_COPY = 8
CONFIRM_LIMIT_S = 30.0
COUNT_HEADER = "x-delivery-count"
_AGAIN = uuid.UUID("5a6f6d3e-54d3-4a0e-8f5e-3a3c0d1c9d11")
_BROKERS_OWN = ("x-death", "x-first-death", "x-last-death", "x-delivery-count", "x-acquired-count")


@dataclass(frozen=True)
class Letter:
    """One dead letter, held until the desk closes."""

    message: AbstractIncomingMessage

    @property
    def letter_id(self) -> str:
        """Short, and the same at each look."""
        parts = (self.command, self.message.message_id or "", self.message.correlation_id or "", self.reason)
        return hashlib.sha256("\0".join(parts).encode("utf-8", BYTES) + self.message.body).hexdigest()[:10]

    @property
    def command(self) -> str:
        """The command that it was sent as."""
        return readable(self.message.routing_key or "")

    @property
    def reason(self) -> str:
        """Why it is here."""
        said = self.message.headers.get(ERROR_HEADER)
        if said is None:
            return "the broker gave it up: it was delivered too often, or expired"
        return said.decode(errors="replace") if isinstance(said, bytes) else str(said)

    @property
    def body(self) -> str:
        """As text."""
        return self.message.body.decode(errors="replace")


class Desk:
    """All dead letters, held while one looks at them."""

    def __init__(self, channel: AbstractChannel, letters: list[Letter]) -> None:
        self._channel = channel
        self.letters = letters
        self._gone: set[int | None] = set()

    async def requeue(self, letter: Letter) -> None:
        """Send it as a command again, and let it go when the broker has it."""
        await self._publish(letter, COMMANDS_EXCHANGE, again=True)
        await self.drop(letter)

    async def drop(self, letter: Letter) -> None:
        """Let it go."""
        await letter.message.ack()
        self._gone.add(letter.message.delivery_tag)

    async def put_back(self) -> None:
        """Leave what is left, as fresh copies where the broker would soon give them up."""
        for letter in self.letters:
            if letter.message.delivery_tag not in self._gone:
                await self._put_back(letter)

    async def _put_back(self, letter: Letter) -> None:
        looks = letter.message.headers.get(COUNT_HEADER)
        if isinstance(looks, int) and looks >= LOOKS_BEFORE_COPY:
            await self._publish(letter, DEAD_EXCHANGE, again=False)
            await self.drop(letter)

    async def _publish(self, letter: Letter, exchange_name: str, *, again: bool) -> None:
        dead = letter.message
        ours = (*_BROKERS_OWN, ERROR_HEADER) if again else (COUNT_HEADER,)
        message = aio_pika.Message(
            dead.body,
            headers={name: value for name, value in dead.headers.items() if not name.startswith(ours)},
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=_new_id(dead.message_id) if again else dead.message_id,
            correlation_id=dead.correlation_id,
            reply_to=None if again else dead.reply_to,  # who asked has long gone
            content_type=dead.content_type,
            content_encoding=dead.content_encoding,
        )
        exchange = await self._channel.get_exchange(exchange_name, ensure=False)
        await exchange.publish(message, routing_key=dead.routing_key or "", mandatory=True, timeout=CONFIRM_LIMIT_S)


def _new_id(message_id: str | None) -> str | None:
    """Under its own the daemon would only say again what was wrong; the same one each time, so that a letter that was
    requeued and could not be let go has its effect once."""
    return None if message_id is None else str(uuid.uuid5(_AGAIN, readable(message_id)))


@asynccontextmanager
async def dead_letters(client: Client) -> AsyncGenerator[Desk]:
    """The dead letters, oldest first; what is not requeued or dropped in the block stays. Raises `ClientError`."""
    try:
        async with client.channel() as channel:
            queue = await channel.declare_queue(DEAD_QUEUE, passive=True)
            letters: list[Letter] = []
            while len(letters) < MOST:  # a quorum queue's own count lags behind
                message = await queue.get(no_ack=False, fail=False)
                if message is None:
                    break
                letters.append(Letter(message))
            desk = Desk(channel, letters)
            try:
                yield desk
            finally:
                await desk.put_back()
    except (AMQPError, DeliveryError, TimeoutError) as error:
        said = mask(str(error)) or type(error).__name__
        raise ClientError(
            f"can't work on the queue {DEAD_QUEUE} ({said}); it needs a user that may read it and write to "
            f"{COMMANDS_EXCHANGE}, and a daemon that ever ran. What was not told as done is still there"
        ) from None


async def count_dead(client: Client) -> int | None:
    """How many there are; None where this user may not know."""
    try:
        async with client.channel() as channel:
            queue = await channel.declare_queue(DEAD_QUEUE, passive=True)
            return queue.declaration_result.message_count or 0
    except AMQPError:
        return None
