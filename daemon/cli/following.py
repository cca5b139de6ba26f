"""Following a job: its progress, its log and its events, live or from the beginning."""

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Annotated

import typer
from rich.console import Console

from daemon.cli.board import Wanted
from daemon.cli.completing import job_ids
from daemon.cli.ids import full_id
from daemon.cli.job_view import JobView
from daemon.cli.output import cell_text, say, show_line
from daemon.cli.session import EXIT_REFUSED, EXIT_USAGE, AsJson, JobId, Url, fail, run
from daemon.cli.watching import watch_job
from daemon.cli.watching_all import watch_all
from daemon.client import Client, ClientError, history_after
from schemas.enums import TrainingStatus
from schemas.events import CloudEvent

GONE = "the connection to the broker is gone; events may have been missed, `events JOB` has a job's durable ones"
PATTERN_MARKS = ".*#"
_EMPTY: tuple[object, ...] = (None, "", [], {})
_TOLD_ELSEWHERE = ("job_id", "training_type", "owner", "labels", "node_id")
"""What says the same in every event of a subject; `--json` has it."""


def watch(
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="[JOB]",
            help="a job's id or its beginning; without it, all that are unfinished",
            autocompletion=job_ids,
        ),
    ] = None,
    *,
    owner: Annotated[str | None, typer.Option(help="without JOB: only jobs of this AMQP user")] = None,
    label: Annotated[str | None, typer.Option(help="without JOB: only with this label, name or name=value")] = None,
    status: Annotated[
        list[TrainingStatus] | None, typer.Option("--status", "-s", help="without JOB: only these; repeat it")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Follow a job with a progress bar until it has ended, its export included; or all unfinished jobs, until Ctrl-C.

    With --json the events, one line each. Exits with 1 when the job, or its export, did not complete.
    """
    wanted = Wanted(owner, label, status or ())
    if job is not None and wanted != Wanted():
        fail("--owner, --label and --status choose among all jobs; leave them out with JOB", EXIT_USAGE)

    async def act(client: Client) -> None:
        if job is None:
            await watch_all(client, wanted, _shown(as_json), tell=show_event_line if as_json else None)
        else:
            await follow_to_the_end(client, [await full_id(client, job)], as_json=as_json)

    run(url, act)


async def follow_to_the_end(client: Client, job_ids: Sequence[str], *, as_json: bool) -> None:
    """Watch jobs until all have ended; ends the program with 1 where one did not complete."""
    if len(job_ids) == 1:
        succeeded = (await follow_job(client, job_ids[0], as_json=as_json)).succeeded
    else:
        wanted = Wanted(job_ids=frozenset(job_ids))
        board = await watch_all(client, wanted, _shown(as_json), tell=show_event_line if as_json else None)
        succeeded = board.all_succeeded
    if not succeeded:
        raise typer.Exit(EXIT_REFUSED)


async def follow_job(client: Client, job_id: str, *, as_json: bool) -> JobView:
    """Watch a job to its end; how it ended."""
    return await watch_job(client, job_id, _shown(as_json), tell=show_event_line if as_json else None)


def _shown(as_json: bool) -> Console:
    return Console(quiet=True) if as_json else Console()


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
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Print events: a job's durable ones so far, or all that match a pattern as they come.

    With --json the whole CloudEvents, one line each.
    """
    show = show_event_line if as_json else _show_event

    async def act(client: Client) -> None:
        if any(mark in what for mark in PATTERN_MARKS):
            async with client.events(what) as found:
                async for event in found:
                    show(event)
            raise ClientError(GONE)
        job_id = await full_id(client, what)
        found = client.watch(job_id, after=0, log=True) if follow else history_after(client, job_id, 0)
        async with aclosing(found) as told:
            async for event in told:
                show(event)

    run(url, act)


def show_event_line(event: CloudEvent) -> None:
    """Print an event for a program."""
    show_line(event.model_dump(mode="json", exclude={"sequence"} if event.sequence is None else None))


def _show_event(event: CloudEvent) -> None:
    """Print an event for a person: when, of what, which, and what it says."""
    kind = event.type.removeprefix("swift.").removesuffix(".v1")
    said = {name: value for name, value in event.data.items() if value not in _EMPTY and name not in _TOLD_ELSEWHERE}
    say(f"{event.time:%H:%M:%S} {event.subject} {kind} {cell_text(said)}")
