"""A TCP proxy that breaks: it cuts connections, or holds everything back as a dead network does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from yarl import URL


class Proxy:
    """Between a client and the broker."""

    def __init__(self, url: str) -> None:
        self._target = URL(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.url = ""
        self.refusing = False
        self.connections = 0

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncGenerator["Proxy"]:
        proxy = cls(url)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.url = str(URL(url).with_port(server.sockets[0].getsockname()[1]))
        try:
            yield proxy
        finally:
            server.close()
            proxy.flow()
            proxy.cut()

    def cut(self) -> None:
        """Break every connection, with no goodbye."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Pass nothing on, in either direction."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass things on again."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            there, back = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:  # the broker is really away
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._writers -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.transport.abort()
