"""`swift-trainer gateway` as a process of its own, and what a stranger does to it with plain HTTP."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.harness import REPO, clean_environment
from tests.waiting import until

Json = dict[str, Any]
LLM = "/training/llm/jobs"
READY_LIMIT_S = 60


def request(model: str, data: str, **more: object) -> Json:
    """A small order for the stand-in."""
    return {"model_path": model, "datasets": [data], "output_dir": "out", "logging_steps": 1, **more}


class Gateway:
    """The process, and a client to it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, http: httpx.AsyncClient, log: Path) -> None:
        self.process = process
        self.url = url
        self.http = http
        self.log_path = log

    async def get(self, path: str, status: int = 200, **more: Any) -> Json:
        """What a path answers, which must be of this status."""
        return checked(await self.http.get(path, **more), status)

    async def post(self, path: str, body: Json | None = None, status: int = 200, **more: Any) -> Json:
        """The same for an order."""
        return checked(await self.http.post(path, json=body, **more), status)

    async def stop(self) -> int:
        """End it as a service manager would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), READY_LIMIT_S)

    async def ready(self) -> bool:
        """Whether it can be used."""
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False


def checked(response: httpx.Response, status: int) -> Json:
    """The answer's JSON; what is not well is a problem as RFC 9457 has it."""
    assert response.status_code == status, response.text
    found: Json = response.json()
    if status >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert found["status"] == status
        assert isinstance(found["detail"], str)
        assert found["detail"]
    return found


@asynccontextmanager
async def running_gateway(settings: Mapping[str, str], folder: Path, port: int = 0) -> AsyncGenerator[Gateway]:
    """A gateway that is ready, ended afterwards. `settings` as of a daemon, with those of the gateway."""
    log = folder / "gateway.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "daemon.cli.main",
            "gateway",
            "--port",
            str(port),
            cwd=folder,
            env={
                **clean_environment(),
                "PYTHONPATH": str(REPO),
                "SWIFT_TRAINER_GATEWAY_TOKENS": str(folder / "tokens.json"),
                **settings,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )

    def told() -> re.Match[str] | None:
        assert process.returncode is None, log.read_text()
        return re.search(r"http://\S+:\d+", log.read_text())

    try:
        await until(told)
        found = told()
        assert found is not None
        async with httpx.AsyncClient(base_url=found[0], timeout=60) as http:
            gateway = Gateway(process, found[0], http, log)
            await until(gateway.ready)
            yield gateway
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def stream(lines: AsyncIterator[str]) -> AsyncGenerator[tuple[str, int | None, Json]]:
    """The events of a stream: name, id and data; a comment has no name, and the first says that the stream stands."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            number = fields.get("id")
            yield fields["event"], None if number is None else int(number), json.loads(fields["data"])
            fields = {}
        else:
            yield "", None, {}
            fields = {}


async def followed(gateway: Gateway, path: str, **headers: str) -> list[tuple[str, int | None, Json]]:
    """A whole stream, to its end."""
    async with gateway.http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return [event async for event in stream(response.aiter_lines()) if event[0]]
