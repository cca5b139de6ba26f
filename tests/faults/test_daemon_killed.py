"""The daemon is killed with SIGKILL, at chosen and at random moments of its jobs' lives; the next one goes on.

The stand-in for swift prints a line when it starts, so a second start of one attempt can be seen.
"""

import asyncio
import random
import signal

import pytest

from tests.e2e.harness import Event
from tests.faults.account import assert_sound
from tests.faults.place import Place, step_reached
from tests.faults.witness import Witness
from tests.waiting import until

pytestmark = pytest.mark.services

SEED = 1
"""`make chaos` has the others."""


def status_of(job_id: str, status: str, attempt: int | None = None) -> "Wanted":
    """A job's status event."""
    return Wanted(f"job.{job_id}.status.{status}", attempt)


class Wanted:
    """A predicate on events by routing key, and by attempt where one is given."""

    def __init__(self, key: str, attempt: int | None = None) -> None:
        self._key = key
        self._attempt = attempt

    def __call__(self, event: Event) -> bool:
        return event["_key"] == self._key and self._attempt in (None, event["data"]["attempt"])


async def test_a_job_survives_a_kill_at_every_moment_of_its_life(place: Place, found: Witness) -> None:
    model = place.model(steps=60, step_seconds=0.05, start_seconds=0.5, save_seconds=0.5, export_seconds=2)
    daemon = await place.daemon()
    job_id = await found.create(place.request(model, start=False, save_steps=30, auto_export=True))
    daemon = await place.replace(daemon)  # created

    asking = asyncio.create_task(found.order("job.start", {"job_id": job_id}))
    await until(lambda: place.record(f"{job_id}-1").exists())
    daemon = await place.replace(daemon)  # claimed, being spawned
    assert (await asking)["status"] in {"queued", "starting", "running"}

    await until(lambda: place.log(job_id))
    daemon = await place.replace(daemon)  # spawned, no line of training yet
    await step_reached(found, job_id, 5)
    daemon = await place.replace(daemon)  # running
    await until(lambda: "Saving model checkpoint" in place.log(job_id))
    daemon = await place.replace(daemon)  # a checkpoint is half written
    await found.status(job_id, "completed")
    daemon = await place.replace(daemon)  # ended, its export claimed or not
    await found.until(Wanted(f"job.{job_id}.export.running"))
    await place.replace(daemon)  # exporting
    exported = await found.until(Wanted(f"job.{job_id}.export.completed"))
    assert exported["data"]["export_path"].endswith("checkpoint-60-merged")

    job = await found.job(job_id)
    assert (job["attempt"], job["exit_code"], job["current_step"]) == (1, 0, 60)
    told = [event["data"]["step"] for event in found.durable(job_id) if event["type"] == "swift.job.checkpoint.v1"]
    assert told == [30, 60]
    await assert_sound(found, job_id)


async def test_a_stop_and_an_end_are_carried_on_without_the_daemon(place: Place, found: Witness) -> None:
    stubborn = place.model(steps=5000, ignore_sigterm=True, setsid_children=1)
    failing = place.model(steps=60, step_seconds=0.05, fail="crash", fail_at=30)
    quick = place.model(steps=30, step_seconds=0.05)
    daemon = await place.daemon()
    stopped, crashed, ended = [await found.create(place.request(model)) for model in (stubborn, failing, quick)]
    for job_id in (stopped, crashed, ended):
        await step_reached(found, job_id, 2)
    await found.order("job.stop", {"job_id": stopped, "grace_seconds": 1})
    await found.until(status_of(stopped, "stopping"))
    await until(lambda: (place.record(f"{stopped}-1") / "stop.json").exists())
    await place.end(daemon)
    await until(lambda: not place.left())  # the runners saw to it
    await place.daemon()
    assert (await found.status(stopped, "cancelled"))["data"]["processes_left"] == 0
    assert (await found.status(crashed, "failed"))["data"]["exit_code"] not in (None, 0)
    await found.status(ended, "completed")
    assert (await found.job(ended))["exit_code"] == 0
    await assert_sound(found, stopped, crashed, ended)


async def test_kills_at_random_moments_lose_and_double_nothing(place: Place, found: Witness) -> None:
    chance = random.Random(SEED)
    daemon = await place.daemon()
    jobs: list[str] = []
    for _ in range(6):
        model = place.model(steps=chance.randint(10, 40), step_seconds=0.03, save_seconds=0.1, export_seconds=0.3)
        jobs.append(await found.create(place.request(model, auto_export=chance.random() < 0.5)))
        await asyncio.sleep(chance.uniform(0, 0.4))  # the moment is what is drawn
        daemon = await place.replace(daemon)
    for job_id in jobs:
        await found.status(job_id, "completed")
    for job_id in jobs:
        if (await found.job(job_id))["auto_export"]:
            await found.until(Wanted(f"job.{job_id}.export.completed"))
    await place.end(daemon, signal.SIGKILL)
    await place.daemon()
    await assert_sound(found, *jobs)
    assert {(await found.job(job_id))["attempt"] for job_id in jobs} == {1}
