"""The disk with the output, or the one with the daemon's state, is full."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import processes_of
from tests.faults.account import assert_sound
from tests.faults.disk import Disk, small_disk
from tests.faults.place import Place, step_reached
from tests.faults.witness import Witness

pytestmark = pytest.mark.services


@pytest.fixture
def state_disk(place: Place) -> Iterator[Disk]:
    """A small disk for the daemon's state."""
    with small_disk(place.folder / "state") as disk:
        yield disk


@pytest.fixture
def output_disk(place: Place) -> Iterator[Disk]:
    """A small disk for the trainings' output."""
    with small_disk(place.work / "out") as disk:
        yield disk


async def test_a_full_output_disk_fails_the_job_and_says_so_and_a_resume_goes_on(
    place: Place, found: Witness, output_disk: Disk
) -> None:
    await place.daemon()
    job_id = await found.create(place.request(place.model(steps=40, step_seconds=0.05), save_steps=5))
    await found.until(lambda event: event["_key"] == f"job.{job_id}.checkpoint")
    output_disk.fill()
    failed = (await found.status(job_id, "failed"))["data"]
    assert (failed["error_code"], failed["exit_code"]) == ("disk_full", 1)
    assert "No space left on device" in failed["error_message"]
    assert processes_of(job_id) == []
    output_disk.free()
    await found.order("job.resume", {"job_id": job_id})
    await found.status(job_id, "completed", attempt=2)
    assert "--resume_from_checkpoint" in (await found.job(job_id))["swift_argv"]
    await assert_sound(found, job_id)


async def test_a_full_state_disk_fails_jobs_and_leaves_the_daemon_up(
    place: Place, found: Witness, state_disk: Disk
) -> None:
    daemon = await place.daemon()
    quiet = await found.create(place.request(place.model(steps=60, hold_at=4)))
    loud = await found.create(place.request(place.model(steps=200, step_seconds=0.05)))
    for job_id in (quiet, loud):
        await step_reached(found, job_id, 4)
    state_disk.fill()
    new = await found.create(place.request(place.model(steps=3)))
    failed = (await found.status(new, "failed"))["data"]
    assert failed["error_code"] == "spawn_failed"
    assert "No space left on device" in failed["error_message"]
    await found.order("job.stop", {"job_id": quiet, "grace_seconds": 1})  # its order can't be written either
    assert (await found.order("system.status"))["status"] in {"ok", "degraded"}
    daemon = await place.replace(daemon)  # an upgrade comes at the worst time
    assert (await found.job(new))["status"] == "failed"

    state_disk.free()
    await found.status(quiet, "cancelled")
    ended = (await found.status(loud, "failed"))["data"]  # it could not write its log any more
    assert ended["exit_code"] not in (None, 0)
    assert ended["error_code"] == "disk_full"
    later = await found.create(place.request(place.model(steps=3)))
    await found.status(later, "completed")
    await assert_sound(found, quiet, loud, later)
    assert await place.end(daemon, signal.SIGTERM) == 0


def test_a_small_disk_can_be_filled(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "disk" / "more").write_text("x")
        disk.free()
        (tmp_path / "disk" / "more").write_text("x")
