"""How long one thing takes while nothing else is under way: a start, a log line, a command."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count

from tests.benchmarks.amqp import Bus
from tests.benchmarks.figures import Figure
from tests.benchmarks.room import Room, wait_status

MS = 1000.0
WARM_UP = 3
LINE_PAUSE_S = 0.15
"""Between metric lines: more than the 100 ms that one batch of log lines waits for the next."""


def start(room: Room, quick: bool) -> list[Figure]:
    """From the publication of `job.start` to the first act of the training process, by the clock of both."""
    runs = 8 if quick else 40
    events = room.bus()
    events.subscribe("job.*.status.*")
    replied: list[float] = []
    born: list[float] = []
    for _ in range(WARM_UP + runs):
        model = room.model(lines=0)
        job_id = room.create(model)
        began = time.time()
        room.commands.call("job.start", {"job_id": job_id})
        replied.append((time.time() - began) * MS)
        wait_status(events, {job_id}, "failed")  # it ends at once, before any step
        born.append((float((model / f"born-{job_id}").read_text()) - began) * MS)
    return [
        Figure("job.start: published to replied", "ms", replied[WARM_UP:]),
        Figure("job.start: published to process running", "ms", born[WARM_UP:], aim=50),
    ]


def progress(room: Room, quick: bool) -> list[Figure]:
    """From the write of a log line to the arrival of what it causes; the line says when it was written."""
    lines = 40 if quick else 200
    events = room.bus()
    job_id = room.create(room.model(lines=lines + WARM_UP, noise=0, pause_s=LINE_PAUSE_S))
    events.subscribe(f"job.{job_id}.progress", f"job.{job_id}.log")
    room.commands.call("job.start", {"job_id": job_id})
    told: list[float] = []
    logged: list[float] = []
    while len(told) < lines + WARM_UP or len(logged) < lines + WARM_UP:
        message = events.receive()
        data = message.json()["data"]
        if message.routing_key.endswith(".progress"):
            if data["learning_rate"]:
                told.append((message.at - data["learning_rate"]) * MS)
        else:
            logged.extend((message.at - at) * MS for at in _times(data["lines"]))
    return [
        Figure("log line written to progress event", "ms", told[WARM_UP:], aim=20),
        Figure("log line written to log event", "ms", logged[WARM_UP:]),
    ]


def _times(lines: list[str]) -> Iterator[float]:
    """The times that metric lines carry."""
    for line in lines:
        if line.startswith("{'loss'"):
            yield float(line.split("'learning_rate': '")[1].split("'")[0])


def round_trip(room: Room, quick: bool) -> list[Figure]:
    """One command at a time, by direct reply-to. The first row is the way through the broker alone."""
    calls = 60 if quick else 300
    bus = room.commands
    model = room.model(lines=0)
    job_id = room.create(model)
    create = room.request(model)
    numbers = count()

    def get(message_id: str | None) -> None:
        bus.call("job.get", {"job_id": job_id}, message_id=message_id)

    def make(message_id: str | None) -> None:
        bus.call("job.create", {**create, "output_dir": f"out/one-{next(numbers)}"}, message_id=message_id)

    echo = room.bus()
    echo.take_replies()
    own = echo.take_own()
    return [
        Figure("broker alone: one message there and back", "ms", _timed(lambda _: _echo(echo, own), calls, None)),
        Figure("params.default", "ms", _timed(lambda _: _defaults(bus), calls, None), aim=5),
        Figure("job.get", "ms", _timed(get, calls, None), aim=5),
        Figure("job.get with message_id", "ms", _timed(get, calls, "get"), aim=5),
        Figure("job.create", "ms", _timed(make, calls, None), aim=5),
        Figure("job.create with message_id", "ms", _timed(make, calls, "create"), aim=5),
    ]


def _echo(bus: Bus, queue: str) -> None:
    bus.publish("", queue, json.dumps({"job_id": "x" * 36}).encode())
    bus.receive()


def _defaults(bus: Bus) -> None:
    bus.call("params.default", {"training_type": "llm"})


def _timed(call: Callable[[str | None], None], calls: int, prefix: str | None) -> list[float]:
    """Milliseconds of each call; each has its own `message_id` where there is a prefix for one."""
    taken: list[float] = []
    stamp = time.time_ns()
    for number in range(WARM_UP + calls):
        began = time.perf_counter()
        call(None if prefix is None else f"{prefix}-{stamp}-{number}")
        taken.append((time.perf_counter() - began) * MS)
    return taken[WARM_UP:]
