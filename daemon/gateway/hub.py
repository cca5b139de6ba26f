"""Events from the broker to many listeners, through one queue.

The queue is bound to what somebody listens to and to nothing else, so an idle gateway receives nothing. A listener that
does not keep up is told so and let go; it comes back and asks for what it missed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
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


class _Bindings:
    """What one queue is bound to: each topic for as long as somebody wants it.

    A reader may go at any moment, in the middle of a question to the broker too, and what then runs is cancelled at
    each wait. So the questions are asked in tasks of their own, one at a time, and the account is kept without waiting.
    """

    def __init__(self, queue: AbstractQueue) -> None:
        self._queue = queue
        self._wanted: Counter[str] = Counter()
        self._bound: set[str] = set()
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def wanted(self, topics: Sequence[str]) -> AsyncGenerator[None]:
        """Bound to these topics within the block. Raises aio-pika's errors."""
        self._wanted.update(topics)
        try:
            await asyncio.shield(self._settling(topics))
            yield
        finally:
            self._wanted.subtract(topics)
            self._settling(topics)

    async def close(self) -> None:
        """End the questions that are still asked: the queue goes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _settling(self, topics: Sequence[str]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._settle(topics))
        self._tasks.add(task)
        task.add_done_callback(self._settled)
        return task

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("binding_failed", str(error))

    async def _settle(self, topics: Sequence[str]) -> None:
        async with self._turn:
            for topic in topics:
                if self._wanted[topic] > 0 and topic not in self._bound:
                    await self._queue.bind(EVENTS_EXCHANGE, topic)
                    self._bound.add(topic)
                elif self._wanted[topic] <= 0 and topic in self._bound:
                    await self._queue.unbind(EVENTS_EXCHANGE, topic)
                    self._bound.discard(topic)
                if not self._wanted[topic]:
                    del self._wanted[topic]


class Hub:
    """Who listens to what, over one connection at a time."""

    def __init__(self) -> None:
        self._bindings: _Bindings | None = None
        self._listeners: dict[Listener, str | None] = {}
        """With the job that each listens to; None: to all."""
        self._lost = asyncio.Event()

    @asynccontextmanager
    async def attached(self, client: Client) -> AsyncGenerator[None]:
        """Hear from the broker over this connection."""
        lost = self._lost = asyncio.Event()
        try:
            async with client.channel() as channel:

                def on_close(*_closed: object) -> None:
                    lost.set()

                channel.close_callbacks.add(on_close)  # the broker may close it alone
                queue = await channel.declare_queue(
                    exclusive=True, auto_delete=True, arguments={"x-max-length": QUEUE_LENGTH}
                )
                await queue.consume(self._on_message, no_ack=True)
                bindings = self._bindings = _Bindings(queue)
                try:
                    yield
                finally:
                    self._bindings = None
                    self.release()
                    await bindings.close()
        except (AMQPError, ChannelInvalidStateError) as error:
            raise ClientError(f"events can't be followed ({error})") from None

    async def wait_lost(self) -> None:
        """Until no event can come over the connection any more."""
        await self._lost.wait()

    def release(self) -> None:
        """Let every listener go; they come back when the broker does."""
        for listener in self._listeners:
            listener.leave(Gone.LOST)

    @asynccontextmanager
    async def listening(self, job_id: str | None) -> AsyncGenerator[Listener]:
        """A listener to one job, or to all; from the entry of the block on nothing is missed."""
        if self._bindings is None:
            raise ClientError("the broker is away; events come again when it is back")
        listener = Listener()
        self._listeners[listener] = job_id
        try:
            async with self._bindings.wanted(ALL_JOBS if job_id is None else (f"job.{job_id}.#",)):
                yield listener
        except (AMQPError, ChannelInvalidStateError) as error:
            raise ClientError(f"events can't be followed ({error})") from None
        finally:
            del self._listeners[listener]

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
