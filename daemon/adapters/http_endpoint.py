"""A few GET routes over HTTP, for those who watch the daemon: uvicorn on the daemon's own loop.

It takes no signals (they are the daemon's) and no body, keeps few connections, and logs nothing of a request.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from daemon.logs import get_log
from daemon.settings import PREFIX

log = get_log("http")

MOST_CONNECTIONS = 32
STOP_S = 1
BACKLOG = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route answers."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Route = Callable[[], Awaitable[Answer]]


class PortError(OSError):
    """The port can't be had; the message says why and what to do."""


class HttpEndpoint:
    """Serves routes by path. Making it takes the port; raises `PortError`."""

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._socket = _listening(host, port)
        self._server = _Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=STOP_S,
                backlog=BACKLOG,
            )
        )
        log.info("http_listening", "metrics and health over HTTP", address=f"{host}:{port}")

    async def run(self) -> None:
        """Serve until `stop`."""
        await self._server.serve(sockets=[self._socket])

    async def stop(self) -> None:
        """Have `run` end, when what is under way is answered."""
        self._server.should_exit = True

    async def _app(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        route = self._routes.get(scope["path"])
        if route is None:
            answer = Answer(404, f"there is {', '.join(self._routes)}\n".encode())
        elif scope["method"] not in {"GET", "HEAD"}:
            answer = Answer(405, b"only GET\n")
        else:
            answer = await route()
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
        headers += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers, "trailers": False})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _Server(uvicorn.Server):
    """Leaves signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Nothing is captured."""
        yield


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        raise PortError(
            f"{PREFIX}HTTP_PORT: can't listen on {host}:{port} ({why}); choose another port, or 0 for none"
        ) from None
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer waits 40 ms for the last one's ACK
    return listening
