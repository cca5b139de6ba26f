"""All unfinished jobs live: new ones appear, ended ones stay a while and are counted.

First the subscription, then the listing, so that nothing falls between. The listing is read again after an outage, and
now and then behind the events: a deletion, for one, is told by none. Whether a job has ended, its
document alone says: an automatic export is queued in the same write as the completion, and told of in a later event.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from rich.console import Console

from daemon.cli.board import UNFINISHED, Board, Wanted
from daemon.cli.drawing import BoardDrawing
from daemon.cli.job_view import JobView, line_of, view_of
from daemon.cli.tables import short_id
from daemon.cli.watching import redrawn, say_on, with_curve
from daemon.client import BrokerAwayError, Client, RefusedError
from daemon.client.client import PATIENCE_S, Outage
from daemon.client.watching import Sign, with_looks
from daemon.core.lifecycle import ENDED, HOLDS_DEVICES
from schemas.enums import ReplyErrorCode, TrainingStatus
from schemas.events import CloudEvent
from schemas.jobs import TrainingJob

BINDINGS = ("job.*.status.*", "job.*.export.*", "job.*.progress")
PAGE = 100
MAX_PAGES = 20
"""2,000 unfinished jobs are read, those that hold devices first."""
LIST_AGAIN_S = 30.0
_ACTIVE = [status for status in UNFINISHED if status in HOLDS_DEVICES]
_WAITING = [status for status in UNFINISHED if status not in HOLDS_DEVICES]


async def watch_all(
    client: Client, wanted: Wanted, console: Console, tell: Callable[[CloudEvent], None] | None = None
) -> Board:
    """Watch until all of `wanted.job_ids` have ended; without them, until it is interrupted.

    `tell` gets each event of a watched job. Raises `ClientError` where an outage does not end.
    """
    watch = _Watch(client, wanted, console, tell)
    async with redrawn(console, watch.drawing) as animated:
        watch.animated = animated
        await watch.follow()
    return watch.board


class _Watch:
    """One board, over the subscriptions that it is fed from."""

    def __init__(
        self, client: Client, wanted: Wanted, console: Console, tell: Callable[[CloudEvent], None] | None
    ) -> None:
        self._client = client
        self._wanted = wanted
        self._console = console
        self._tell = tell
        self.board = Board(wanted)
        self.animated = False

    def drawing(self) -> BoardDrawing:
        """As it is now."""
        self.board.age(_now_s())
        return BoardDrawing(self.board.shown(), self.board.tally())

    async def follow(self) -> None:
        """Take events, over outages."""
        outage = Outage(PATIENCE_S)
        while True:
            async with outage.borne():
                await self._client.reconnect()
                async with self._client.events(*BINDINGS) as live:
                    await self._list()
                    outage.over()
                    if await self._take_all(live):
                        return
                raise BrokerAwayError("the connection to the broker went; the jobs go on")

    async def _take_all(self, live: AsyncIterator[CloudEvent]) -> bool:
        """Take events until there is no more to wait for (True) or the subscription ends (False)."""
        list_at_s = _now_s() + LIST_AGAIN_S
        async with aclosing(with_looks(live, LIST_AGAIN_S)) as coming:
            while not self._all_ended():
                event = await anext(coming, Sign.GONE)
                if event is Sign.GONE:
                    return False
                if event is Sign.LOOK or _now_s() > list_at_s:
                    await self._list()
                    list_at_s = _now_s() + LIST_AGAIN_S
                if event is not Sign.LOOK:
                    await self._take(event)
        return True

    def _all_ended(self) -> bool:
        return bool(self._wanted.job_ids) and self.board.ended_of(self._wanted.job_ids)

    async def _take(self, event: CloudEvent) -> None:
        labels = event.data.get("labels")
        if not isinstance(labels, dict):
            return
        if not self._wanted.admits(event.subject, event.data.get("owner"), labels):  # pyright: ignore[reportUnknownArgumentType]
            return
        known = self.board.views.get(event.subject)
        view = await self._get(event.subject) if known is None else known.after(event)
        if view is None:
            return
        if self._wanted.shows(view):
            self._show(event, view)
        durable = event.sequence is not None
        if known is not None and durable and (known.status in ENDED or view.status in ENDED):
            view = await self._get(event.subject) or view
        self.board.put(view, _now_s())

    def _show(self, event: CloudEvent, view: JobView) -> None:
        if self._tell is not None:
            self._tell(event)
        line = None if self.animated else line_of(event)
        if line is not None:
            say_on(self._console, f"{short_id(view.job_id)} {line}")

    async def _list(self) -> None:
        """Read what is unfinished now, and look at those that the board alone has."""
        if self._wanted.job_ids:
            found = {job_id: view for job_id in self._wanted.job_ids if (view := await self._get(job_id)) is not None}
        else:
            found = {job.id: await with_curve(self._client, job) for job in await self._unfinished(_ACTIVE)}
            found |= {job.id: view_of(job) for job in await self._unfinished(_WAITING) if job.id not in found}
        for job_id in self.board.unfinished() - set(found):
            view = await self._get(job_id)
            if view is None:
                self.board.drop(job_id)
            else:
                found[job_id] = view
        for view in found.values():
            self.board.put(view, _now_s())

    async def _unfinished(self, statuses: list[TrainingStatus]) -> list[TrainingJob]:
        found: list[TrainingJob] = []
        for page in range(1, MAX_PAGES + 1):
            answer = await self._client.jobs(
                status=statuses, owner=self._wanted.owner, label=self._wanted.label, page=page, size=PAGE
            )
            found += answer.jobs
            if page * PAGE >= answer.total:
                break
        return found

    async def _get(self, job_id: str) -> JobView | None:
        """A job with its curve; None where there is none, by now."""
        try:
            return await with_curve(self._client, await self._client.get(job_id))
        except RefusedError as error:
            if error.code is not ReplyErrorCode.NOT_FOUND:
                raise
            return None


def _now_s() -> float:
    return asyncio.get_running_loop().time()
