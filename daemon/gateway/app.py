"""The gateway's app: what it is made of, and its paths under both prefixes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon import __version__
from daemon.gateway import fleet, jobs, streams
from daemon.gateway.access import Gate
from daemon.gateway.answers import Health
from daemon.gateway.link import Link
from daemon.gateway.openapi import Responses, answers, say_what_is_true
from daemon.gateway.problems import add_handlers
from daemon.gateway.settings import GatewaySettings, is_loopback
from daemon.gateway.tokens import TokenFile
from daemon.gateway.traces import Traced
from daemon.http_metrics import add_metrics

PREFIXES = ("/training", "/api/v1/training")
PAGE = Path(__file__).with_name("page")
_DESCRIPTION = """\
Fine-tuning jobs of [ms-swift](https://github.com/modelscope/ms-swift): a client of the bus, path by path. Everything
below `/training` is below `/api/v1/training` as well. Answers with a `status` in the five words of the older API
(`pending`, `running`, `completed`, `failed`, `cancelled`) also have `state`, the status as the wire contract has it.
"""
_LIVES = {"status": "ok"}
_AWAY = {**fleet.HEALTHY, "status": "degraded", "broker": "the connection to the broker is gone"}
_READY: Responses = {
    **answers(fleet.HEALTHY),
    503: {"model": Health, "description": "It can't.", "content": {"application/json": {"example": _AWAY}}},
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def create_app(settings: GatewaySettings, link: Link) -> FastAPI:
    """The app, on a link that it keeps connected while it runs."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        task = asyncio.create_task(link.run(), name="the gateway's link")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    app = FastAPI(
        title="Swift Trainer",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        root_path=settings.root_path,
        redoc_url=None,
        docs_url=None,
    )
    app.state.link = link
    app.state.gate = Gate(
        TokenFile(settings.tokens_path),
        loopback=is_loopback(settings.host),
        requests_per_minute=settings.requests_per_minute,
        max_streams=settings.max_streams,
    )
    app.state.max_body_bytes = settings.max_body_kib * 1024
    add_handlers(app)
    for prefix in PREFIXES:
        for part in (jobs, streams, fleet):
            app.include_router(part.router, prefix=prefix, include_in_schema=prefix == PREFIXES[0])
    _add_root(app, link)
    say_what_is_true(app)
    app.add_middleware(_Headers)
    app.add_middleware(Traced)
    add_metrics(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
        )
    return app


def _add_root(app: FastAPI, link: Link) -> None:
    """What is asked without a token: whether it lives, and the page."""

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/ui/")

    @app.head("/health", include_in_schema=False)
    @app.get("/health", tags=["health"], responses=answers(fleet.HEALTHY), summary="Whether the gateway is there")
    async def health() -> Health:
        """Answers while the broker is away, and says so."""
        return fleet.health_of(link)

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["health"], responses=answers(_LIVES), summary="Whether it lives")
    async def healthz() -> dict[str, str]:
        """For whoever restarts what does not answer."""
        return _LIVES

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", response_model=Health, tags=["health"], responses=_READY, summary="Whether it can be used")
    async def readyz() -> Response:
        """503 while the broker is away."""
        return JSONResponse(fleet.health_of(link).model_dump(), status_code=503 if link.trouble else 200)

    app.mount("/ui", StaticFiles(directory=PAGE, html=True, check_dir=False), name="page")


class _Headers:
    """Says to browsers what they may do with an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                for name, value in _PAGE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)
