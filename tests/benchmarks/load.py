"""What the daemon costs: without jobs, and with 50 that write five lines a second each."""

import time

from tests.benchmarks.figures import Figure
from tests.benchmarks.latency import MS
from tests.benchmarks.process import cpu_shares, memory
from tests.benchmarks.room import Room, wait_status

JOBS = 50
WATCHED = 5
SETTLE_S = 5.0
ROUND_S = 5.0
AIM_MIB = 120
AIM_CPU_PERCENT = 25


def idle(room: Room, quick: bool) -> list[Figure]:
    """Without jobs, a while after the start."""
    time.sleep(SETTLE_S)
    shares = cpu_shares(room.pid, 1 if quick else 4, ROUND_S)
    found = memory(room.pid)
    return [
        Figure("idle: CPU, percent of one core", "%", shares),
        Figure("idle: memory (RSS)", "MiB", [found.resident], aim=AIM_MIB),
        Figure("idle: memory of its own (USS)", "MiB", [found.own]),
    ]


def load(room: Room, quick: bool) -> list[Figure]:
    """With 50 jobs. All their events go to a queue that nobody reads; then those of a few are timed."""
    rounds = 2 if quick else 5
    statuses = room.bus()
    statuses.subscribe("job.*.status.*")
    model = room.model(lines=100_000, noise=4, pause_s=0.2)
    began = time.monotonic()
    jobs = [room.create(model, start=True) for _ in range(JOBS)]
    wait_status(statuses, set(jobs), "running")
    started_s = time.monotonic() - began
    time.sleep(SETTLE_S)
    counting = room.bus()
    kept = counting.keep("job.*.progress", "job.*.log")
    counted_from = time.monotonic()
    shares = cpu_shares(room.pid, rounds, ROUND_S)
    events_per_s = counting.count(kept) / (time.monotonic() - counted_from)
    found = memory(room.pid)
    watch = room.bus()
    watch.subscribe(*(f"job.{job_id}.progress" for job_id in jobs[:WATCHED]))
    told: list[float] = []
    while len(told) < WATCHED * rounds * ROUND_S:
        message = watch.receive()
        written = message.json()["data"]["learning_rate"]
        if written:
            told.append((message.at - written) * MS)
    return [
        Figure(f"{JOBS} jobs: from the first job.create to the last one running", "s", [started_s]),
        Figure(f"{JOBS} jobs: events published", "/s", [events_per_s]),
        Figure(f"{JOBS} jobs: CPU, percent of one core", "%", shares, aim=AIM_CPU_PERCENT),
        Figure(f"{JOBS} jobs: memory (RSS)", "MiB", [found.resident], aim=AIM_MIB),
        Figure(f"{JOBS} jobs: memory of its own (USS)", "MiB", [found.own]),
        Figure(f"{JOBS} jobs: log line written to progress event", "ms", told, aim=20),
    ]
