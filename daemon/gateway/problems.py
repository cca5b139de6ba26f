"""What goes wrong, as RFC 9457 problem details: a status, `detail` in words for a person, and a `code` for a program.

`detail` is always a string, because that is where old clients look. What the daemon refused comes with its own code and
one entry a fault in `errors`.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import Scope

from daemon.client import ClientError, NoAnswerError, RefusedError
from daemon.logs import get_log
from schemas.enums import ReplyErrorCode
from schemas.replies import Fault

log = get_log("gateway")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_STATUS: Mapping[ReplyErrorCode, int] = MappingProxyType(
    {
        ReplyErrorCode.INVALID_JSON: 400,
        ReplyErrorCode.UNKNOWN_COMMAND: 501,
        ReplyErrorCode.INVALID_REQUEST: 400,
        ReplyErrorCode.NOT_FOUND: 404,
        ReplyErrorCode.CONFLICT: 409,
        ReplyErrorCode.FORBIDDEN: 403,
        ReplyErrorCode.UNAVAILABLE: 503,
        ReplyErrorCode.INTERNAL: 500,
    }
)


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = "about:blank"
    """`about:blank`: the status says it all."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong, where, and what to do."""
    code: str
    """For a program: the error code of the command's reply, or the gateway's own."""
    errors: tuple[Fault, ...] = ()
    """One entry a fault of the request."""


class ProblemError(Exception):
    """An answer that is a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: tuple[Fault, ...] = (),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, errors=errors)
        self.headers = dict(headers)


def away(detail: str) -> ProblemError:
    """The bus can't be used now."""
    return ProblemError(503, "unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def of_client(error: ClientError | RefusedError) -> ProblemError:
    """What a call of the bus ended with."""
    if isinstance(error, RefusedError):
        status = _STATUS[error.code]
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        return ProblemError(status, error.code, error.message, error.details, headers)
    if isinstance(error, NoAnswerError):
        return ProblemError(504, "no_answer", str(error))
    return away(str(error))


def answer(error: ProblemError) -> Response:
    """The response."""
    return JSONResponse(
        error.problem.model_dump(mode="json"),
        status_code=error.problem.status,
        media_type=MEDIA_TYPE,
        headers=error.headers,
    )


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """The methods that a path takes: the router says only those of the first of its routes."""
    asked: Scope = {"type": "http", "path": request.scope["path"], "root_path": app.root_path, "headers": []}
    routes = [route for route in app.routes if not isinstance(route, Mount)]  # files say it themselves
    return [
        method
        for method in _METHODS
        if any(route.matches({**asked, "method": method})[0] is Match.FULL for route in routes)
    ]


def add_handlers(app: FastAPI) -> None:
    """Have every error of the app answered as a problem."""

    @app.exception_handler(ProblemError)
    async def on_problem(_request: Request, error: ProblemError) -> Response:
        return answer(error)

    @app.exception_handler(ClientError)
    @app.exception_handler(RefusedError)
    async def on_client(_request: Request, error: ClientError | RefusedError) -> Response:
        return answer(of_client(error))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed(app, request)):
            headers["Allow"] = ", ".join(allowed)
        return answer(ProblemError(error.status_code, code, str(error.detail), headers=headers))

    @app.exception_handler(RequestValidationError)
    async def on_parameters(_request: Request, error: RequestValidationError) -> Response:
        faults = tuple(Fault(loc=tuple(each["loc"]), message=each["msg"], input=None) for each in error.errors())
        first = faults[0]
        detail = f"{'.'.join(map(str, first.loc))}: {first.message}"
        return answer(ProblemError(400, ReplyErrorCode.INVALID_REQUEST, detail, faults))

    @app.exception_handler(Exception)
    async def on_bug(_request: Request, error: Exception) -> Response:
        log.error("request_failed", f"{type(error).__name__}: {error}")
        return answer(ProblemError(500, ReplyErrorCode.INTERNAL, "a fault of the gateway; its log has more"))
