"""Runs that outlive their daemon: taken up again by their record, which is believed of the very process only."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import runner
from daemon.adapters import processes
from daemon.adapters.processes import LocalRun
from tests.runner.harness import LIMIT_S, REPO, Place, alive
from tests.waiting import until

DAEMON = """
import asyncio, json, os, sys
from pathlib import Path
from daemon.adapters.processes import LocalRuns
from daemon.ports import RunSpec

async def main():
    state, log, cwd, stay, *argv = sys.argv[1:]
    run = await LocalRuns(Path(state)).spawn(RunSpec("job-1", tuple(argv), dict(os.environ), Path(cwd), Path(log)))
    waiting = asyncio.create_task(run.wait())
    print(run.pid, flush=True)
    await asyncio.sleep(float(stay))
    waiting.cancel()

asyncio.run(main())
"""


Stranger = subprocess.Popen[bytes]


@pytest.fixture
def strangers() -> Iterator[list[Stranger]]:
    """Two processes that no run has a mark on."""
    found = [subprocess.Popen(["sleep", "600"], env={}) for _ in range(2)]
    yield found
    for process in found:
        process.kill()
        process.wait()


def _daemon(place: Place, *argv: str, stay_s: float) -> "subprocess.Popen[str]":
    """A daemon of its own that starts a run and stays for a while."""
    spec = place.spec(*argv)
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            DAEMON,
            str(place.folder / "state"),
            str(place.log),
            str(place.folder),
            str(stay_s),
            *argv,
        ],
        env={**spec.env, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        text=True,
    )


def _wait_for(path: Path) -> str:
    """A shell command that waits for a file."""
    return f"while [ ! -e {path} ]; do sleep 0.02; done"


async def _adopted(place: Place) -> LocalRun:
    run = await place.runs.adopt("job-1")
    assert run is not None
    return run


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_run_outlives_its_daemon(place: Place, how: str) -> None:
    go = place.folder / "go"
    stay_s = 600 if how == "killed" else 0
    with _daemon(place, "sh", "-c", f"{_wait_for(go)}; exit 12", stay_s=stay_s) as daemon:
        assert daemon.stdout is not None
        pid = int(await asyncio.to_thread(daemon.stdout.readline))
        if how == "killed":
            daemon.kill()
        await asyncio.to_thread(daemon.wait)
    run = await _adopted(place)
    assert run.pid == pid
    assert alive(pid)
    waiting = asyncio.create_task(run.wait())
    await asyncio.wait({waiting}, timeout=0.1)
    assert not waiting.done()
    go.touch()
    end = await waiting
    assert (end.exit_code, end.processes_left, end.rebooted) == (12, 0, False)


async def test_a_run_that_ended_meanwhile_is_read_from_its_record(place: Place) -> None:
    with _daemon(place, "sh", "-c", "exit 13", stay_s=0) as daemon:
        await asyncio.to_thread(daemon.wait)
    await until(lambda: (place.record() / "exit.json").exists())
    await until(lambda: not place.living())
    end = await (await _adopted(place)).wait()
    assert end.exit_code == 13
    recorded = json.loads((place.record() / "exit.json").read_text())
    assert end.ended_at.timestamp() == pytest.approx(recorded["ended_at"], abs=0.001)


async def test_a_stop_goes_on_without_the_daemon(place: Place) -> None:
    with _daemon(place, "sleep", "600", stay_s=0) as daemon:
        await asyncio.to_thread(daemon.wait)
    run = await _adopted(place)
    await run.stop(grace_s=20, save=False)
    assert (await run.wait()).exit_code == -signal.SIGTERM


async def test_nothing_is_adopted_where_nothing_was(place: Place) -> None:
    assert await place.runs.adopt("job-1") is None
    place.record().mkdir(parents=True)
    assert await place.runs.adopt("job-1") is None


async def test_a_run_may_be_waited_for_by_many(place: Place) -> None:
    run = await place.runs.spawn(place.spec("sh", "-c", f"{_wait_for(place.folder / 'go')}; exit 2"))
    other = await _adopted(place)
    cancelled = asyncio.create_task(run.wait())
    waiting = [asyncio.create_task(each.wait()) for each in (run, run, other)]
    await asyncio.wait({cancelled}, timeout=0.05)
    cancelled.cancel()
    (place.folder / "go").touch()
    assert {end.exit_code for end in await asyncio.gather(*waiting)} == {2}


async def test_a_kernel_without_pidfds_is_asked_slowly(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(processes, "GONE_POLL_S", 0.01)
    run = await place.runs.spawn(place.spec("sh", "-c", "sleep 0.1; exit 8"))
    assert (await run.wait()).exit_code == 8


# ---------------------------------------------------------------- lost


async def test_a_killed_runner_leaves_nothing_running(place: Place) -> None:
    """What is left is found by its mark, sessions and double forks notwithstanding."""
    run = await place.standin("--dataloader_num_workers", "2", steps=10_000, setsid_children=1)
    await until(lambda: "'global_step/max_steps': '1/" in place.said())
    bystander = await place.python("import time; time.sleep(600)", run_id="job-11")
    os.kill(place.runner_pid(), signal.SIGKILL)
    end = await run.wait()
    assert (end.exit_code, end.processes_left, end.rebooted) == (None, 0, False)
    assert end.note == "what was left of it has been ended"
    assert bystander.pid is not None
    assert alive(bystander.pid)
    await bystander.stop(grace_s=20, save=False)
    await bystander.wait()
    assert not place.living()


async def test_a_lost_run_that_ignores_sigterm_is_killed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TERM_S", 0.2)
    run = await place.standin(steps=10_000, ignore_sigterm=True)
    await until(lambda: "'global_step/max_steps': '1/" in place.said())
    os.kill(place.runner_pid(), signal.SIGKILL)
    await until(lambda: not alive(place.runner_pid()))
    adopted = await _adopted(place)
    await adopted.stop(grace_s=0, save=False)  # nobody is there to hear it, and that is no error
    assert (await adopted.wait()).processes_left == 0
    assert (await run.wait()).exit_code is None
    assert not place.living()


async def test_what_cant_be_ended_is_reported_until_it_is_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM_S", "KILL_S", "INSIST_S"):
        monkeypatch.setattr(processes, name, 0.1)
    run = await place.python("import time; time.sleep(600)")
    os.kill(place.runner_pid(), signal.SIGKILL)
    real = runner.send
    monkeypatch.setattr(runner, "send", _no_effect)
    end = await run.wait()
    assert (end.exit_code, end.processes_left) == (None, 1)
    assert end.note == "what was left of it can't be ended"
    assert (await run.wait()).processes_left == 1
    monkeypatch.setattr(runner, "send", real)
    async with asyncio.timeout(LIMIT_S):
        while (await run.wait()).processes_left:
            pass
    assert not place.living()


async def test_what_a_runner_could_not_end_is_known_without_a_mark(place: Place, strangers: list[Stranger]) -> None:
    """The runner's last word names them by pid and start time; another process of that pid is not meant."""
    ours, other = strangers
    left = [[ours.pid, runner.start_of(ours.pid)], [other.pid, "1"]]
    _write(place, "exit.json", exit_code=None, ended_at=None, processes_left=2, left=left, note="7 (stuck, D)")
    run = await _adopted(place)
    end = await run.wait()
    assert (end.exit_code, end.processes_left, end.note) == (None, 2, "7 (stuck, D)")
    assert (await run.wait()).processes_left == 0
    await until(lambda: ours.poll() == -signal.SIGKILL)
    assert other.poll() is None


async def test_a_pid_alone_is_not_believed(place: Place, strangers: list[Stranger]) -> None:
    """The runner of the record is gone, and its pid is another process's now."""
    other, _ = strangers
    _write_runner(place, other.pid, runner_start="1")
    run = await _adopted(place)
    await run.stop(grace_s=0, save=False)
    end = await asyncio.wait_for(run.wait(), 20)
    assert (end.exit_code, end.rebooted) == (None, False)
    assert other.poll() is None


async def test_after_a_reboot_nothing_is_believed(place: Place, strangers: list[Stranger]) -> None:
    """Even the start time may be the same by chance."""
    other, _ = strangers
    _write_runner(place, other.pid, runner_start=runner.start_of(other.pid), boot_id="another boot")
    run = await _adopted(place)
    await run.stop(grace_s=0, save=False)
    end = await asyncio.wait_for(run.wait(), 20)
    assert (end.exit_code, end.rebooted, end.processes_left, end.note) == (None, True, 0, "")
    assert other.poll() is None


async def test_an_end_from_before_the_reboot_is_believed(place: Place) -> None:
    _write_runner(place, 1, boot_id="another boot")
    _write(place, "exit.json", exit_code=0, ended_at=1_700_000_000.0, processes_left=0)
    end = await (await _adopted(place)).wait()
    assert (end.exit_code, end.rebooted, end.ended_at.timestamp()) == (0, False, 1_700_000_000.0)


async def test_a_run_whose_command_was_not_there_is_adopted_with_its_reason(place: Place) -> None:
    """Its daemon died before it could say so."""
    _write_runner(place, 1)
    _write(place, "exit.json", exit_code=127, ended_at=1_700_000_000.0, note="can't start swift: No such file")
    end = await (await _adopted(place)).wait()
    assert (end.exit_code, end.note) == (127, "can't start swift: No such file")


def _no_effect(_pid: int, _number: int) -> None:
    """A signal to a process in the kernel's hands."""


def _write(place: Place, name: str, **record: object) -> None:
    place.record().mkdir(parents=True, exist_ok=True)
    runner.write_record(str(place.record()), name, record)


def _write_runner(place: Place, pid: int, **changes: object) -> None:
    record = {"runner_pid": pid, "runner_start": "1", "pid": pid, "start": "1", "boot_id": runner.boot_id()}
    _write(place, "runner.json", **{**record, "started_at": time.time(), **changes})
