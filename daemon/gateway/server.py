"""The gateway as a process: what it refuses to begin with, and how it ends."""

import asyncio
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from daemon.gateway.app import create_app
from daemon.gateway.link import Link
from daemon.gateway.settings import GatewaySettings, is_loopback
from daemon.gateway.tokens import TokenFile
from daemon.logs import get_log
from daemon.settings import Settings

log = get_log("gateway")

STOP_S = 5
BACKLOG = 256
CONNECTIONS = 1000


class UnsafeError(Exception):
    """It would be open to everybody; the message says what to do."""


class Server(uvicorn.Server):
    """Lets streams go when it is told to stop, which else would hold it."""

    def __init__(self, config: uvicorn.Config, link: Link) -> None:
        super().__init__(config)
        self._link = link

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take SIGTERM and SIGINT as orders to stop. uvicorn's own way raises them again at the end, so that an orderly
        stop looks like a kill."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop."""
        self._link.end_streams()
        super().handle_exit(sig, frame)


def make_server(settings: GatewaySettings, bus: Settings) -> Server:
    """The server, not listening yet.

    Raises `UnsafeError` where others could reach it without a token, and `TokenError` where the tokens can't be read.
    """
    if not is_loopback(settings.host) and not TokenFile(settings.tokens_path).tokens():
        raise UnsafeError(
            f"it listens on anything but loopback only where there is a token, and {settings.tokens_path} has none; "
            f"make one (swift-trainer token add NAME --role operate), or leave the host at 127.0.0.1"
        )
    link = Link(bus.amqp_url.get_secret_value(), bus.amqp_ca_path, timeout_s=settings.timeout_seconds)
    config = uvicorn.Config(
        create_app(settings, link),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=STOP_S,
        limit_concurrency=CONNECTIONS,
        backlog=BACKLOG,
    )
    return Server(config, link)


def listening(settings: GatewaySettings) -> socket.socket:
    """A socket of the server's. Raises `OSError` where the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    found = socket.socket(family)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only for sockets of its own
        found.bind((settings.host, settings.port))
    except OSError:
        found.close()
        raise
    return found
