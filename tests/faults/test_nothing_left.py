"""The process tree: ranks with sessions of their own, daemonized children, and trainers that do not want to hear. After
the job's last event nothing of it lives, however it ended.
"""

import signal
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import processes_of
from tests.faults.account import assert_sound
from tests.faults.place import Place, send, step_reached
from tests.faults.witness import Witness

pytestmark = pytest.mark.services


async def test_nothing_is_left_however_a_job_ends(place: Place, found: Witness) -> None:
    stubborn = place.model(steps=5000, ignore_sigterm=True, setsid_children=3, workers_linger_seconds=30)
    failing = place.model(steps=5000, step_seconds=0.05, setsid_children=2, fail="exception", fail_at=20)
    ending = place.model(steps=20, step_seconds=0.05, setsid_children=2)
    await place.daemon(devices="cpu:5")
    stopped = await found.create(place.request(stubborn, gpu_count=2, dataloader_num_workers=2))
    failed = await found.create(place.request(failing))
    completed = await found.create(place.request(ending))
    headless = await found.create(place.request(place.model(steps=5000)))
    for job_id in (stopped, failed, completed, headless):
        await step_reached(found, job_id, 3)
    send((await found.job(headless))["process_id"], signal.SIGKILL)  # its trainer trains on, as with the real ms-swift
    tree = processes_of(stopped)
    sessions = {_session(process.pid) for process in tree}
    assert len(sessions) >= 1 + 1 + 2 + 3  # the runner, the leader, two ranks, three daemonized
    daemonized = Path((await found.job(stopped))["run_dir"], "daemonized.txt").read_text().split()
    assert all(psutil.Process(int(pid)).ppid() == place.runner_pid(f"{stopped}-1") for pid in daemonized)

    assert (await found.order("job.stop", {"job_id": stopped, "grace_seconds": 1}))["status"] == "stopping"
    cancelled = (await found.status(stopped, "cancelled"))["data"]
    assert processes_of(stopped) == []
    assert not any(process.is_running() for process in tree)
    assert cancelled["processes_left"] == 0
    for job_id, status in ((failed, "failed"), (completed, "completed"), (headless, "failed")):
        await found.status(job_id, status)
        assert processes_of(job_id) == []
    devices = (await found.order("gpu.list"))["gpus"]
    assert {device["state"] for device in devices} == {"free"}
    killed = await found.job(headless)
    assert (killed["error_code"], killed["exit_code"]) == ("killed", -9)
    await assert_sound(found, stopped, failed, completed, headless)


def _session(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
