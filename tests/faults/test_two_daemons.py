"""Two daemons with nodes of their own on one broker and one store: each job once, and commands reach any job."""

import signal

import pytest

from tests.e2e.harness import Json, processes_of
from tests.faults.account import assert_sound
from tests.faults.place import Place, step_reached
from tests.faults.witness import Witness

pytestmark = pytest.mark.services

JOBS = 8


def second(place: Place) -> Json:
    """Settings of the second daemon."""
    return {"node_id": "node-2", "state_dir": place.folder / "state-2", "devices": "cpu:2"}


async def test_two_daemons_start_each_job_once(place: Place, found: Witness) -> None:
    await place.daemon(devices="cpu:2")
    await place.daemon(**second(place))
    model = place.model(steps=10, step_seconds=0.03)
    jobs = [await found.create(place.request(model)) for _ in range(JOBS)]
    for job_id in jobs:
        await found.status(job_id, "completed")
    done = [await found.job(job_id) for job_id in jobs]
    assert {job["node_id"] for job in done} == {"node-1", "node-2"}
    assert {job["attempt"] for job in done} == {1}
    await assert_sound(found, *jobs)


async def test_a_command_reaches_a_job_whichever_daemon_takes_it(place: Place, found: Witness) -> None:
    first = await place.daemon(devices="cpu:2")
    await place.daemon(**second(place))
    model = place.model(steps=5000)
    jobs = [await found.create(place.request(model)) for _ in range(4)]
    for job_id in jobs:
        await step_reached(found, job_id, 2)
    nodes = {job_id: (await found.job(job_id))["node_id"] for job_id in jobs}
    assert sorted(nodes.values()) == ["node-1", "node-1", "node-2", "node-2"]
    for job_id in jobs[1:]:  # the broker deals them out in turn
        await found.order("job.stop", {"job_id": job_id, "grace_seconds": 1})
    for job_id in jobs[1:]:
        await found.status(job_id, "cancelled")
        assert processes_of(job_id) == []
    orphan = next(job_id for job_id in jobs if nodes[job_id] == nodes[jobs[0]])

    # a stop that is ordered while the job's own daemon is dead is carried out by the next one
    assert nodes[orphan] == "node-1"
    await place.end(first, signal.SIGKILL)
    assert (await found.order("job.stop", {"job_id": orphan}))["status"] == "stopping"
    assert processes_of(orphan)
    await place.daemon(devices="cpu:2")
    await found.status(orphan, "cancelled")
    await assert_sound(found, *jobs)


async def test_a_drained_node_gives_its_job_away_at_the_deadline(place: Place, found: Witness) -> None:
    await place.daemon(devices="cpu:1")
    job_id = await found.create(place.request(place.model(steps=120, step_seconds=0.05), save_steps=1000))
    await step_reached(found, job_id, 5)
    await place.daemon(**second(place))
    await found.order("node.drain", {"node_id": "node-1", "deadline_seconds": 0.5})
    await found.status(job_id, "starting", attempt=2)
    job = await found.job(job_id)
    assert job["node_id"] == "node-2"
    assert "--resume_from_checkpoint" in job["swift_argv"], "it saved before it went"
    await found.status(job_id, "completed", attempt=2)
    await assert_sound(found, job_id)


async def test_a_higher_priority_interrupts_a_lower_one_which_saves_and_goes_on(place: Place, found: Witness) -> None:
    await place.daemon(devices="cpu:1", preemption="true", preemption_grace_seconds=10)
    low = await found.create(place.request(place.model(steps=100, step_seconds=0.05), save_steps=1000))
    await step_reached(found, low, 5)
    high = await found.create(place.request(place.model(steps=5), priority=9))
    await found.status(high, "completed")
    await found.status(low, "completed", attempt=2)
    assert "--resume_from_checkpoint" in (await found.job(low))["swift_argv"]
    reasons = [event["data"].get("reason", "") for event in found.durable(low)]
    assert any(reason.startswith(f"interrupted for job {high} of priority 9") for reason in reasons)
    await assert_sound(found, low, high)
