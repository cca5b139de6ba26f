"""How many commands a second, with many in flight: the sender keeps a window full and counts replies.

The rate hangs on how many cores there are for daemon, broker, store and sender; the daemon's own CPU time for a command
does not, and is what its one thread can do at best.
"""

import time
from collections.abc import Callable
from itertools import count

from tests.benchmarks.amqp import Bus, Json
from tests.benchmarks.figures import Figure
from tests.benchmarks.latency import MS
from tests.benchmarks.process import cpu_s
from tests.benchmarks.room import Room

WINDOW = 150
"""In flight at once; the daemon takes 200 from the broker."""
JOBS = 100
AIM = 1000

Body = Callable[[int], Json]


def throughput(room: Room, quick: bool) -> list[Figure]:
    """Three kinds: one that asks nobody, one that reads the store, one that writes to it."""
    calls, rounds = (300, 2) if quick else (1000, 5)
    model = room.model(lines=0)
    ids = [room.create(model) for _ in range(JOBS)]
    create = room.request(model)
    numbers = count()
    kinds: list[tuple[str, Body]] = [
        ("params.default", lambda _: {"training_type": "llm"}),
        ("job.get", lambda number: {"job_id": ids[number % JOBS]}),
        ("job.create", lambda _: {**create, "output_dir": f"out/many-{next(numbers)}"}),
    ]
    figures: list[Figure] = []
    for command, body in kinds:
        for keyed in (False, True):
            rates: list[float] = []
            cpu_ms: list[float] = []
            for _ in range(rounds):
                used = cpu_s(room.pid)
                rates.append(rate(room.commands, command, body, calls, keyed=keyed))
                cpu_ms.append((cpu_s(room.pid) - used) * MS / calls)
            name = f"{command}{' with message_id' if keyed else ''}"
            figures.append(Figure(f"{name}, {WINDOW} in flight", "/s", rates, aim=AIM, more_is_better=True))
            figures.append(Figure(f"{name}: the daemon's CPU time for one", "ms", cpu_ms, aim=MS / AIM))
    return figures


def rate(bus: Bus, command: str, body: Body, calls: int, *, keyed: bool) -> float:
    """Commands a second over so many. Raises `RuntimeError` where one is refused."""
    stamp = time.time_ns()
    sent = received = 0
    began = time.perf_counter()
    while received < calls:
        while sent < calls and sent - received < WINDOW:
            bus.send(command, body(sent), number=sent, message_id=f"{stamp}-{sent}" if keyed else None)
            sent += 1
        answer = bus.receive().body
        received += 1
        if not answer.startswith(b'{"ok":true'):
            raise RuntimeError(f"{command}: {answer[:500]!r}")
    return calls / (time.perf_counter() - began)
