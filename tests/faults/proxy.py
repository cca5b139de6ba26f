"""A TCP proxy that does what networks do: it cuts connections, swallows everything, or only the answers, from now on or
from the very request on that carries a given text.

What was swallowed never comes, and a connection that has lost something stays dead when the network is healed: its ends
see no goodbye and have to notice by themselves.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from yarl import URL

CHUNK_BYTES = 65_536
HEARTBEAT = {"heartbeat": "1"}
"""Seconds; a silent peer counts as gone after (heartbeat + 1) x 3."""
QUICK_STORE = {"socketTimeoutMS": "1500", "serverSelectionTimeoutMS": "1000", "connectTimeoutMS": "1000"}


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])
    swallows_requests: bool = False
    swallows_answers: bool = False

    @property
    def dead(self) -> bool:
        return self.swallows_requests or self.swallows_answers

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Between a client and the server behind a URL; always on the same port."""

    def __init__(self, url: str, **query: str) -> None:
        self._target = URL(url)
        self._query = query
        self._server: asyncio.Server | None = None
        self._port = 0
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dark = False
        self._deaf = False
        self._trap: bytes | None = None
        self.sprung = asyncio.Event()
        """A request with the text of `lose_answer_to` has come by."""

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str, **query: str) -> AsyncGenerator["Proxy"]:
        """A proxy that lets everything through, until the end of the block; `query` goes into its URL."""
        proxy = cls(url, **query)
        await proxy.heal()
        try:
            yield proxy
        finally:
            proxy.refuse()
            for task in proxy._tasks:
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """What the client is given."""
        place = self._target.with_port(self._port)
        return str((place if place.path else place / "").update_query(self._query))

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    def cut(self) -> None:
        """Break every connection; new ones are let through."""
        for link in self._links:
            link.abort()

    def refuse(self) -> None:
        """Break every connection and refuse new ones, as a host without the service does."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def blackhole(self) -> None:
        """Swallow everything, in both directions, on new connections as well."""
        self._dark = True
        for link in self._links:
            link.swallows_requests = link.swallows_answers = True

    def lose_answers(self) -> None:
        """Requests arrive and are carried out; no answer comes back."""
        self._deaf = True
        for link in self._links:
            link.swallows_answers = True

    def lose_answer_to(self, text: str) -> None:
        """The next request that carries this text arrives; its connection brings no answer to it, nor to later ones."""
        self.sprung.clear()
        self._trap = text.encode()

    async def heal(self) -> None:
        """Let new connections through."""
        self._dark = self._deaf = False
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve in a task of its own: asyncio would make a loud one of a coroutine here when it is cancelled."""
        task = asyncio.create_task(self._serve(reader, writer), name="proxy")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link([writer], swallows_requests=self._dark, swallows_answers=self._dark or self._deaf)
        self._links.add(link)
        try:
            there, back = await asyncio.open_connection(self._target.host, self._target.port)
            link.writers.append(back)
            await asyncio.gather(
                self._pump(link, reader, back, answers=False), self._pump(link, there, writer, answers=True)
            )
        except OSError:  # the server itself is away
            return
        finally:
            link.abort()
            self._links.discard(link)

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                if not answers and self._trap is not None and self._trap in data:
                    self._trap = None
                    link.swallows_answers = True
                    self.sprung.set()
                if not (link.swallows_answers if answers else link.swallows_requests):
                    sink.write(data)
                    await sink.drain()
        except OSError:
            link.abort()
        if not link.dead:
            sink.transport.abort()
