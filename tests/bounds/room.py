"""What the tests of bounds share: a daemon with floods for trainings, and the watch on what it costs meanwhile.

Memory is looked at ten times a second; commands are sent all the while, one after the other, as a person's page would
do it; a quiet job beside tells how late its steps are heard of. What is found is printed (`pytest -s`), and judged with
wide margins only: these machines are shared.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.benchmarks.process import cpu_s, memory
from tests.bounds.flood import Act
from tests.e2e.harness import Daemon, Json, Probe, RefusedError, probe, running_daemon

SAMPLE_S = 0.1
ASK_PAUSE_S = 0.1
LIVELINESS_S = 15.0
"""Nothing of what is watched may take longer: far above what is measured, and far below a standstill."""
QUIET = "quiet"
GO = "go"


@dataclass(frozen=True, slots=True)
class Heard:
    """An event and when it came."""

    at: float
    key: str
    event: Json

    @property
    def data(self) -> Json:
        return self.event["data"]


class Ear:
    """A subscriber with a connection of its own."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._newest: dict[str, Json] = {}
        """Data by routing key."""
        self._changed = asyncio.Condition()

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        heard = Heard(time.time(), message.routing_key or "", json.loads(message.body))
        async with self._changed:
            self.heard.append(heard)
            self._newest[heard.key] = heard.data
            self._changed.notify_all()

    async def wait_count(self, number: int, timeout_s: float) -> None:
        """Wait until so many events have come in all."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.heard) >= number)

    @classmethod
    @asynccontextmanager
    async def on(cls, url: str, *patterns: str) -> AsyncGenerator["Ear"]:
        """Listen to these events."""
        ear = cls()
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(exclusive=True)
            for pattern in patterns:
                await queue.bind("swift.events", pattern)
            await queue.consume(ear._on_event, no_ack=True)
            yield ear

    async def wait_reached(self, key: str, name: str, value: int, timeout_s: float) -> None:
        """Wait until the newest event of a routing key has this number, or more, under a name."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self._newest.get(key, {}).get(name, -1) >= value)

    def of(self, job_id: str, kind: str) -> list[Heard]:
        """The events of a job of one kind: `progress`, `log`."""
        return [heard for heard in self.heard if heard.key == f"job.{job_id}.{kind}"]

    def steps(self, job_id: str) -> list[Heard]:
        """The progress events that tell of a logged step."""
        return [heard for heard in self.of(job_id, "progress") if heard.data["loss"] is not None]

    def delays(self, job_id: str) -> list[float]:
        """How long after its writing each step was heard of."""
        return [heard.at - heard.data["learning_rate"] for heard in self.steps(job_id)]


@dataclass(frozen=True, slots=True)
class Quiet:
    """A job that logs a little, and who listens to it."""

    job_id: str
    ear: Ear

    def delays(self) -> list[float]:
        return self.ear.delays(self.job_id)


@dataclass(slots=True)
class Watched:
    """What a stretch of time has cost."""

    before_mib: float = 0.0
    most_mib: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    answers: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """Seconds of each answer, by command."""
    delays: list[float] = field(default_factory=list[float])
    """Of the quiet job's steps."""
    over: bool = False
    """A cancellation alone may be lost: Python 3.11's `wait_for` swallows one that comes together with the answer."""

    @property
    def growth_mib(self) -> float:
        return self.most_mib - self.before_mib

    def holds(self, most_mib: float) -> None:
        """Memory stayed within a bound, commands were answered, the quiet job was heard."""
        assert self.growth_mib < most_mib
        assert self.answers
        assert all(taken < LIVELINESS_S for answers in self.answers.values() for taken in answers)
        assert all(delay < LIVELINESS_S for delay in self.delays)

    def __str__(self) -> str:
        worst = {name: max(taken) for name, taken in self.answers.items()}
        text = ", ".join(f"{name} {taken * 1000:.0f} ms" for name, taken in worst.items())
        return (
            f"{self.wall_s:.1f} s, memory {self.before_mib:.0f} + {self.growth_mib:.1f} MiB, "
            f"CPU {100 * self.cpu_s / max(self.wall_s, 1e-9):.0f} %, "
            f"slowest of {sum(map(len, self.answers.values()))} answers: {text}"
            + (f"; {len(self.delays)} steps beside, latest {max(self.delays):.3f} s" if self.delays else "")
        )


class Room:
    """A running daemon, and what is needed to use it."""

    def __init__(self, probe: Probe, daemon: Daemon, url: str, folder: Path) -> None:
        self.probe = probe
        self.daemon = daemon
        self.url = url
        self._folder = folder
        self._data = folder / "data.jsonl"
        self._data.write_text('{"messages": [{"role": "user", "content": "a"}]}\n')

    # ------------------------------------------------------------ jobs

    def model(self, *acts: Act) -> Path:
        """A model whose training does these acts."""
        folder = self._folder / f"model-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "flood.json").write_text(json.dumps(acts))
        return folder

    def request(self, model: Path, **more: object) -> Json:
        """A request for its training."""
        return {
            "training_type": "llm",
            "model_path": str(model),
            "datasets": [str(self._data)],
            "output_dir": f"out/{uuid.uuid4().hex[:12]}",
            "logging_steps": 1,
            "auto_export": False,
            **more,
        }

    async def create(self, model: Path, **more: object) -> str:
        """Create a job and start it; its id."""
        request = self.request(model, **{"start": True, **more})
        return (await self.probe.call("job.create", request))["job_id"]

    @asynccontextmanager
    async def quiet_job(self) -> AsyncGenerator[Quiet]:
        """A job that logs five steps a second all the while, and who listens to it."""
        model = self.model({"until": GO, "pause_s": 0.2})
        job_id = await self.create(model)
        await self.probe.status(job_id, "running")
        async with Ear.on(self.url, f"job.{job_id}.progress") as ear:
            try:
                yield Quiet(job_id, ear)
            finally:
                (model / GO).touch()
                await self.probe.until(lambda event: event["_key"].startswith(f"job.{job_id}.status.failed"))

    # ------------------------------------------------------------ what it costs

    @asynccontextmanager
    async def watched(self, quiet: Quiet | None = None, **asked: Mapping[str, Any]) -> AsyncGenerator[Watched]:
        """Watch memory, answers and the quiet job over the body; `asked`: further commands (`_` for `.`)."""
        found = Watched(before_mib=memory(self.daemon.pid).resident)
        found.most_mib = found.before_mib
        cpu, began, heard = cpu_s(self.daemon.pid), time.monotonic(), len(quiet.delays()) if quiet else 0
        commands: dict[str, Mapping[str, Any]] = {"job.list": {"size": 5}, "queue.list": {}, "system.status": {}}
        commands |= {name.replace("_", "."): body for name, body in asked.items()}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._sample(found)), group.create_task(self._ask(found, commands))]
            try:
                yield found
            finally:
                found.over = True
                for task in tasks:
                    task.cancel()
        found.most_mib = max(found.most_mib, memory(self.daemon.pid).resident)
        found.cpu_s, found.wall_s = cpu_s(self.daemon.pid) - cpu, time.monotonic() - began
        if quiet is not None:
            found.delays = quiet.delays()[heard:]

    async def _sample(self, found: Watched) -> None:
        while True:
            found.most_mib = max(found.most_mib, memory(self.daemon.pid).resident)
            await asyncio.sleep(SAMPLE_S)

    async def _ask(self, found: Watched, commands: Mapping[str, Mapping[str, Any]]) -> None:
        while not found.over:
            for name, body in commands.items():
                if found.over:
                    return
                began = time.monotonic()
                await self.probe.call(name, body)
                found.answers.setdefault(name, []).append(time.monotonic() - began)
                await asyncio.sleep(ASK_PAUSE_S)


@asynccontextmanager
async def opened(settings: Mapping[str, str], folder: Path, url: str) -> AsyncGenerator[Room]:
    """A room whose daemon has had its first job, so that what it needs once is in its memory."""
    async with probe(url) as found, running_daemon(settings, folder, found) as daemon:
        room = Room(found, daemon, url, folder)
        await warm_up(room)
        yield room


async def warm_up(room: Room) -> None:
    """A small job and one of each command that is asked later."""
    job_id = await room.create(room.model({"lines": 2000, "seconds": 0.5, "steps": 20}))
    await room.probe.status(job_id, "completed")
    for command, body in (("job.list", {}), ("queue.list", {}), ("system.status", {}), ("job.get", {"job_id": job_id})):
        await room.probe.call(command, body)


def say(text: object) -> None:
    """Print what was measured."""
    print(f"\n    {text}", flush=True)


__all__ = ["GO", "Daemon", "Ear", "Heard", "Json", "RefusedError", "Room", "Watched", "opened", "say"]
