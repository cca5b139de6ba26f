"""Events from the broker to many listeners, through one queue.

The queue is bound to what somebody listens to and to nothing else, so an idle gateway receives nothing. A listener that
does not keep up is told so and let go; it comes back and asks for what it missed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from pydantic import ValidationError

from daemon.client import Client, ClientError
from daemon.logs import get_log
from schemas.commands import EVENTS_EXCHANGE
from schemas.events import CloudEvent

log = get_log("gateway")

KEPT_EVENTS = 1000
"""Events that may wait for one listener."""
QUEUE_LENGTH = 10_000
"""Events that may wait at the broker for the gateway; the oldest go first."""
ALL_JOBS = ("job.*.status.*", "job.*.checkpoint", "job.*.export.*", "job.*.progress", "gpu.#", "node.#")
"""What who listens to everything hears: all but the lines of the logs."""


class Gone(StrEnum):
    """Why a listener hears nothing more."""

    LAGGED = "lagged"
    """It did not keep up."""
    LOST = "lost"
    """The broker is gone, or the gateway stops."""


class Listener:
    """One ear. `events` end with `None`, and then `gone` says why."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[CloudEvent | None] = asyncio.Queue(KEPT_EVENTS + 1)
        self.gone: Gone | None = None

    async def next(self) -> CloudEvent | None:
        """The next event."""
        return await self._events.get()

    def hear(self, event: CloudEvent) -> None:
        """Take an event, or fall behind."""
        if self.gone is None and self._events.qsize() >= KEPT_EVENTS:
            self.leave(Gone.LAGGED)
        elif self.gone is None:
            self._events.put_nowait(event)

    def leave(self, why: Gone) -> None:
        """Hear nothing more."""
        if self.gone is None:
            self.gone = why
            self._events.put_nowait(None)


class Hub:
    """Who listens to what, over one connection at a time."""

    def __init__(self) -> None:
        self._queue: AbstractQueue | None = None
        self._listeners: dict[Listener, str | None] = {}
        """With the job that each listens to; None: to all."""
        self._bindings: Counter[str] = Counter()

    @asynccontextmanager
    async def attached(self, client: Client) -> AsyncGenerator[None]:
        """Hear from the broker over this connection."""
        try:
            async with client.channel() as channel:
                queue = await channel.declare_queue(
                    exclusive=True, auto_delete=True, arguments={"x-max-length": QUEUE_LENGTH}
                )
                await queue.consume(self._on_message, no_ack=True)
                self._queue = queue
                try:
                    yield
                finally:
                    self._queue = None
                    self.release()
        except (AMQPError, ChannelInvalidStateError) as error:
            raise ClientError(f"events can't be followed ({error})") from None

    def release(self) -> None:
        """Let every listener go; they come back when the broker does."""
        for listener in self._listeners:
            listener.leave(Gone.LOST)
        self._bindings.clear()

    @asynccontextmanager
    async def listening(self, job_id: str | None) -> AsyncGenerator[Listener]:
        """A listener to one job, or to all; from the entry of the block on nothing is missed."""
        queue = self._queue
        if queue is None:
            raise ClientError("the broker is away; events come again when it is back")
        listener = Listener()
        self._listeners[listener] = job_id
        topics = ALL_JOBS if job_id is None else (f"job.{job_id}.#",)
        try:
            for topic in topics:
                self._bindings[topic] += 1
                if self._bindings[topic] == 1:
                    await queue.bind(EVENTS_EXCHANGE, topic)
            yield listener
        except (AMQPError, ChannelInvalidStateError) as error:
            raise ClientError(f"events can't be followed ({error})") from None
        finally:
            del self._listeners[listener]
            if listener.gone is not Gone.LOST:
                await self._let_go(queue, topics)

    async def _let_go(self, queue: AbstractQueue, topics: tuple[str, ...]) -> None:
        for topic in topics:
            self._bindings[topic] -= 1
            if self._bindings[topic] == 0:
                del self._bindings[topic]
                try:
                    await queue.unbind(EVENTS_EXCHANGE, topic)
                except (AMQPError, ChannelInvalidStateError) as error:  # it is gone with the connection anyway
                    log.debug("unbind_failed", str(error))

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        words = (message.routing_key or "").split(".")
        job_id = words[1] if words[0] == "job" and len(words) > 2 else None
        is_log = job_id is not None and words[2] == "log"
        ears = [ear for ear, wanted in self._listeners.items() if wanted == job_id or (wanted is None and not is_log)]
        if not ears:
            return
        try:
            event = CloudEvent.model_validate_json(message.body)
        except ValidationError:
            log.warning(
                "event_skipped", "an event on swift.events can't be understood", routing_key=message.routing_key
            )
            return
        for ear in ears:
            ear.hear(event)
