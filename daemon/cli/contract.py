"""What a request may hold: its defaults as the daemon has them, and the JSON Schemas of this version."""

from typing import Annotated

import typer
from pydantic import TypeAdapter

from daemon.cli.completing import beginnings
from daemon.cli.output import say, show_document, show_fields
from daemon.cli.session import EXIT_USAGE, AsJson, Url, fail, run
from daemon.client import Client
from schemas.commands import COMMANDS
from schemas.enums import TrainingType
from schemas.kinds.llm import LLMTrainingJobCreateRequest
from schemas.kinds.vlm import VLMTrainingJobCreateRequest

REQUESTS = {
    "llm": TypeAdapter(LLMTrainingJobCreateRequest),
    "vlm": TypeAdapter(VLMTrainingJobCreateRequest),
    **COMMANDS,
}


def params(training_type: TrainingType, *, as_json: AsJson = False, url: Url = None) -> None:
    """Show the defaults of a create request."""

    async def act(client: Client) -> None:
        found = await client.call("params.default", {"training_type": training_type})
        if as_json:
            show_document(found)
        else:
            show_fields(found)

    run(url, act)


def schema(
    name: Annotated[
        str | None,
        typer.Argument(help="llm, vlm, or a command; without it, the names", autocompletion=beginnings(REQUESTS)),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print the JSON Schema of a request. Needs no broker."""
    if name is None and as_json:
        show_document(list(REQUESTS))
        return
    if name is None:
        for known in REQUESTS:
            say(known)
        return
    if name not in REQUESTS:
        fail(f"there is no schema {name}; there are: {', '.join(REQUESTS)}", EXIT_USAGE)
    show_document(REQUESTS[name].json_schema())
