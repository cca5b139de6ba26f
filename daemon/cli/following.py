"""Following a job: its progress, its log and its events, live or from the beginning."""

from collections.abc import AsyncIterator
from typing import Annotated

import typer
from rich.console import Console

from daemon.cli.ids import full_id
from daemon.cli.output import say, show_line
from daemon.cli.session import EXIT_REFUSED, AsJson, JobId, Url, run
from daemon.cli.watching import FINAL, watch_job
from daemon.client import Client, ClientError, Json
from schemas.events import LOG_TYPE, STATUS_TYPE, CloudEvent

HISTORY_PAGE = 1000
GONE = "the connection to the broker is gone; events may have been missed, `events JOB` has the durable ones"
PATTERN_MARKS = ".*#"


def watch(job: JobId, *, as_json: AsJson = False, url: Url = None) -> None:
    """Follow a job with a progress bar until it has ended, its export included.

    With --json its events, one line each. Exits with 1 when the job, or its export, did not complete.
    """

    async def act(client: Client) -> None:
        await follow_to_the_end(client, await full_id(client, job), as_json=as_json)

    run(url, act)


async def follow_to_the_end(client: Client, job_id: str, *, as_json: bool) -> None:
    """Watch a job; ends the program with 1 where it did not complete."""
    shown = Console(quiet=True) if as_json else Console()
    if not await watch_job(client, job_id, shown, tell=_show_event if as_json else None):
        raise typer.Exit(EXIT_REFUSED)


def logs(
    job: JobId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until the job has ended")] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=1, max=10_000, help="last lines to begin with")] = 100,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Print the last lines of a job's log; with --json one line {"line": ...} each."""

    async def act(client: Client) -> None:
        job_id = await full_id(client, job)
        if not follow:
            _show_lines((await client.call("job.logs", {"job_id": job_id, "tail": tail}))["lines"], as_json=as_json)
            return
        async with client.events(f"job.{job_id}.#") as events:
            await _follow_log(client, job_id, tail, events, as_json=as_json)

    run(url, act)


async def _follow_log(
    client: Client, job_id: str, tail: int, events: AsyncIterator[CloudEvent], *, as_json: bool
) -> None:
    """An event says that there is more; the file has it, so nothing is missed and nothing comes twice."""
    ended = (await client.call("job.status", {"job_id": job_id}))["status"] in FINAL
    found = await client.call("job.logs", {"job_id": job_id, "tail": tail})
    _show_lines(found["lines"], as_json=as_json)
    offset: int = found["next_offset"]
    while not ended:
        event = await anext(events, None)
        if event is None:
            raise ClientError("the connection to the broker is gone; the job goes on, follow it again")
        ended = event.type == STATUS_TYPE and event.data["status"] in FINAL
        if event.type == LOG_TYPE or ended:
            offset = await _show_rest(client, job_id, offset, as_json=as_json)


async def _show_rest(client: Client, job_id: str, offset: int, *, as_json: bool) -> int:
    """Print what the file has from an offset on; where to read on."""
    while True:
        found = await client.call("job.logs", {"job_id": job_id, "offset": offset})
        _show_lines(found["lines"], as_json=as_json)
        if found["eof"] or found["next_offset"] <= offset:
            return max(offset, found["next_offset"])
        offset = found["next_offset"]


def _show_lines(lines: list[str], *, as_json: bool) -> None:
    for line in lines:
        if as_json:
            show_line({"line": line})
        else:
            say(line)


def events(
    what: Annotated[
        str, typer.Argument(help="a job (its history), or a topic pattern to follow: * is one word, # any number")
    ] = "#",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="of a job: go on after its history")] = False,
    url: Url = None,
) -> None:
    """Print events, one JSON line each: a job's durable ones so far, or all that match a pattern as they come."""

    async def act(client: Client) -> None:
        if any(mark in what for mark in PATTERN_MARKS):
            async with client.events(what) as found:
                async for event in found:
                    _show_event(event)
            raise ClientError(GONE)
        job_id = await full_id(client, what)
        if not follow:
            await _show_history(client, job_id)
            return
        async with client.events(f"job.{job_id}.#") as found:
            last = await _show_history(client, job_id)
            async for event in found:
                if event.sequence is None or event.sequence > last:
                    _show_event(event)
        raise ClientError(GONE)

    run(url, act)


async def _show_history(client: Client, job_id: str) -> int:
    """Print the durable events of a job; the last one's number."""
    last = 0
    while True:
        found: list[Json] = (await client.call("job.events", {"job_id": job_id, "after": last, "limit": HISTORY_PAGE}))[
            "events"
        ]
        for event in found:
            show_line(event)
            last = event["sequence"]
        if len(found) < HISTORY_PAGE:
            return last


def _show_event(event: CloudEvent) -> None:
    show_line(event.model_dump(mode="json", exclude_none=True))
