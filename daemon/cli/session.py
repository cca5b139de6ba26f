"""What every command needs around it: a connection, one line for what goes wrong, and an exit code for scripts."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from daemon.cli.completing import job_ids
from daemon.cli.output import json_text, safe
from daemon.client import Client, ClientError, RefusedError
from daemon.settings import Settings, setting_faults

T = TypeVar("T")
EXIT_REFUSED, EXIT_USAGE, EXIT_NO_ANSWER, EXIT_INTERRUPTED = 1, 2, 3, 130

Url = Annotated[str | None, typer.Option("--url", help="AMQP URL, in place of SWIFT_TRAINER_AMQP_URL")]
AsJson = Annotated[
    bool, typer.Option("--json", help="for programs: one JSON document, or one JSON line an item; errors too")
]
JobId = Annotated[
    str,
    typer.Argument(metavar="JOB", help="a job's id, or as much of its beginning as is unique", autocompletion=job_ids),
]


def run(url: str | None, act: Callable[[Client], Awaitable[None]]) -> None:
    """Connect, act, and turn what goes wrong into one line and an exit code."""

    async def connected() -> None:
        async with client_of(url) as client:
            await act(client)

    finish(connected())


def client_of(url: str | None) -> Client:
    """A client of the broker that is meant; a bad setting is told and ends the program."""
    settings = broker_settings()
    return Client(url or settings.amqp_url.get_secret_value(), ca_file=settings.amqp_ca_path)


def finish(acting: Coroutine[object, object, T]) -> T:
    """Run to the end; what goes wrong becomes one line and an exit code."""
    try:
        return asyncio.run(acting)
    except ClientError as error:
        fail(str(error), EXIT_NO_ANSWER)
    except RefusedError as error:
        _tell_refusal(error)
        raise typer.Exit(EXIT_REFUSED) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def broker_settings() -> Settings:
    """The settings, of which the broker's matter here; a bad one is told and ends the program."""
    try:
        return Settings()
    except ValidationError as error:
        fail(setting_faults(error)[0], EXIT_USAGE)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong in one line and end the program."""
    complain(message)
    raise typer.Exit(code)


def complain(message: str) -> None:
    """Say what is wrong in one line."""
    if for_programs():
        show_error({"message": message})
    else:
        typer.echo(safe(f"swift-trainer: {message}"), err=True)


def for_programs() -> bool:
    """Whether JSON was asked for, so that errors are JSON as well: also one of the options, before any was read."""
    return "--json" in sys.argv[1:]


def show_error(error: Mapping[str, object]) -> None:
    """Print an error for a program: one JSON object on a line."""
    typer.echo(json_text({"error": error}), err=True)


def refusal_fields(error: RefusedError) -> dict[str, object]:
    """A refusal as the daemon's reply has it."""
    details = [fault.model_dump(mode="json") for fault in error.details]
    return {"code": error.code, "message": error.message, **({"details": details} if details else {})}


def _tell_refusal(error: RefusedError) -> None:
    if for_programs():
        show_error(refusal_fields(error))
        return
    for fault in error.details[1:]:
        typer.echo(safe(f"  {'.'.join(map(str, fault.loc))}: {fault.message}"), err=True)
    complain(str(error))
