"""Following a job: its progress, its log and its events, live or from the beginning."""

from collections.abc import Iterable
from contextlib import aclosing
from typing import Annotated

import typer
from rich.console import Console

from daemon.cli.ids import full_id
from daemon.cli.output import say, show_line
from daemon.cli.session import EXIT_REFUSED, AsJson, JobId, Url, run
from daemon.cli.watching import watch_job
from daemon.client import Client, ClientError, history_after
from schemas.events import CloudEvent

GONE = "the connection to the broker is gone; events may have been missed, `events JOB` has a job's durable ones"
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
            _show_lines((await client.logs(job_id, tail=tail)).lines, as_json=as_json)
            return
        async with aclosing(client.follow_log(job_id, tail=tail)) as pages:
            async for lines in pages:
                _show_lines(lines, as_json=as_json)

    run(url, act)


def _show_lines(lines: Iterable[str], *, as_json: bool) -> None:
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
    follow: Annotated[bool, typer.Option("--follow", "-f", help="of a job: go on until it has ended")] = False,
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
        found = client.watch(job_id, after=0, log=True) if follow else history_after(client, job_id, 0)
        async with aclosing(found) as told:
            async for event in told:
                _show_event(event)

    run(url, act)


def _show_event(event: CloudEvent) -> None:
    show_line(event.model_dump(mode="json", exclude={"sequence"} if event.sequence is None else None))
