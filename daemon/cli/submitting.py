"""Submitting jobs from files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.following import follow_to_the_end
from daemon.cli.job_file import JobFile, JobFileError, check, read_job
from daemon.cli.jobs import show_accepted
from daemon.cli.output import safe
from daemon.cli.session import (
    EXIT_REFUSED,
    EXIT_USAGE,
    AsJson,
    Url,
    fail,
    for_programs,
    refusal_fields,
    run,
    show_error,
)
from daemon.client import Client, RefusedError


def submit(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="YAML or JSON with the fields of a create request; - for stdin"),
    ],
    *,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="name=value over the file's, with dots: labels.team=vision")
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="queue it at once")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="queue it and follow it to its end")] = False,
    message_id: Annotated[str | None, typer.Option(help="the same id again makes no second job")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Create a job from each file. Paths in it are the daemon's, relative ones below its work folder.

    All files are read before the first job is created. What the request's schema refuses is not sent. Of a file that is
    refused each fault is told with its line, the others are created, and the exit code is 1.
    """
    if message_id is not None and len(files) > 1:
        fail("--message-id names one job; give one file with it", EXIT_USAGE)
    jobs = {file: _read(file, settings or []) for file in files}

    async def act(client: Client) -> None:
        created: list[str] = []
        for file, job in jobs.items():
            body = {**job.request, "start": True} if start or watch else job.request
            try:
                check(body)
                result = await client.call("job.create", body, message_id=message_id)
            except RefusedError as error:
                _tell_faults(file, job, error)
                continue
            created.append(result["job_id"])
            show_accepted(result, as_json=as_json, alone=len(jobs) == 1 and not watch)
        if watch and created:
            await follow_to_the_end(client, created, as_json=as_json)
        if len(created) < len(jobs):
            raise typer.Exit(EXIT_REFUSED)

    run(url, act)


def _read(file: str, settings: list[str]) -> JobFile:
    """The job of a file; a mistake is told and ends the program."""
    name = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return read_job(text, settings)
    except OSError as error:
        fail(f"can't read {name}: {error.strerror}", EXIT_USAGE)
    except UnicodeDecodeError:
        fail(f"{name} is not UTF-8 text", EXIT_USAGE)
    except (JobFileError, ValueError) as error:  # ValueError: a NUL in the name
        fail(f"{name}: {error}", EXIT_USAGE)


def _tell_faults(file: str, job: JobFile, error: RefusedError) -> None:
    """Say all that is wrong with a file, each fault with its line."""
    name = "stdin" if file == "-" else file
    faults = sorted(((job.line_of(fault.loc) or 0, fault) for fault in error.details), key=lambda one: one[0])
    if for_programs():
        details = [{**fault.model_dump(mode="json"), "line": line or None} for line, fault in faults]
        show_error({**refusal_fields(error), "file": name, **({"details": details} if details else {})})
        return
    for line, fault in faults:
        typer.echo(safe(f"{name}:{line}: {job.said_of(fault)}" if line else f"{name}: {job.said_of(fault)}"), err=True)
    number = len(error.details)
    counted = f"{error.code}: {'one fault' if number == 1 else f'{number} faults'}"
    typer.echo(safe(f"swift-trainer: {name}: {counted if number else error}; no job was created"), err=True)
