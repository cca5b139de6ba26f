"""What holds a training is killed: its runner, the runner and all below it, the leader, or the process that trains."""

import signal
from pathlib import Path

import pytest

from tests.e2e.harness import processes_of
from tests.faults.account import assert_sound
from tests.faults.place import Place, send, step_reached, trainer_of
from tests.faults.witness import Witness
from tests.waiting import until

pytestmark = pytest.mark.services


async def test_a_killed_runner_is_killed_never_completed_and_what_is_left_is_ended(
    place: Place, found: Witness
) -> None:
    model = place.model(steps=5000, ignore_sigterm=True, setsid_children=1)
    daemon = await place.daemon()
    alone = await found.create(place.request(model))
    whole = await found.create(place.request(model))
    unseen = await found.create(place.request(place.model(steps=5000)))
    for job_id in (alone, whole, unseen):
        await step_reached(found, job_id, 3)

    send(place.runner_pid(f"{alone}-1"), signal.SIGKILL)  # its training is an orphan that nobody watches
    everything = processes_of(whole)
    send(place.runner_pid(f"{whole}-1"), signal.SIGKILL)
    for process in everything:
        send(process.pid, signal.SIGKILL)
    for job_id in (alone, whole):
        failed = (await found.status(job_id, "failed"))["data"]
        assert (failed["error_code"], failed["exit_code"]) == ("killed", None)
        assert "runner was killed" in failed["error_message"]
        assert processes_of(job_id) == []

    await place.end(daemon)
    send(place.runner_pid(f"{unseen}-1"), signal.SIGKILL)
    await place.daemon()
    failed = (await found.status(unseen, "failed"))["data"]
    assert (failed["error_code"], failed["exit_code"]) == ("killed", None)
    await assert_sound(found, alone, whole, unseen)


async def test_a_run_that_was_killed_at_its_last_step_is_not_completed(place: Place, found: Witness) -> None:
    model = place.model(steps=10, hold_at=10)  # it has logged its last step, and has not ended
    await place.daemon()
    job_id = await found.create(place.request(model))
    await step_reached(found, job_id, 10)
    send(place.runner_pid(f"{job_id}-1"), signal.SIGKILL)
    failed = (await found.status(job_id, "failed"))["data"]
    assert failed["error_code"] == "killed"
    await assert_sound(found, job_id)


async def test_a_killed_trainer_fails_the_job_with_its_signal(place: Place, found: Witness) -> None:
    await place.daemon()
    job_id = await found.create(place.request(place.model(steps=5000)))
    await step_reached(found, job_id, 3)
    send(trainer_of(processes_of(job_id)), signal.SIGKILL)
    failed = (await found.status(job_id, "failed"))["data"]
    assert (failed["error_code"], failed["exit_code"]) == ("killed", 247)  # as a `swift` says of its child's SIGKILL
    await assert_sound(found, job_id)


async def test_an_export_whose_runner_is_killed_fails_and_can_be_ordered_again(place: Place, found: Witness) -> None:
    model = place.model(steps=5, export_seconds=30)
    await place.daemon()
    job_id = await found.create(place.request(model, auto_export=True))
    record = place.record(f"{job_id}-export-1")
    await until(lambda: (record / "runner.json").exists())
    send(place.runner_pid(f"{job_id}-export-1"), signal.SIGKILL)
    failed = await found.until(lambda event: event["_key"] == f"job.{job_id}.export.failed")
    assert "lost without an exit status" in failed["data"]["export_error"]
    assert processes_of(job_id) == []
    Path(model, "standin.json").write_text("{}")
    await found.order("job.export", {"job_id": job_id})
    await found.until(lambda event: event["_key"] == f"job.{job_id}.export.completed")
    assert (await found.job(job_id))["status"] == "completed"
    await assert_sound(found, job_id)
