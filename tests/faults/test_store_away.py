"""mongod is killed with SIGKILL and restarted while trainings run and commands come."""

import asyncio
import json
import random
import time
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.e2e.harness import Json
from tests.faults.account import assert_sound
from tests.faults.place import Place, step_reached
from tests.faults.services import Services
from tests.faults.witness import Witness
from tests.waiting import until

pytestmark = pytest.mark.services

PATIENCE_LIMIT_S = 20
"""A command that wants a reply waits 10 s for the store; this machine may be slow."""


async def test_a_store_that_is_killed_is_no_failure(place: Place, found: Witness, pair: Services) -> None:
    chance = random.Random(1)
    await place.daemon()
    held = place.model(steps=320, step_seconds=0.05, hold_at=300)  # over all of it
    long = await found.create(place.request(held, save_steps=50))
    short = await found.create(place.request(place.model(steps=30, step_seconds=0.05)))
    await step_reached(found, short, 3)
    await pair.kill("mongod")
    request = place.request(place.model(steps=5))
    await found.post("job.create", request, message_id="silent")  # nobody waits for it: it is tried until it succeeds
    since = time.monotonic()
    refused = await found.raw("job.create", json.dumps(request).encode(), PATIENCE_LIMIT_S, message_id="asking")
    assert refused["error"]["code"] == "unavailable"
    assert "SWIFT_TRAINER_MONGODB_URL" in refused["error"]["message"]
    assert time.monotonic() - since >= 5
    assert "End time of running main" in place.log(short)  # its whole end falls into the outage
    await pair.up("mongod")
    await found.status(short, "completed")
    silent, asking = [await found.create(request, message_id=name) for name in ("silent", "asking")]
    assert await found.create(request, message_id="silent") == silent

    for _ in range(2):
        await asyncio.sleep(chance.uniform(0, 0.5))  # the moment is what is drawn
        await pair.kill("mongod")
        await pair.up("mongod")
    Path(held, "go").touch()
    for job_id in (silent, asking, long):
        await found.status(job_id, "completed")
    assert (await found.order("job.list"))["total"] == 4
    await assert_sound(found, long, short, silent, asking)


async def test_what_a_store_has_acknowledged_outlives_its_kill(place: Place, found: Witness, pair: Services) -> None:
    """It is killed right after the curve, and at last the progress of the last step, were written."""
    await place.daemon()
    steps = 120
    job_id = await found.create(place.request(place.model(steps=steps, step_seconds=0.05)))
    with MongoClient[Json](pair.mongodb_url) as client:
        stored = client[place.settings()["SWIFT_TRAINER_MONGODB_DATABASE"]]

        def points() -> int:
            return sum(len(bucket["points"]) for bucket in stored["metrics"].find({"job_id": job_id}))

        for _ in range(2):
            before = points()
            await until(lambda before=before: points() > before)
            await pair.kill("mongod")
            await pair.up("mongod")
        await until(lambda: stored["jobs"].find_one({"_id": job_id, "current_step": steps}))
        await pair.kill("mongod")
        await pair.up("mongod")
    await found.status(job_id, "completed")
    await assert_sound(found, job_id)


async def test_a_store_that_answers_nobody_for_a_while_is_no_failure(
    place: Place, found: Witness, pair: Services
) -> None:
    await place.daemon(mongodb_url=f"{pair.mongodb_url}/?socketTimeoutMS=1000")
    job_id = await found.create(place.request(place.model(steps=60, step_seconds=0.05)))
    await step_reached(found, job_id, 3)
    pair.freeze("mongod")
    await until(lambda: "outage_waiting" in place.daemon_log() or "waits:" in place.daemon_log())
    await until(lambda: "End time of running main" in place.log(job_id))
    pair.thaw("mongod")
    await found.status(job_id, "completed")
    await assert_sound(found, job_id)
