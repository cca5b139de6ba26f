"""The notifier's queue: events wait in it while the notifier is away, and each is acknowledged when it was taken.

The queue is durable and bounded: it keeps the newest 100,000 events or 256 MiB, and the oldest go first. The connection
is opened anew after every break, with a wait that grows and is jittered. That the consumer is really there is asked of
the broker now and then.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelPreconditionFailed
from pamqp.common import Arguments

from daemon.adapters.rabbit_errors import talking
from daemon.client import Client, ClientError
from daemon.logs import get_log
from daemon.notifier.events import BINDINGS
from daemon.ports import Clock, UnavailableError
from schemas.commands import EVENTS_EXCHANGE

log = get_log("notifier")

QUEUE = "swift.notifications"
MOST_EVENTS, MOST_BYTES = 100_000, 256 * 1024 * 1024
ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    "x-max-length": MOST_EVENTS,
    "x-max-length-bytes": MOST_BYTES,
    "x-overflow": "drop-head",
    "x-delivery-limit": 1000,
}
PREFETCH = 32
CHECK_S = 30.0
CALL_LIMIT_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0

Take = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Broker:
    """Where events come from."""

    url: str
    ca_file: str | None = None
    queue: str = QUEUE

    def client(self) -> Client:
        """A client, not connected yet."""
        return Client(self.url, ca_file=self.ca_file, name="swift-trainer notifier")


class Listener:
    """Takes events for as long as it runs."""

    def __init__(self, broker: Broker, take: Take, clock: Clock, chance: Callable[[], float]) -> None:
        self._broker = broker
        self._take = take
        self._clock = clock
        self._chance = chance
        self._pause_s = FIRST_PAUSE_S

    async def run(self) -> None:
        """Connect, take events, connect anew; until cancelled."""
        while True:
            reason = await self._session()
            pause_s = self._pause_s * (0.5 + self._chance())
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            log.warning("broker_away", reason, retry_in_s=round(pause_s, 2))
            await self._clock.sleep(pause_s)

    async def _session(self) -> str:
        """One connection's life; why it ended."""
        try:
            async with self._broker.client() as client:
                with talking("taking events", hint="did swift-trainerd ever run on this broker?"):
                    async with client.channel() as channel:
                        await self._consume(client, channel, await have_queue(client, channel, self._broker.queue))
        except (ClientError, UnavailableError) as error:
            return str(error)
        return "the session ended"

    async def _consume(self, client: Client, channel: AbstractChannel, queue: AbstractQueue) -> None:
        """Take events until the session breaks. Raises `UnavailableError`, and aio-pika's errors."""
        arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()

        async def arrive(message: AbstractIncomingMessage) -> None:
            arrived.put_nowait(message)  # bounded by the prefetch

        def end(*_: object) -> None:
            arrived.put_nowait(None)

        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(end)
        channel.close_callbacks.add(end)
        await channel.set_qos(prefetch_count=PREFETCH, timeout=CALL_LIMIT_S)
        await queue.consume(arrive, timeout=CALL_LIMIT_S)
        self._pause_s = FIRST_PAUSE_S
        log.info("listening", "taking events", queue=queue.name)
        while True:
            try:
                async with asyncio.timeout(CHECK_S):
                    message = await arrived.get()
            except TimeoutError:
                await check_consumer(client, queue.name)
                continue
            if message is None:
                raise UnavailableError("the broker closed the channel or ended our consumer; was the queue deleted?")
            await self._take(message.body)
            await message.ack()


async def have_queue(client: Client, channel: AbstractChannel, name: str) -> AbstractQueue:
    """The notifier's queue, bound. One that somebody made with other arguments is used as it is, and that is said."""
    try:
        async with client.channel() as trial:  # the broker closes the channel of a refused declaration
            await trial.declare_queue(name, durable=True, arguments=ARGUMENTS, timeout=CALL_LIMIT_S)
    except ChannelPreconditionFailed as error:
        log.warning("queue_differs", f"the queue {name} was made with other arguments and is used as it is: {error}")
    queue = await channel.get_queue(name, ensure=False)
    for binding in BINDINGS:
        await queue.bind(EVENTS_EXCHANGE, binding, timeout=CALL_LIMIT_S)
    return queue


async def check_consumer(client: Client, name: str) -> None:
    """Raises `UnavailableError` where the broker does not answer, or counts no consumer on the queue."""
    async with asyncio.timeout(CALL_LIMIT_S), client.channel() as channel:
        found = await channel.declare_queue(name, passive=True)
    if not found.declaration_result.consumer_count:
        raise UnavailableError("the broker counts no consumer on our queue")


@asynccontextmanager
async def live_events(client: Client) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The same events as they come, from a queue that goes with the connection. Raises `UnavailableError`."""
    with talking("subscribing", hint="did swift-trainerd ever run on this broker?"):
        async with client.channel() as channel:
            queue = await channel.declare_queue(
                exclusive=True, auto_delete=True, arguments={"x-max-length": MOST_EVENTS}, timeout=CALL_LIMIT_S
            )
            for binding in BINDINGS:
                await queue.bind(EVENTS_EXCHANGE, binding, timeout=CALL_LIMIT_S)
            async with queue.iterator(no_ack=True) as messages:
                yield (message.body async for message in messages)
