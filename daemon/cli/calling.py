"""Any command of the contract as it stands: a body in, a result out."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.completing import beginnings
from daemon.cli.output import show_document
from daemon.cli.session import EXIT_USAGE, Url, fail, run
from daemon.client import Client
from schemas.commands import COMMANDS


def call(
    command: Annotated[
        str,
        typer.Argument(help="a command of the contract: " + ", ".join(COMMANDS), autocompletion=beginnings(COMMANDS)),
    ],
    body: Annotated[str, typer.Argument(help="JSON, the path of a JSON file, or - for standard input")] = "{}",
    *,
    message_id: Annotated[str | None, typer.Option(help="makes it idempotent: the same id again has no effect")] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for the reply", min=0.1)] = 30.0,
    url: Url = None,
) -> None:
    """Send a command and print its result as JSON."""
    request = _body(body)

    async def act(client: Client) -> None:
        show_document(await client.call(command, request, message_id=message_id, timeout_s=timeout))

    run(url, act)


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
        fail(f"can't read {text}: {error.strerror}", EXIT_USAGE)
    except (ValueError, RecursionError) as error:
        fail(f"not JSON: {error}", EXIT_USAGE)
    if not isinstance(found, dict):
        fail("the body must be one JSON object", EXIT_USAGE)
    return {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
