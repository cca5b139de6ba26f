"""Submitting a job from a file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.following import follow_to_the_end
from daemon.cli.job_file import JobFileError, read_request
from daemon.cli.jobs import show_accepted
from daemon.cli.session import EXIT_USAGE, AsJson, Url, fail, run
from daemon.client import Client


def submit(
    file: Annotated[str, typer.Argument(help="YAML or JSON with the fields of a create request, or - for stdin")],
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
    """Create a job from a file. Paths in it are the daemon's, relative ones below its work folder."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        request = read_request(text, settings or [])
    except OSError as error:
        fail(f"can't read {file}: {error.strerror}", EXIT_USAGE)
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8 text", EXIT_USAGE)
    except JobFileError as error:
        fail(f"{file}: {error}", EXIT_USAGE)
    if start or watch:
        request["start"] = True

    async def act(client: Client) -> None:
        result = await client.call("job.create", request, message_id=message_id)
        show_accepted(result, as_json=as_json)
        if watch:
            await follow_to_the_end(client, result["job_id"], as_json=as_json)

    run(url, act)
