"""Ten thousand jobs that wait: right order, flat memory, quick answers, and no work while nothing happens."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pymongo import MongoClient

from daemon.adapters.documents import Document, job_document
from daemon.core.lifecycle import Cause
from daemon.core.moves import created, queued, with_internal
from schemas.jobs import TRAINING_JOB, TrainingJob
from tests.benchmarks.process import cpu_shares, memory
from tests.bounds.conftest import Settings
from tests.bounds.room import Ear, Json, Room, say

pytestmark = pytest.mark.services

JOBS = 10_000
UNTOLD = 2000
"""Of these, how many have events that were never published, as after an outage of the broker."""
STARTED = 30
BLOCKED = 5000
MOST_REPLY_BYTES = 1024 * 1024
MOST_MIB = 40
MOST_IDLE_PERCENT = 30
IDLE_S = 4.0
DRAIN_LIMIT_S = 60.0
NODE = {"node_id": "node-1"}


def waiting_job(room: Room, model: Path, number: int, *, told: bool) -> TrainingJob:
    """The document of a queued job; its two events are published, or wait for that."""
    at = datetime.now(UTC) - timedelta(days=1) + timedelta(seconds=number)
    run_dir = f"/nowhere/out-{number}/v0"
    request = {name: value for name, value in room.request(model).items() if name != "start"}
    fields = {**request, "id": f"job-{number:05}", "created_at": at, "run_dir": run_dir, "priority": number % 11}
    job = created(with_internal(TRAINING_JOB.validate_python(fields), output_lock=run_dir), at=at, by="node-1")
    job = queued(job, Cause.START, at=at, by="node-1", reason="start requested")
    return with_internal(job, outbox=()) if told else job


def fill(settings: Settings, jobs: list[TrainingJob]) -> None:
    """Store them, all at once."""
    with MongoClient[Document](settings["SWIFT_TRAINER_MONGODB_URL"]) as client:
        found = client[settings["SWIFT_TRAINER_MONGODB_DATABASE"]]["jobs"]
        found.insert_many([job_document(job) for job in jobs], ordered=False)


async def test_ten_thousand_jobs_wait(room: Room, settings: Settings) -> None:
    model = room.model({"steps": 3, "pause_s": 0})
    jobs = [waiting_job(room, model, number, told=number >= UNTOLD) for number in range(JOBS)]
    in_order = [job.id for job in sorted(jobs, key=lambda job: (-job.priority, job.queued_at))]
    await room.probe.call("node.drain", NODE)
    loop = asyncio.get_running_loop()
    async with Ear.on(room.url, "job.*.status.queued") as ear, room.watched() as filling:
        began = loop.time()
        await asyncio.to_thread(fill, settings, jobs)
        filled_s = loop.time() - began
        await ear.wait_count(UNTOLD, DRAIN_LIMIT_S)
    say(f"{JOBS} jobs stored in {filled_s:.1f} s, {UNTOLD} of them told of after {loop.time() - began:.1f} s")
    say(filling)
    filling.holds(MOST_MIB)
    await asyncio.sleep(2)
    shares = await asyncio.to_thread(cpu_shares, room.daemon.pid, 2, IDLE_S / 2)
    say(f"CPU with a full queue, percent of one core: {shares}")
    assert min(shares) < MOST_IDLE_PERCENT
    async with room.watched(job_get={"job_id": "job-00000"}) as asked:
        queue = await room.probe.call("queue.list")
        await asyncio.sleep(2)
    say(asked)
    say(f"queue.list: {len(queue['jobs'])} jobs of {queue['total']}, {len(json.dumps(queue)) / 1024:.0f} KiB")
    asked.holds(MOST_MIB)
    assert [job["job_id"] for job in queue["jobs"]] == in_order[: len(queue["jobs"])]
    assert len(json.dumps(queue)) < MOST_REPLY_BYTES
    assert len(queue["jobs"]) >= 1000
    await starts_in_order(room, in_order)
    await room.daemon.stop()
    await room.daemon.start()
    await room.daemon.ready(room.probe)
    say(f"memory after a restart with a full queue: {memory(room.daemon.pid).resident:.0f} MiB")


async def test_a_thousand_that_can_not_start_hold_up_nobody(room: Room, settings: Settings) -> None:
    """They come first by their priority, and the device that they must have does not exist."""
    model = room.model({"steps": 3, "pause_s": 0})
    blocked = {"gpu_id": "7", "priority": 10}
    jobs = [waiting_job(room, model, number, told=True).model_copy(update=blocked) for number in range(BLOCKED)]
    await asyncio.to_thread(fill, settings, jobs)
    async with room.watched() as watched:
        job_id = await room.create(model)
        await room.probe.status(job_id, "completed", DRAIN_LIMIT_S / 2)
        queue = await room.probe.call("queue.list")
    say(f"behind {BLOCKED} that can't start: {watched}")
    watched.holds(MOST_MIB)
    assert queue["total"] == BLOCKED
    pending = await room.probe.call("job.create", room.request(model, gpu_id="7"))
    started = await room.probe.call("job.start", {"job_id": pending["job_id"]})
    assert started["queue_position"] == BLOCKED + 1


async def starts_in_order(room: Room, in_order: list[str]) -> None:
    """The first ones start, in their order, while commands are answered."""
    async with room.watched(job_get={"job_id": "job-00000"}) as running:
        began = asyncio.get_running_loop().time()
        await room.probe.call("node.resume", NODE)
        await room.probe.until(lambda event: event["_key"].endswith(".status.completed"), number=STARTED + 1)
        taken_s = asyncio.get_running_loop().time() - began
        await room.probe.call("node.drain", NODE)
    say(f"{STARTED} jobs of 3 steps on two slots in {taken_s:.1f} s")
    say(running)
    running.holds(MOST_MIB)
    started = [event["subject"] for event in room.probe.events if is_start(event)][1:]  # the first was to warm up
    assert started == in_order[: len(started)]


def is_start(event: Json) -> bool:
    """Whether a job has got its devices."""
    return event["_key"].endswith(".status.starting")
