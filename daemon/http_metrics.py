"""How an ASGI app answers, for Prometheus: one call adds the counting and `/metrics` to an app.

    add_metrics(app)

Requests are counted by route template and never by path, so that no stranger can make series; what matches no route is
`other`, and so is a method that HTTP does not have.
"""

import time
from collections.abc import Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.metrics import GATEWAY, HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS, Sample
from daemon.prometheus import CONTENT_TYPE, PrometheusMeters

PATH: Final = "/metrics"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"


def add_metrics(app: Starlette) -> None:
    """Count what the app answers, and show it at `/metrics`. To be called before the app runs."""
    counting = Counting(PrometheusMeters(GATEWAY))

    async def metrics(_: Request) -> Response:
        return Response(counting.render(), media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})

    app.add_middleware(Counted, counting=counting)
    app.add_route(PATH, metrics, include_in_schema=False)


class Counting:
    """The figures of one app."""

    def __init__(self, meters: PrometheusMeters) -> None:
        self.meters = meters
        self.in_flight = 0

    def render(self) -> bytes:
        """All of them in Prometheus's text form."""
        return self.meters.render([Sample(HTTP_IN_FLIGHT, self.in_flight)])


class Counted:
    """ASGI middleware: counts requests, and times each until its answer begins (a stream goes on for long)."""

    def __init__(self, app: ASGIApp, counting: Counting) -> None:
        self._app = app
        self._counting = counting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        begun: list[tuple[int, float]] = []

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append((message["status"], time.perf_counter() - began_s))
            await send(message)

        self._counting.in_flight += 1
        try:
            await self._app(scope, receive, noting)
        finally:
            self._counting.in_flight -= 1
            status, seconds = begun[0] if begun else (500, time.perf_counter() - began_s)
            method = scope["method"] if scope["method"] in METHODS else OTHER
            route = _template(scope)
            meters = self._counting.meters
            meters.add(HTTP_REQUESTS, method=method, route=route, status=str(status))
            meters.observe(HTTP_SECONDS, seconds, method=method, route=route)


def _template(scope: Mapping[str, object]) -> str:
    """The template of the route that answered, as its router has it: one for all prefixes that it is under."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else OTHER
