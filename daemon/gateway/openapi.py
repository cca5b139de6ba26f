"""What the OpenAPI document says of a path's answers: an example of each, and the problems that can come in its place.

A path names its problems itself, so that nobody writes code for what never comes. The examples are the contract's, in
this API's words.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from daemon.gateway.problems import MEDIA_TYPE, Problem

Responses = dict[int | str, dict[str, Any]]

_PROBLEMS: dict[int, tuple[str, str, str]] = {
    400: (
        "The request is wrong; `errors` says where.",
        "invalid_request",
        "lora_rank: Input should be a valid integer",
    ),
    401: ("No token, or one that is not known.", "unauthorized", "a token is needed: Authorization: Bearer TOKEN"),
    403: (
        "The token, or the operator's settings, do not allow it.",
        "forbidden",
        "the token grafana may read; this needs submit",
    ),
    404: ("There is no such thing.", "not_found", "there is no job 7c0f6f0e-2f4b-4a55-9a1e-0d6f7f3c9b11"),
    409: (
        "What it is about forbids it now; `detail` says how it stands.",
        "conflict",
        "job 7c0f6f0e-2f4b-4a55-9a1e-0d6f7f3c9b11 is running, so it can't be deleted; stop it first",
    ),
    413: ("The body is too large.", "too_large", "the body is larger than 1024 KiB"),
    415: (
        "The body is no JSON.",
        "unsupported_media_type",
        "the body must be sent as Content-Type: application/json",
    ),
    429: (
        "Too often, or too many streams; see `Retry-After`.",
        "too_many_requests",
        "more than 600 requests in a minute",
    ),
    500: (
        "A fault of the daemon, or of how the gateway is set up; `detail` says what to do, or where more stands.",
        "internal",
        "a fault of the gateway; its log has more",
    ),
    501: (
        "The daemon that answered is older than the gateway, and does not know the command.",
        "unknown_command",
        "there is no command 'job.resume'",
    ),
    503: (
        "The broker or the store is away, or the tokens can't be read; see `Retry-After`.",
        "unavailable",
        "the bus is away: the connection to the broker is gone",
    ),
    504: ("No daemon answered.", "no_answer", "no answer to job.get within 30 s; is a daemon running?"),
}
"""What each status means here, with a code and a detail of one such answer."""

GATE = (401, 403, 429, 503)
"""What whoever asks may be told at the door."""
BUS = (*GATE, 500, 501, 504)
"""The same, where a command goes to a daemon."""
BODY = (400, 413, 415)
"""Where a body is read."""
PARAMETERS = (400,)
"""Where parameters are."""
NAMED = (400, 404)
"""Where the path names a job or a node."""
ORDER = (409,)
"""Where something is to be changed."""


def answers(example: object, *problems: tuple[int, ...], media_type: str = "application/json") -> Responses:
    """What a path answers: an example of what it is asked for, and the problems that can come in its place."""
    responses: Responses = {200: {"content": {media_type: {"example": example}}}}
    for status in sorted({status for group in problems for status in group}):
        text, code, detail = _PROBLEMS[status]
        shown = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code)
        schema = {"$ref": "#/components/schemas/Problem"}
        content = {MEDIA_TYPE: {"schema": schema, "example": shown.model_dump(mode="json")}}
        responses[status] = {"description": text, "content": content}
    return responses


def say_what_is_true(app: FastAPI) -> None:
    """Have the document with the schema of problems, and without the 422 that FastAPI adds: it is a 400 here."""
    make = app.openapi

    def made() -> dict[str, Any]:
        document = make()
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = Problem.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        schemas.update({**problem.pop("$defs"), "Problem": problem})
        return document

    app.openapi = made
