"""The client that programs use: every command typed, jobs followed over outages.

Two layers, told apart by what a lost connection does. `call`, `events`, `channel` and `wait_lost` are those of one
connection and end with it. The typed methods, `watch`, `wait` and `follow_log` connect again and go on, for at most
`patience_s`; what they send again carries the same `message_id`, so nothing happens twice.
"""

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Self

from aio_pika.abc import AbstractChannel

from daemon.client.commands import Commands, JobRef, id_of
from daemon.client.connection import CALL_LIMIT_S, Connection, Json
from daemon.client.errors import BrokerAwayError, ClientError, RefusedError
from daemon.client.watching import Watch, newest_sequence, rest_of_log
from daemon.core.lifecycle import ENDED
from schemas.enums import ReplyErrorCode
from schemas.events import LOG_TYPE, STATUS_TYPE, CloudEvent
from schemas.jobs import TrainingJob

PATIENCE_S = 300.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


class Client(Commands):
    """A client of the bus; entering it connects, and raises `ClientError` where the broker does not answer.

    `patience_s` is how long an outage may last before the typed methods give up. While `signed`, what names no `owner`
    carries the URL's user as AMQP's `user_id`, so that its jobs are that user's.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | None = None,
        name: str = "swift-trainer client",
        patience_s: float = PATIENCE_S,
        signed: bool = True,
    ) -> None:
        self._connect: Callable[[], Connection] = lambda: Connection(url, ca_file=ca_file, name=name, signed=signed)
        self._connection = self._connect()
        self._connecting = asyncio.Lock()
        self._patience_s = patience_s

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connection.__aexit__(*error)

    # ------------------------------------------------------------ one connection

    async def call(
        self,
        command: str,
        body: Mapping[str, object] | None = None,
        *,
        message_id: str | None = None,
        owner: str | None = None,
        timeout_s: float = CALL_LIMIT_S,
    ) -> Json:
        """Send a command over the connection that there is, and wait for its result.

        `message_id` makes it idempotent: give the same one when you send a command again because no answer came. A
        command that nobody took within `timeout_s` expires. `owner`, in place of the URL's user, goes into the property
        `user_id`, which RabbitMQ checks: it is the connection's own user, or the connection's user has the tag
        `impersonator`. Raises `RefusedError` and `ClientError` (`BrokerAwayError` where the connection is gone).
        """
        return await self._connection.call(
            command, body or {}, message_id=message_id or uuid.uuid4().hex, owner=owner, timeout_s=timeout_s
        )

    def events(self, *bindings: str) -> AbstractAsyncContextManager[AsyncIterator[CloudEvent]]:
        """Events whose routing key matches one of `bindings` (none given: all), from the entry of the block on.

        They end with the connection. An event that can't be read is skipped, logged and counted (`unreadable`). Raises
        `ClientError`.
        """
        return self._connection.events(*bindings or ("#",))

    def channel(self) -> AbstractAsyncContextManager[AbstractChannel]:
        """A channel of its own with publisher confirms, for who works on a queue; raises aio-pika's errors."""
        return self._connection.channel()

    async def wait_lost(self) -> None:
        """Until no command can be sent any more: the connection is gone, or the broker closed our channel."""
        await self._connection.wait_lost()

    @property
    def unreadable(self) -> int:
        """Events of the present connection that could not be read."""
        return self._connection.unreadable

    # ------------------------------------------------------------ over outages

    async def reconnect(self) -> None:
        """Replace the connection where it is lost; nothing where it stands. Raises `BrokerAwayError`."""
        async with self._connecting:
            if not self._connection.lost:
                return
            await self._connection.__aexit__()
            fresh = self._connect()
            await fresh.__aenter__()
            self._connection = fresh

    async def send(
        self, command: str, body: Mapping[str, object], *, message_id: str | None = None, owner: str | None = None
    ) -> Json:
        """As `call`, again over a new connection where the old one is lost, with the same `message_id`."""
        message_id = message_id or uuid.uuid4().hex
        outage = Outage(self._patience_s)
        while True:
            try:
                await self.reconnect()
                return await self.call(command, body, message_id=message_id, owner=owner)
            except BrokerAwayError as error:
                await outage.pause(error)

    async def newest_sequence(self, job: JobRef) -> int:
        """The number of a job's newest durable event: a `watch` after it misses nothing of what comes next."""
        return await newest_sequence(self, id_of(job))

    async def watch(self, job: JobRef, *, after: int | None = None, log: bool = False) -> AsyncGenerator[CloudEvent]:
        """A job's events until it has ended and no export of it is under way, over outages of broker and daemon.

        Durable events come each once and in order, from the one behind `after` on (0: from the beginning; None: from
        now); what a broken subscription missed is read from the job's history. Progress comes live, with `log` the
        log's lines too; those that fell into an outage are in `metrics` and `logs`. A job that has ended yields what
        is behind `after` and no more. Raises `RefusedError` (`not_found`), and `ClientError` after `patience_s`
        without an answer.
        """
        watch = Watch(self, id_of(job), after, log=log)
        outage = Outage(self._patience_s)
        while not watch.ended:
            async with outage.borne():
                await self.reconnect()
                async with self.events(watch.binding) as live, aclosing(watch.take(live)) as events:
                    async for event in events:
                        outage.over()
                        yield event
                if not watch.ended:
                    raise BrokerAwayError("the connection to the broker went; the job goes on")

    async def wait(self, job: JobRef) -> TrainingJob:
        """Until a job has ended, its automatic export included; its document then. Raises as `watch`."""
        async with aclosing(self.watch(job)) as events:
            async for _ in events:
                pass
        return await self.get(job)

    async def follow_log(self, job: JobRef, *, tail: int = 100) -> AsyncGenerator[tuple[str, ...]]:
        """Lines of a job's log: the last `tail`, then those that are written, each once, until the training has ended.

        An event says that there is more; the file has it. Raises as `watch`.
        """
        after = await self.newest_sequence(job)
        ended = (await self.status(job)).status in ENDED
        found = await self.logs(job, tail=tail)
        yield found.lines
        offset = found.next_offset
        if ended:
            return
        async with aclosing(self.watch(job, after=after, log=True)) as events:
            async for event in events:
                ended = event.type == STATUS_TYPE and event.data["status"] in ENDED
                if event.type == LOG_TYPE or ended:
                    async with aclosing(rest_of_log(self, job, offset)) as pages:
                        async for page in pages:
                            offset = page.next_offset
                            yield page.lines
                if ended:
                    return


class Outage:
    """Growing, jittered pauses between attempts, as long as patience lasts."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.over()

    def over(self) -> None:
        """It answers: what fails from now on is another outage."""
        self._ends = asyncio.get_running_loop().time() + self._patience_s
        self._pause_s = FIRST_PAUSE_S

    @asynccontextmanager
    async def borne(self) -> AsyncGenerator[None]:
        """Where somebody is away within the block, wait instead, for the next attempt; another refusal is raised."""
        try:
            yield
        except ClientError as error:
            await self.pause(error)
        except RefusedError as error:
            if error.code is not ReplyErrorCode.UNAVAILABLE:
                raise
            await self.pause(error)

    async def pause(self, error: ClientError | RefusedError) -> None:
        """Wait before the next attempt; raises `error` where patience is at its end."""
        if asyncio.get_running_loop().time() >= self._ends:
            raise error
        await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # not for secrets
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
