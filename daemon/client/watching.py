"""Following one job so that nothing is missed and nothing comes twice, whatever becomes of subscriptions.

Durable events are numbered per job: a known number is dropped, a gap is read from the job's history, and a new
subscription begins with what came meanwhile. A job has ended for good when its document says so and no export of it is
under way (an automatic one is queued in the same write as the completion); what the history then still has is the rest.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from enum import Enum

from daemon.client.commands import Commands, JobRef
from daemon.core.lifecycle import ENDED, EXPORT_UNDER_WAY
from schemas.events import EXPORT_TYPE, LOG_TYPE, STATUS_TYPE, CloudEvent
from schemas.replies import JobLogs, JobStatus

HISTORY_PAGE = 1000
LOOK_AGAIN_S = 30.0
"""A look at the job behind each wait for an event, in case that none comes any more."""


class Sign(Enum):
    """In place of an event."""

    LOOK = "none came for a while"
    GONE = "the subscription has ended"


def has_ended(job: JobStatus) -> bool:
    """Whether nothing more will come of a job by itself."""
    return job.status in ENDED and job.export_status not in EXPORT_UNDER_WAY


async def history_after(client: Commands, job_id: str, after: int) -> AsyncGenerator[CloudEvent]:
    """All durable events of a job so far with a higher number."""
    while True:
        page = (await client.history(job_id, after=after, limit=HISTORY_PAGE)).events
        for event in page:
            after = event.sequence or after
            yield event
        if len(page) < HISTORY_PAGE:
            return


async def newest_sequence(client: Commands, job_id: str) -> int:
    """The number of the newest durable event; 0 where there is none."""
    newest = 0
    async for event in history_after(client, job_id, 0):
        newest = event.sequence or newest
    return newest


async def rest_of_log(client: Commands, job: JobRef, offset: int) -> AsyncGenerator[JobLogs]:
    """What a job's log has now from an offset on."""
    while True:
        page = await client.logs(job, offset=offset)
        if page.lines:
            yield page
        if page.eof or page.next_offset <= offset:
            return
        offset = page.next_offset


class Watch:
    """How far one watch of a job has come; it outlives the subscriptions that it is fed from."""

    def __init__(self, client: Commands, job_id: str, after: int | None, *, log: bool) -> None:
        self._client = client
        self._job_id = job_id
        self._after = after
        self._log = log
        self.binding = f"job.{job_id}.#"
        self.ended = False

    async def take(self, live: AsyncIterator[CloudEvent]) -> AsyncGenerator[CloudEvent]:
        """What comes while a subscription stands, first what came before it; sets `ended` when there is no more."""
        async for event in self._caught_up():
            yield event
        async with aclosing(with_looks(live, LOOK_AGAIN_S)) as coming:
            while not self.ended:
                event = await anext(coming, Sign.GONE)
                if event is Sign.GONE:
                    return
                if event is Sign.LOOK or self._is_behind(event):
                    async for missed in self._caught_up():
                        yield missed
                if event is not Sign.LOOK and self._is_new(event):
                    yield event
                    if _may_be_the_end(event):
                        async for last in self._caught_up():
                            yield last

    async def _caught_up(self) -> AsyncGenerator[CloudEvent]:
        """What the history has by now. The job is looked at first: all that led to where it stands is then there."""
        if self._after is None:
            self._after = await newest_sequence(self._client, self._job_id)
        ended = has_ended(await self._client.status(self._job_id))
        async for event in history_after(self._client, self._job_id, self._after):
            if self._is_new(event):
                yield event
        self.ended = ended

    def _is_behind(self, event: CloudEvent) -> bool:
        """Whether durable events before this one are missing."""
        return event.sequence is not None and event.sequence > (self._after or 0) + 1

    def _is_new(self, event: CloudEvent) -> bool:
        """Whether an event is to be told; a durable one is then known."""
        if event.sequence is None:
            return self._log or event.type != LOG_TYPE
        if event.sequence <= (self._after or 0):
            return False
        self._after = event.sequence
        return True


def _may_be_the_end(event: CloudEvent) -> bool:
    """Whether it is worth a look at the document."""
    if event.type == STATUS_TYPE:
        return event.data.get("status") in ENDED
    return event.type == EXPORT_TYPE and event.data.get("export_status") not in EXPORT_UNDER_WAY


async def with_looks(live: AsyncIterator[CloudEvent], look_after_s: float) -> AsyncGenerator[CloudEvent | Sign]:
    """The events, and `Sign.LOOK` where none came for so long; ends with the subscription."""
    while True:
        coming = asyncio.ensure_future(anext(live, Sign.GONE))
        try:
            while not (await asyncio.wait({coming}, timeout=look_after_s))[0]:
                yield Sign.LOOK
        finally:
            coming.cancel()
        event = await coming
        if event is Sign.GONE:
            return
        yield event
