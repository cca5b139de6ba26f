"""A receiver of webhooks on 127.0.0.1, on bare asyncio, that misbehaves on request: by a script of answers, one a call.

An answer is an HTTP status (with headers), or `RESET` (the connection is torn down after the request was read), or
`HANG` (nothing is answered until the receiver is closed). After the script, everything is answered with 204.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.waiting import until

RESET: Literal["reset"] = "reset"
HANG: Literal["hang"] = "hang"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True)
class Call:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in small letters."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Script = Sequence[Answer | Literal["reset", "hang"]]


class Receiver:
    """What came, and what is answered to it."""

    def __init__(self, script: Script = ()) -> None:
        self.calls: list[Call] = []
        self.script = list(script)
        self.port = 0
        self._closing = asyncio.Event()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def apprise(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook"

    def ids(self) -> list[str]:
        """`webhook-id` of each call."""
        return [call.headers["webhook-id"] for call in self.calls]

    async def came(self, number: int) -> list[Call]:
        """The calls, once there are so many."""
        await until(lambda: len(self.calls) >= number)
        return self.calls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            while (call := await _read(reader)) is not None:
                self.calls.append(call)
                answer = self.script.pop(0) if self.script else Answer(204)
                if answer == HANG:
                    await self._closing.wait()
                if not isinstance(answer, Answer):
                    _reset(writer)
                    return
                head = f"HTTP/1.1 {answer.status} X\r\ncontent-length: {len(answer.body)}\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
                writer.write(head.encode() + b"\r\n" + answer.body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            del self._open[task]

    def close(self) -> None:
        """Give up what hangs."""
        self._closing.set()

    async def end(self) -> None:
        """Close all connections."""
        self.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open)


async def _read(reader: asyncio.StreamReader) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Call(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST in place of FIN."""
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def receiver(*script: Answer | Literal["reset", "hang"], port: int = 0) -> AsyncGenerator[Receiver]:
    """A receiver that listens."""
    found = Receiver(script)
    server = await asyncio.start_server(found.serve, "127.0.0.1", port)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        await found.end()
