"""What a training may write: a line without an end, and more lines than anybody reads."""

import json
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from daemon.adapters.mongo import MongoStore
from tests.bounds.conftest import losses
from tests.bounds.flood import loss_of
from tests.bounds.room import GO, Ear, Json, Room, say

pytestmark = pytest.mark.services

BLOB_BYTES = 1_000_000_000
EMPTY_LINES = 2_000_000
LINES, FLOOD_S, STEPS = 1_000_000, 10, 1000
MOST_MIB = 40
LOG_INTERVAL_S = 0.1
CLOCKS_DIFFER_S = 0.01
CATCH_UP_S = 60


def done(model: Path) -> list[Json]:
    """The acts that a flood has finished."""
    path = model / "done.json"
    return json.loads(path.read_text()) if path.exists() else []


async def test_a_line_without_an_end_costs_nothing(room: Room, store: MongoStore) -> None:
    async with room.quiet_job() as quiet:
        model = room.model({"steps": 5, "pause_s": 0}, {"blob": BLOB_BYTES}, {"steps": 20, "pause_s": 0})
        async with room.watched(quiet) as watched:
            began = time.time()
            job_id = await room.create(model)
            await room.probe.status(job_id, "completed", CATCH_UP_S)
            taken_s = time.time() - began
        act = done(model)[1]
        say(f"{BLOB_BYTES / 1e6:.0f} MB written in {act['ended'] - act['began']:.1f} s, all told after {taken_s:.1f} s")
        say(watched)
        watched.holds(MOST_MIB)
    job = await room.probe.call("job.get", {"job_id": job_id})
    path = Path(job["log_file_path"])
    try:
        points = await losses(store, job_id)
        assert [step for step, _ in points if step != 6] == [1, 2, 3, 4, 5, *range(7, 26)]  # 6 is in the long line
        assert [loss for _, loss in points] == [loss_of(step) for step, _ in points]
        tail = await room.probe.call("job.logs", {"job_id": job_id, "tail": 20})
        assert (tail["next_offset"], tail["eof"]) == (path.stat().st_size, True)
        assert ["'loss'" in line for line in tail["lines"]] == [True] * 19
        middle = await room.probe.call("job.logs", {"job_id": job_id, "offset": BLOB_BYTES // 2, "limit": 1024 * 1024})
        # no line is shown from its middle, where half a token would be no token; and reading on comes to its end
        assert (middle["lines"], middle["next_offset"]) == ([], BLOB_BYTES // 2 + 1024 * 1024)
    finally:
        path.unlink()


async def test_a_hundred_thousand_lines_a_second(room: Room, store: MongoStore) -> None:
    model = room.model({"hold": GO}, {"lines": LINES, "seconds": FLOOD_S, "steps": STEPS})
    async with room.quiet_job() as quiet, Ear.on(room.url, "job.*.progress", "job.*.log") as ear:
        job_id = await room.create(model)
        (model / GO).touch()
        async with room.watched(quiet) as watched:
            await room.probe.status(job_id, "completed", CATCH_UP_S)
            await ear.wait_reached(f"job.{job_id}.progress", "step", STEPS, CATCH_UP_S)
        log = Path((await room.probe.call("job.get", {"job_id": job_id}))["log_file_path"])
        await ear.wait_reached(f"job.{job_id}.log", "next_offset", log.stat().st_size, CATCH_UP_S)
    act = done(model)[1]
    written_s, delays = act["ended"] - act["began"], ear.delays(job_id)
    say(f"{LINES / written_s:.0f} lines a second for {written_s:.1f} s")
    say(f"a step was heard of after {median(delays):.3f} s (median), {max(delays):.3f} s (worst)")
    say(f"the last one {delays[-1]:.3f} s after it was written")
    say(watched)
    watched.holds(MOST_MIB)
    assert [heard.data["step"] for heard in ear.steps(job_id)] == list(range(1, STEPS + 1))
    is_accounted_for([heard.event for heard in ear.of(job_id, "log")], log)
    assert await losses(store, job_id) == [(step, loss_of(step)) for step in range(1, STEPS + 1)]


async def test_a_reader_that_is_far_behind_takes_every_digit(room: Room, store: MongoStore) -> None:
    """As fast as can be written: the reader comes after, and finds a `logging.jsonl` that is far ahead of it."""
    model = room.model({"lines": LINES // 2, "seconds": 0, "steps": 3 * STEPS})
    async with (
        room.quiet_job() as quiet,
        Ear.on(room.url, "job.*.progress", "job.*.log") as ear,
        room.watched(quiet) as watched,
    ):
        job_id = await room.create(model)
        await room.probe.status(job_id, "completed", CATCH_UP_S)
        await ear.wait_reached(f"job.{job_id}.progress", "step", 3 * STEPS, CATCH_UP_S)
    (act,) = done(model)
    say(f"{LINES // 2} lines in {act['ended'] - act['began']:.1f} s; caught up {ear.delays(job_id)[-1]:.1f} s later")
    say(watched)
    watched.holds(MOST_MIB)
    assert [heard.data["step"] for heard in ear.steps(job_id)] == list(range(1, 3 * STEPS + 1))
    assert await losses(store, job_id) == [(step, loss_of(step)) for step in range(1, 3 * STEPS + 1)]


async def test_nothing_but_line_ends(room: Room, store: MongoStore) -> None:
    """The dearest bytes that there are: each is a line."""
    model = room.model({"steps": 1, "pause_s": 0}, {"empty": EMPTY_LINES}, {"steps": 1, "pause_s": 0})
    async with room.quiet_job() as quiet, room.watched(quiet) as watched:
        job_id = await room.create(model)
        await room.probe.status(job_id, "completed", CATCH_UP_S)
    say(f"{EMPTY_LINES} empty lines: {watched}")
    watched.holds(MOST_MIB)
    assert await losses(store, job_id) == [(1, loss_of(1)), (2, loss_of(2))]


def is_accounted_for(batches: list[Json], log: Path) -> None:
    """At most one batch in 100 ms, from the file's begin to its end, and each byte is in a line or is counted."""
    datas = [batch["data"] for batch in batches]
    assert datas[0]["offset"] == 0
    assert datas[-1]["next_offset"] == log.stat().st_size
    for earlier, later in pairwise(datas):
        assert earlier["next_offset"] == later["offset"]
    for data in datas:
        shown = sum(len(line) + 1 for line in data["lines"])
        assert shown + data["skipped_bytes"] == data["next_offset"] - data["offset"]
    times = [datetime.fromisoformat(batch["time"]).timestamp() for batch in batches]
    least_s = min(later - earlier for earlier, later in pairwise(times[:-1]))  # the last one waits for nothing
    skipped = sum(data["skipped_bytes"] for data in datas)
    say(f"{len(batches)} log events, {skipped / 1e6:.0f} MB skipped, {least_s:.3f} s between two at least")
    assert least_s > LOG_INTERVAL_S - CLOCKS_DIFFER_S
