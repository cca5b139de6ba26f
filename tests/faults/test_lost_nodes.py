"""A cluster on one machine: a node dies, freezes or is cut off; its job goes on elsewhere, never runs twice at once.

Each node has a daemon, a state folder and devices of its own; they share the output folder, as hosts share a file
system.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import psutil
import pytest

from tests.e2e.harness import Json, processes_of
from tests.faults.account import assert_sound
from tests.faults.place import Place, send, step_reached
from tests.faults.proxy import HEARTBEAT, QUICK_STORE, Proxy
from tests.faults.services import Services
from tests.faults.witness import Witness

pytestmark = pytest.mark.services

LOST_S = 6.0
LOOK_S = 0.05


def node(place: Place, number: int, **more: object) -> Json:
    """Settings of one of the daemons."""
    own: Json = {"node_id": f"node-{number}", "state_dir": place.folder / f"state-{number}", "devices": "cpu:1"}
    return {**own, "lease_seconds": 3, "node_lost_seconds": LOST_S, **more}


def attempts_alive(job_id: str) -> set[str]:
    """The attempts of a job of which any process lives."""
    found: set[str] = set()
    for process in processes_of(job_id):
        with suppress(psutil.Error):
            found.add(process.environ()["SWIFT_TRAINER_ATTEMPT"])
    return found


@asynccontextmanager
async def never_twice(job_id: str) -> AsyncGenerator[None]:
    """Whatever happens meanwhile, no two attempts of the job live at once."""
    seen: list[set[str]] = []

    async def watch() -> None:
        while True:
            seen.append(await asyncio.to_thread(attempts_alive, job_id))
            await asyncio.sleep(LOOK_S)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
    assert max(len(alive) for alive in seen) == 1
    assert set[str]().union(*seen) == {"1", "2"}


async def started_on_the_first(place: Place, found: Witness, **first: object) -> str:
    """A job that the first node alone has claimed and that has saved a checkpoint; then there is a second node."""
    await place.daemon(**node(place, 1, **first))
    job_id = await found.create(place.request(place.model(steps=150, step_seconds=0.1)))
    await step_reached(found, job_id, 12)
    await place.daemon(**node(place, 2))
    assert (await found.job(job_id))["node_id"] == "node-1"
    return job_id


async def assert_taken_over(found: Witness, job_id: str) -> None:
    """The second node has begun the next attempt, from the checkpoint, and said why."""
    starting = await found.status(job_id, "starting", attempt=2)
    job = await found.job(job_id)
    assert (job["node_id"], job["attempt"]) == ("node-2", 2)
    assert "checkpoint-" in job["swift_argv"][job["swift_argv"].index("--resume_from_checkpoint") + 1]
    queued = next(event for event in found.durable(job_id) if event["sequence"] == starting["sequence"] - 1)
    assert queued["data"]["reason"].startswith("node node-1 is lost; goes on from ")
    lost = await found.until(lambda event: event["_key"] == "node.node-1.offline")
    assert "its jobs go to other nodes" in lost["data"]["reason"]


async def assert_back(found: Witness) -> None:
    """The first node is there again, and starts jobs."""
    await found.until(lambda event: event["_key"] == "node.node-1.online" and "back" in event["data"]["reason"])
    nodes = {one["node_id"]: one for one in (await found.order("node.list"))["nodes"]}
    assert {one["state"] for one in nodes.values()} == {"online"}


async def test_the_job_of_a_node_that_dies_goes_on_elsewhere(place: Place, found: Witness) -> None:
    job_id = await started_on_the_first(place, found)
    async with never_twice(job_id):
        await place.kill("node-1")
        await assert_taken_over(found, job_id)
        await found.status(job_id, "completed", attempt=2)
    await assert_sound(found, job_id)
    await place.daemon(**node(place, 1))  # and nothing of it is there twice when that comes back
    await assert_back(found)
    later = await found.create(place.request(place.model(steps=3), gpu_id="0"))
    await found.status(later, "completed")
    assert processes_of(job_id) == []


async def test_a_daemon_that_was_frozen_for_longer_than_its_lease(place: Place, found: Witness) -> None:
    job_id = await started_on_the_first(place, found)
    async with never_twice(job_id):
        frozen = place.pid("node-1")
        send(frozen, signal.SIGSTOP)
        try:
            await assert_taken_over(found, job_id)
        finally:
            send(frozen, signal.SIGCONT)
        await assert_back(found)
        await found.status(job_id, "completed", attempt=2)
    await assert_sound(found, job_id)


async def test_a_node_that_is_cut_off_and_comes_back(place: Place, found: Witness, pair: Services) -> None:
    async with (
        Proxy.before(pair.amqp_url, **HEARTBEAT) as broker,
        Proxy.before(pair.mongodb_url, **QUICK_STORE) as store,
    ):
        job_id = await started_on_the_first(place, found, amqp_url=broker.url, mongodb_url=store.url)
        async with never_twice(job_id):
            broker.blackhole()
            store.blackhole()
            await assert_taken_over(found, job_id)
            await broker.heal()
            await store.heal()
            await assert_back(found)
            await found.status(job_id, "completed", attempt=2)
        await assert_sound(found, job_id)
