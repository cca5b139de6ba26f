"""Event streams (server-sent events): one job from any point on without a gap, or everything as it happens.

An event of the stream is named after what it tells: `status`, `checkpoint`, `export`, `progress`, `log`, `gpu`,
`node`; its data is the CloudEvent (of lines that are read from the file: its type, subject and data). A durable one
has its sequence as `id`, so a reader that comes back with `Last-Event-ID` gets the ones between first. The last one
of a job is `end`. `lagged` (the reader did not keep up) and `lost` (no broker, the gateway stops, the token was
removed) ask it to come back.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Receive, Scope, Send

from daemon.client import ClientError, RefusedError, has_ended, history_after, rest_of_log
from daemon.gateway.access import Bus, Gate, JobId, Reader, Who, gate_of
from daemon.gateway.hub import Gone, Listener
from daemon.gateway.link import Link
from daemon.gateway.openapi import BUS, GATE, NAMED, answers
from schemas.events import (
    CHECKPOINT_TYPE,
    EXPORT_TYPE,
    GPU_TYPE,
    LOG_TYPE,
    PROGRESS_TYPE,
    STATUS_TYPE,
    CloudEvent,
    LogData,
)
from schemas.examples import EVENT_EXAMPLES

router = APIRouter(tags=["streams"])

KEEP_ALIVE_S = 15.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Stream(StreamingResponse):
    """A stream that ends when its reader may no longer read, and is counted off however it ends."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncGenerator[bytes], gate: Gate, who: Who, request: Request) -> None:
        self._content = _while_admitted(content, gate, who)
        super().__init__(self._content, headers=_HEADERS)
        self._close = gate.open_stream(who, request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._content.aclose()
            self._close()


async def _while_admitted(content: AsyncGenerator[bytes], gate: Gate, who: Who) -> AsyncGenerator[bytes]:
    async with aclosing(content):
        async for part in content:
            if not gate.still_admits(who):
                told = {"detail": "what let you in has changed: come back with a token"}
                yield format_sse_event(event=Gone.LOST, data_str=json.dumps(told))
                return
            yield part


def encoded(event: CloudEvent) -> bytes:
    """An event of the contract as one of the stream."""
    name = event.type.split(".")[-2]
    return format_sse_event(
        event=name,
        data_str=event.model_dump_json(exclude={"sequence"} if event.sequence is None else None),
        id=None if event.sequence is None or name == "node" else str(event.sequence),
    )


def _example(*types: str) -> str:
    told = [CloudEvent.model_validate(EVENT_EXAMPLES[each][0]) for each in types]
    return b"".join([KEEPALIVE_COMMENT, *map(encoded, told)]).decode()


@router.get(
    "/jobs/{job_id}/stream",
    response_class=Stream,
    status_code=200,  # FastAPI reads it off the class else
    responses=answers(_example(STATUS_TYPE, CHECKPOINT_TYPE, PROGRESS_TYPE), BUS, NAMED, media_type=Stream.media_type),
    summary="Follow a job",
)
async def job_stream(
    job_id: JobId,
    request: Request,
    who: Reader,
    link: Bus,
    gate: Annotated[Gate, Depends(gate_of)],
    after: Annotated[int, Query(ge=0, le=2**62, description="Begin behind this sequence number.")] = 0,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=2**62, description="The same, by a reader that is back.")
    ] = None,
    log: Annotated[bool, Query(description="With the lines of its log.")] = True,
    log_offset: Annotated[int | None, Query(ge=0, le=2**62, description="Byte offset to begin its log at.")] = None,
) -> Stream:
    """Its durable events so far and to come, its progress and its log, until it has ended, its export included."""
    await link.status(job_id)  # a job that is not there is a 404, not a stream
    following = _Following(link, job_id, last_event_id or after, log_offset, with_log=log)
    return Stream(following.events(), gate, who, request)


@router.get(
    "/events",
    response_class=Stream,
    status_code=200,  # FastAPI reads it off the class else
    responses=answers(_example(STATUS_TYPE, PROGRESS_TYPE, GPU_TYPE), GATE, media_type=Stream.media_type),
    summary="Follow everything",
)
async def all_stream(request: Request, who: Reader, link: Bus, gate: Annotated[Gate, Depends(gate_of)]) -> Stream:
    """What happens from now on to jobs, devices and nodes, without the lines of logs."""
    link.connected()  # an answer that says why, in place of a stream that ends at once
    return Stream(_everything(link), gate, who, request)


async def _everything(link: Link) -> AsyncGenerator[bytes]:
    try:
        async with link.listening(None) as listener:
            yield KEEPALIVE_COMMENT
            async for event in _heard(listener):
                yield KEEPALIVE_COMMENT if event is None else encoded(event)
        yield format_sse_event(event=listener.gone or Gone.LOST, data_str="{}")
    except ClientError as error:
        yield _lost(error)


async def _heard(listener: Listener) -> AsyncGenerator[CloudEvent | None]:
    """What a listener hears until it is gone; None after a while of silence."""
    while True:
        try:
            event = await asyncio.wait_for(listener.next(), KEEP_ALIVE_S)
        except TimeoutError:
            yield None
            continue
        if event is None:
            return
        yield event


class _Following:
    """One job, followed from a point on."""

    def __init__(self, link: Link, job_id: str, after: int, log_offset: int | None, *, with_log: bool) -> None:
        self._link = link
        self._job_id = job_id
        self._last = after
        self._offset = log_offset
        self._with_log = with_log

    async def events(self) -> AsyncGenerator[bytes]:
        """The stream's bytes."""
        try:
            async with self._link.listening(self._job_id) as listener:
                yield KEEPALIVE_COMMENT
                async for part in self._history():
                    yield part
                if self._with_log:
                    async for part in self._log_on():
                        yield part
                if await self._has_ended():
                    async for part in self._rest():
                        yield part
                    return
                async for event in _heard(listener):
                    async for part in self._told(event):
                        yield part
                    # after a silence too: a job that was deleted tells nothing more, and an event may be lost
                    if (event is None or event.type in {STATUS_TYPE, EXPORT_TYPE}) and await self._has_ended():
                        async for part in self._rest():
                            yield part
                        return
            yield format_sse_event(event=listener.gone or Gone.LOST, data_str="{}")
        except (ClientError, RefusedError) as error:
            yield _lost(error)

    async def _told(self, event: CloudEvent | None) -> AsyncGenerator[bytes]:
        """What an event adds to the stream."""
        if event is None:
            yield KEEPALIVE_COMMENT
        elif event.sequence is not None:
            if event.sequence == self._last + 1:
                self._last = event.sequence
                yield encoded(event)
            elif event.sequence > self._last:  # one before it was lost on its way here: the history has it
                async for part in self._history():
                    yield part
        elif event.type != LOG_TYPE:
            yield encoded(event)
        elif self._with_log:
            batch = LogData.model_validate(event.data)
            if self._offset is None:
                self._offset = batch.offset
            if self._offset == batch.offset and not batch.skipped_bytes:
                self._offset = batch.next_offset
                yield encoded(event)
            elif self._offset < batch.next_offset:  # the file has what is not in the batch
                async for part in self._log_on():
                    yield part

    async def _history(self) -> AsyncGenerator[bytes]:
        """The durable events that were not told yet."""
        async for event in history_after(self._link, self._job_id, self._last):
            self._last = event.sequence or self._last
            yield encoded(event)

    async def _log_on(self) -> AsyncGenerator[bytes]:
        """The lines of the log that were not told yet."""
        if self._offset is None:
            return
        async for page in rest_of_log(self._link, self._job_id, self._offset):
            self._offset = page.next_offset
            told = {"type": LOG_TYPE, "subject": self._job_id, "data": page.model_dump(exclude={"eof"})}
            yield format_sse_event(event="log", data_str=json.dumps(told))

    async def _has_ended(self) -> bool:
        return has_ended(await self._link.status(self._job_id))

    async def _rest(self) -> AsyncGenerator[bytes]:
        """What is left when the job has ended."""
        async for part in self._history():
            yield part
        if self._with_log:
            async for part in self._log_on():
                yield part
        yield format_sse_event(event="end", data_str=json.dumps({"sequence": self._last}))


def _lost(error: ClientError | RefusedError) -> bytes:
    return format_sse_event(event=Gone.LOST, data_str=json.dumps({"detail": str(error)}))
