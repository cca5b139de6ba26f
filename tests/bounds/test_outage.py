"""The store away while a job logs a thousand steps a second: memory is bounded, and then every step is there."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon.adapters.mongo import MongoStore
from tests.benchmarks.process import memory
from tests.bounds.conftest import losses
from tests.bounds.flood import loss_of
from tests.bounds.room import GO, Ear, Room, say
from tests.e2e.harness import REPO

pytestmark = pytest.mark.services

AWAY_S = 30.0
STEPS_A_SECOND = 1000
SECONDS = 32
STEPS = STEPS_A_SECOND * SECONDS
MOST_MIB = 60
CATCH_UP_S = 100


def mongod(word: str, folder: Path) -> None:
    """`kill` or `up`."""
    argv = [sys.executable, str(REPO / "deploy" / "services.py"), "mongod", word, "--dir", str(folder)]
    subprocess.run(argv, check=True, capture_output=True, timeout=120)


@pytest.mark.skipif("SWIFT_TRAINER_MONGODB_URL" in os.environ, reason="the store is not ours to end")
async def test_the_store_is_away_while_steps_come_fast(room: Room, store: MongoStore, services_dir: Path) -> None:
    model = room.model({"hold": GO}, {"lines": 0, "seconds": SECONDS, "steps": STEPS})
    async with Ear.on(room.url, "job.*.progress") as ear:
        job_id = await room.create(model)
        (model / GO).touch()
        await room.probe.status(job_id, "running")
        await asyncio.sleep(1)
        before = most = memory(room.daemon.pid).resident
        await asyncio.to_thread(mongod, "kill", services_dir)
        until = time.monotonic() + AWAY_S
        while time.monotonic() < until:
            await asyncio.sleep(0.5)
            most = max(most, memory(room.daemon.pid).resident)
        heard_while_away = len(ear.steps(job_id))
        await asyncio.to_thread(mongod, "up", services_dir)
        back = time.monotonic()
        async with room.watched() as watched:
            await room.probe.status(job_id, "completed", CATCH_UP_S)
            caught_up_s = time.monotonic() - back
        say(f"memory while the store was away: {before:.0f} + {most - before:.1f} MiB")
        say(f"{heard_while_away} steps were heard of meanwhile")
        say(f"{STEPS} steps told {caught_up_s:.1f} s after its return; {watched}")
        assert max(most, watched.most_mib) - before < MOST_MIB
        assert await losses(store, job_id) == [(step, loss_of(step)) for step in range(1, STEPS + 1)]
        steps = [heard.data["step"] for heard in ear.steps(job_id)]  # as many as the broker took while they were news
        assert steps == sorted(set(steps))
