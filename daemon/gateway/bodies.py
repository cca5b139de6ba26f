"""Request bodies: read within a bound, and passed on as they are, because the daemon is the one that judges them.

So whoever sends a command over HTTP gets the same faults as over AMQP, all at once. The models are in the OpenAPI
document for readers. A path names who asks before the body among its parameters: FastAPI asks for them in that order,
and so nobody unknown has a body read.
"""

import json
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import TypeAdapter

from daemon.client import Json
from daemon.gateway.problems import ProblemError

Schema = dict[str, Any]


async def json_body(request: Request) -> Json:
    """The body, one JSON object; none at all is an empty one."""
    most = request.app.state.max_body_bytes
    received = bytearray()
    async for part in request.stream():
        received += part
        if len(received) > most:
            raise ProblemError(413, "too_large", f"the body is larger than {most // 1024} KiB")
    if not received:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "unsupported_media_type", "the body must be sent as Content-Type: application/json")
    try:
        found: object = json.loads(received, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, "invalid_json", f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ProblemError(400, "invalid_json", "the body must be one JSON object")
    return dict[str, Any](found)  # pyright: ignore[reportUnknownArgumentType]


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


Body = Annotated[Json, Depends(json_body)]


def described(adapter: TypeAdapter[Any], *, without: str, examples: tuple[Json, ...], required: bool = False) -> Schema:
    """What OpenAPI says of a body that is checked elsewhere: the command's, without the field that the path says."""
    schema = adapter.json_schema()
    schema["properties"].pop(without)
    schema["required"] = [name for name in schema.get("required", []) if name != without]
    if not schema["required"]:
        del schema["required"]
    shown = [{name: value for name, value in example.items() if name != without} for example in examples]
    schema["examples"] = shown
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
