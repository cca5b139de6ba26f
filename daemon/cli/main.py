"""`swift-trainer`: sends any command of the contract, follows a job, and prints events.

    swift-trainer call job.create job.json        a file, `-` for standard input, or the JSON itself
    swift-trainer watch JOB_ID                    a progress bar until the job (and its export) has ended
    swift-trainer events 'job.*.status.*'         one JSON line an event

Exit codes: 0 done, 1 refused or failed, 2 used wrongly, 3 no broker or no answer.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from daemon.cli.watching import watch_job
from daemon.client import Client, ClientError, RefusedError
from daemon.settings import Settings, setting_faults
from schemas.commands import COMMANDS

EXIT_REFUSED, EXIT_USAGE, EXIT_NO_ANSWER = 1, 2, 3

app = typer.Typer(
    help="Order and follow ms-swift trainings over RabbitMQ. The broker is SWIFT_TRAINER_AMQP_URL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Url = Annotated[str | None, typer.Option("--url", help="AMQP URL, in place of SWIFT_TRAINER_AMQP_URL")]


@app.command()
def call(
    command: Annotated[str, typer.Argument(help="a command of the contract: " + ", ".join(COMMANDS))],
    body: Annotated[str, typer.Argument(help="JSON, the path of a JSON file, or - for standard input")] = "{}",
    *,
    message_id: Annotated[str | None, typer.Option(help="makes it idempotent: the same id again has no effect")] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for the reply", min=0.1)] = 30.0,
    url: Url = None,
) -> None:
    """Send a command and print its result as JSON."""
    request = _body(body)

    async def act(client: Client) -> None:
        result = await client.call(command, request, message_id=message_id, timeout_s=timeout)
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))

    _run(url, act)


@app.command()
def watch(job_id: str, *, url: Url = None) -> None:
    """Follow a job with a progress bar until it has ended, its export included."""

    async def act(client: Client) -> None:
        if not await watch_job(client, job_id):
            raise typer.Exit(EXIT_REFUSED)

    _run(url, act)


@app.command()
def events(
    binding: Annotated[str, typer.Argument(help="topic pattern: * is one word, # any number")] = "#", *, url: Url = None
) -> None:
    """Print events as they come, one JSON line each, until interrupted."""

    async def act(client: Client) -> None:
        async with client.events(binding) as found:
            async for event in found:
                typer.echo(event.model_dump_json(exclude_none=True))

    _run(url, act)


def _body(text: str) -> dict[str, object]:
    """The JSON object of an argument, a file, or standard input; a mistake is told and ends the program."""
    source = text
    try:
        if text == "-":
            source = sys.stdin.read()
        elif not text.lstrip().startswith("{"):
            source = Path(text).read_text(encoding="utf-8")
        found: object = json.loads(source)
    except OSError as error:
        _fail(f"can't read {text}: {error.strerror}", EXIT_USAGE)
    except ValueError as error:
        _fail(f"not JSON: {error}", EXIT_USAGE)
    if not isinstance(found, dict):
        _fail("the body must be one JSON object", EXIT_USAGE)
    return {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _run(url: str | None, act: Callable[[Client], Awaitable[None]]) -> None:
    """Connect, act, and turn what goes wrong into one line and an exit code."""
    try:
        settings = Settings()
    except ValidationError as error:
        _fail(setting_faults(error)[0], EXIT_USAGE)

    async def connected() -> None:
        async with Client.connect(url or settings.amqp_url.get_secret_value(), ca_file=settings.amqp_ca_path) as client:
            await act(client)

    try:
        asyncio.run(connected())
    except ClientError as error:
        _fail(str(error), EXIT_NO_ANSWER)
    except RefusedError as error:
        for fault in error.details[1:]:
            typer.echo(f"  {'.'.join(map(str, fault.loc))}: {fault.message}", err=True)
        _fail(str(error), EXIT_REFUSED)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"swift-trainer: {message}", err=True)
    raise typer.Exit(code)


def main() -> None:
    """Entry point of `swift-trainer`."""
    logging.basicConfig(handlers=[logging.NullHandler()])  # what libraries say is said in one line of our own
    app()


if __name__ == "__main__":
    main()
