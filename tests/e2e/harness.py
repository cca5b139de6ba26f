"""A stranger's side of the wire: a probe that knows AMQP and the contract, and the daemon as a process of its own.

Nothing here imports the daemon: what these tests see is what a publisher and a subscriber see.
"""

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import psutil
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

REPO = Path(__file__).resolve().parents[2]
Event = dict[str, Any]
Json = dict[str, Any]


class RefusedError(Exception):
    """An error reply."""

    def __init__(self, error: Json) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.details: list[Json] = error["details"]


class Probe:
    """Publishes commands, collects replies and every event."""

    def __init__(self, channel: AbstractChannel, replies: AbstractQueue, events: AbstractQueue) -> None:
        self._channel = channel
        self._replies = replies
        self._events = events
        self._pending: dict[str, asyncio.Future[Json]] = {}
        self._changed = asyncio.Condition()
        self.events: list[Event] = []

    async def start(self) -> None:
        """Consume replies and events."""
        await self._replies.consume(self._on_reply, no_ack=True)
        await self._events.consume(self._on_event, no_ack=True)

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        future = self._pending.get(message.correlation_id or "")
        if future is not None and not future.done():
            future.set_result(json.loads(message.body))

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        event = json.loads(message.body)
        event["_key"] = message.routing_key
        event["_content_type"] = message.content_type
        async with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    async def raw(self, command: str, body: bytes, timeout_s: float = 30, **properties: Any) -> Json:
        """Publish bytes as a command; the reply envelope."""
        correlation_id = uuid.uuid4().hex
        future = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = future
        exchange = await self._channel.get_exchange("swift.commands", ensure=False)
        await exchange.publish(
            aio_pika.Message(
                body, reply_to=self._replies.name, correlation_id=correlation_id, delivery_mode=2, **properties
            ),
            routing_key=command,
        )
        try:
            return await asyncio.wait_for(future, timeout_s)
        finally:
            del self._pending[correlation_id]

    async def send(self, command: str, body: Mapping[str, Any], **properties: Any) -> None:
        """Publish a command without asking for a reply."""
        exchange = await self._channel.get_exchange("swift.commands", ensure=False)
        await exchange.publish(aio_pika.Message(json.dumps(body).encode(), **properties), routing_key=command)

    async def call(self, command: str, body: Mapping[str, Any] | None = None, **properties: Any) -> Json:
        """Publish a command; its result. Raises `RefusedError`."""
        reply = await self.raw(command, json.dumps(body or {}).encode(), **properties)
        assert reply["command"] == command
        if not reply["ok"]:
            raise RefusedError(reply["error"])
        return reply["result"]

    async def dead_letters(self) -> int:
        """How many wait in the dead-letter queue."""
        queue = await self._channel.declare_queue("swift.commands.dead", passive=True)
        return queue.declaration_result.message_count or 0

    async def until(self, wanted: Callable[[Event], bool], timeout_s: float = 60, number: int = 1) -> Event:
        """The first event, past or to come, that is wanted; or the `number`th."""
        seen = found = 0
        async with asyncio.timeout(timeout_s), self._changed:
            while True:
                for event in self.events[seen:]:
                    found += wanted(event)
                    if found == number:
                        return event
                seen = len(self.events)
                await self._changed.wait()

    async def status(self, job_id: str, status: str, timeout_s: float = 60, attempt: int | None = None) -> Event:
        """Wait for a job's status event; fails at once when the job ends otherwise."""
        final = {"completed", "failed", "cancelled"}

        def wanted(event: Event) -> bool:
            if event["type"] != "swift.job.status.v1" or event["subject"] != job_id:
                return False
            data = event["data"]
            if attempt is not None and data["attempt"] != attempt:
                return False
            return data["status"] == status or data["status"] in final

        event = await self.until(wanted, timeout_s)
        assert event["data"]["status"] == status, event["data"]
        return event

    def durable(self, job_id: str) -> list[Event]:
        """The durable events of a job as a careful subscriber keeps them: by first sight of each id."""
        kept: dict[str, Event] = {}
        for event in self.events:
            if event["subject"] == job_id and event.get("sequence") is not None:
                kept.setdefault(event["id"], event)
        return list(kept.values())

    def progress(self, job_id: str) -> list[Event]:
        """The progress events of a job."""
        return [event for event in self.events if event["_key"] == f"job.{job_id}.progress"]


@asynccontextmanager
async def probe(amqp_url: str) -> AsyncGenerator[Probe]:
    """A connected probe, listening to everything."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("swift.events", aio_pika.ExchangeType.TOPIC, durable=True)
        await channel.declare_exchange("swift.commands", aio_pika.ExchangeType.TOPIC, durable=True)
        replies = await channel.declare_queue(exclusive=True)
        events = await channel.declare_queue(exclusive=True)
        await events.bind(exchange, "#")
        found = Probe(channel, replies, events)
        await found.start()
        yield found


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of a daemon."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SWIFT_TRAINER_")}


class Daemon:
    """`swift-trainerd` as a process."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.log_path = folder / "daemon.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it; it is ready when it answers."""
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "daemon.main",
                cwd=self._folder,
                env={**clean_environment(), "PYTHONPATH": str(REPO), **self._settings},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        code = await asyncio.wait_for(self._process.wait(), 60)
        self._process = None
        return code

    async def ready(self, probe: Probe, timeout_s: float = 60) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(timeout_s):
            while True:
                assert self._process is not None
                assert self._process.returncode is None, self.log()
                try:
                    await probe.raw("params.default", b'{"training_type":"llm"}', timeout_s=1)
                except (TimeoutError, aio_pika.exceptions.AMQPError):
                    continue
                return

    def log(self) -> str:
        """The end of its log."""
        return self.log_path.read_text()[-6000:] if self.log_path.exists() else ""


@asynccontextmanager
async def running_daemon(settings: Mapping[str, str], folder: Path, probe: Probe) -> AsyncGenerator[Daemon]:
    """A daemon that is ready, ended afterwards."""
    daemon = Daemon(settings, folder)
    await daemon.start()
    try:
        await daemon.ready(probe)
        yield daemon
    finally:
        if daemon._process is not None:  # pyright: ignore[reportPrivateUsage]
            await daemon.stop()


def processes_of(job_id: str) -> list[psutil.Process]:
    """What is left of a job: the contract marks every process of it."""
    mark = ("SWIFT_TRAINER_JOB_ID", job_id)
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if mark in process.environ().items() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
