"""A request's span: it goes on with the trace of whoever asks, and the command that is sent goes on with it."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.tracing import request_span
from schemas.tracing import TRACEPARENT_HEADER, TRACESTATE_HEADER, trace_context


class Traced:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cause = trace_context(headers.get(TRACEPARENT_HEADER), headers.get(TRACESTATE_HEADER))
        with request_span(scope["method"], cause) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, noting)
            path = getattr(scope.get("route"), "path", None)
            if isinstance(path, str):
                span.update_name(f"{scope['method']} {path}")
                span.set_attribute("http.route", path)
