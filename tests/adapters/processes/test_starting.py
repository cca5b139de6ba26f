"""Starting a run: what the process finds, what is recorded, and what is said when it can't be started."""

import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from daemon.adapters import processes
from daemon.adapters.processes import RUN_MARK
from daemon.ports import SpawnError
from tests.runner.harness import Place, alive
from tests.waiting import until


async def test_both_streams_are_appended_to_the_log(place: Place) -> None:
    place.log.parent.mkdir(parents=True)
    place.log.write_text("before\n")
    run = await place.runs.spawn(place.spec("sh", "-c", "echo out; echo err >&2"))
    await run.wait()
    assert place.said().splitlines() == ["before", "out", "err"]


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -15 $$", -15), ("exit 241", 241)]
)
async def test_the_exit_code_is_the_leaders(place: Place, script: str, code: int) -> None:
    run = await place.runs.spawn(place.spec("sh", "-c", script))
    end = await run.wait()
    assert (end.exit_code, end.processes_left, end.rebooted, end.note) == (code, 0, False, "")
    assert abs(end.ended_at.timestamp() - time.time()) < 60
    assert abs(run.started_at.timestamp() - time.time()) < 60
    assert json.loads((place.record() / "exit.json").read_text())["exit_code"] == code
    assert await run.wait() == end


async def test_the_process_finds_a_clean_house(place: Place) -> None:
    """Its environment is the given one and the mark; no descriptor, signal mask or ignored signal is inherited."""
    code = (
        "import json, os, sys\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(json.dumps({'env': dict(os.environ), 'fds': sorted(os.listdir('/proc/self/fd'), key=int)[:-1],\n"
        "  'stdin': os.readlink('/proc/self/fd/0'), 'cwd': os.getcwd(), 'sid': os.getsid(0) == os.getpid(),\n"
        "  'blocked': status['SigBlk'].strip(), 'ignored': status['SigIgn'].strip()}))\n"
    )
    spec = place.spec(sys.executable, "-S", "-c", code, env={"ONE": "1"})
    kept_open = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept_open, True)  # as libraries do
    run = await place.runs.spawn(spec)
    os.close(kept_open)
    assert (await run.wait()).exit_code == 0
    found = json.loads(place.said())
    env = found.pop("env")
    assert {**spec.env, RUN_MARK: "job-1"}.items() <= env.items()
    assert found.pop("cwd") == str(place.folder)
    ignored = {number for number in signal.valid_signals() if int(found["ignored"], 16) >> number - 1 & 1}
    assert ignored <= {signal.SIGPIPE, signal.SIGXFSZ}, "Python itself ignores these two"
    del found["ignored"]
    assert found == {"fds": ["0", "1", "2"], "stdin": "/dev/null", "sid": True, "blocked": "0" * 16}


@pytest.mark.parametrize(
    ("argv", "changes", "message"),
    [
        (("no-such-command",), {}, "can't start no-such-command: No such file or directory"),
        (("/etc",), {}, "can't start /etc: Permission denied"),
        (("true",), {"cwd": Path("/no/such/folder")}, "can't enter the work folder /no/such/folder: No such file"),
        (("true",), {"cwd": Path("/etc/hostname")}, "can't enter the work folder /etc/hostname: Not a directory"),
        (("true",), {"log_path": Path("/etc")}, "can't open the log /etc: Is a directory"),
        (("true",), {"log_path": Path("/etc/hostname/a/run.log")}, "Not a directory"),
        (("true",), {"log_path": Path("/proc/run.log")}, "can't open the log /proc/run.log"),
        ((), {}, "has no command"),
        (("echo", "a\0b"), {}, "embedded null"),
        (("true",), {"env": {"A=B": "c"}}, "illegal environment variable name"),
    ],
)
async def test_what_cant_be_started_says_why(
    place: Place, argv: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpawnError, match=message.replace("(", r"\(")):
        await place.runs.spawn(place.spec(*argv, **changes))
    assert not (place.record() / "runner.json").exists()
    assert await place.runs.adopt("job-1") is None
    run = await place.runs.spawn(place.spec("sh", "-c", "exit 4"))  # nothing stands in the way of another try
    assert (await run.wait()).exit_code == 4


async def test_a_runner_that_dies_at_once_is_told_of(place: Place) -> None:
    place.runs = processes.LocalRuns(place.folder / "state", python="/bin/false")
    with pytest.raises(SpawnError, match="the runner did not start"):
        await place.runs.spawn(place.spec("true"))
    place.runs = processes.LocalRuns(place.folder / "state", python="/no/such/python")
    with pytest.raises(SpawnError, match=r"can't start the runner.*No such file"):
        await place.runs.spawn(place.spec("true"))


async def test_a_runner_that_does_not_come_to_start_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_LIMIT_S", 0.2)
    slow = place.folder / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    place.runs = processes.LocalRuns(place.folder / "state", python=str(slow))
    with pytest.raises(SpawnError, match="did not start"):
        await place.runs.spawn(place.spec("true"))
    assert not place.living()


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", ".", "a b", "x" * 129])
async def test_a_run_id_is_a_plain_name(place: Place, run_id: str) -> None:
    with pytest.raises(SpawnError, match="can't name a run"):
        await place.runs.spawn(place.spec("true", run_id=run_id))


async def test_a_full_log_does_not_hide_the_exit_code(place: Place) -> None:
    run = await place.runs.spawn(place.spec("sh", "-c", "echo lost; exit 5", log_path=Path("/dev/full")))
    assert (await run.wait()).exit_code == 5


async def test_runs_side_by_side_do_not_touch_each_other(place: Place) -> None:
    stays = await place.python("import time; time.sleep(600)", run_id="job-1")
    also = await place.python("import time; time.sleep(600)", run_id="job-11")
    fails = await place.runs.spawn(place.spec("sh", "-c", "exit 9", run_id="job-2"))
    assert (await fails.wait()).exit_code == 9
    await stays.stop(grace_s=20, save=False)
    assert (await stays.wait()).exit_code == -signal.SIGTERM
    assert also.pid is not None
    assert alive(also.pid)
    await also.stop(grace_s=20, save=False)
    assert (await also.wait()).exit_code == -signal.SIGTERM


# ---------------------------------------------------------------- never twice


async def test_a_run_is_never_started_twice(place: Place) -> None:
    spec = place.spec("sh", "-c", "echo started; exec sleep 600")
    found = await asyncio.gather(*(place.runs.spawn(spec) for _ in range(5)))
    assert len({run.pid for run in found}) == 1
    again = await place.runs.spawn(spec)
    assert again.pid == found[0].pid
    await until(place.said)
    await again.stop(grace_s=20, save=False)
    ends = await asyncio.gather(*(run.wait() for run in found))
    assert {end.exit_code for end in ends} == {-signal.SIGTERM}
    assert place.said() == "started\n"
    ended = await place.runs.spawn(spec)  # its record is there until it is forgotten
    assert (await ended.wait()).exit_code == -signal.SIGTERM
    await place.runs.forget("job-1")
    assert not place.record().exists()
    assert await place.runs.adopt("job-1") is None


async def test_a_run_that_is_just_starting_is_waited_for(place: Place) -> None:
    """A daemon was killed between a folder's making and the runner's first word: the lock tells."""
    place.record().mkdir(parents=True)
    lock = os.open(place.record() / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        adopting = asyncio.create_task(place.runs.adopt("job-1"))
        spawning = asyncio.create_task(place.runs.spawn(place.spec("sh", "-c", "exit 1")))
        await asyncio.wait({adopting, spawning}, timeout=0.1)
        assert not adopting.done()
        assert not spawning.done()
        (place.record() / "exit.json").write_text('{"exit_code": 7, "ended_at": 1700000000}')
        for run in (await adopting, await spawning):
            assert run is not None
            assert (await run.wait()).exit_code == 7
    finally:
        os.close(lock)


async def test_a_start_that_came_to_nothing_is_made_again(place: Place) -> None:
    place.record().mkdir(parents=True)
    lock = os.open(place.record() / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    spawning = asyncio.create_task(place.runs.spawn(place.spec("sh", "-c", "exit 6")))
    await asyncio.wait({spawning}, timeout=0.1)
    assert not spawning.done()
    os.close(lock)  # its holder died
    assert (await (await spawning).wait()).exit_code == 6


async def test_a_start_without_end_is_not_waited_for_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_LIMIT_S", 0.05)
    place.record().mkdir(parents=True)
    lock = os.open(place.record() / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SpawnError, match="does not come to start it"):
            await place.runs.spawn(place.spec("true"))
        with pytest.raises(SpawnError, match="does not come to start it"):
            await place.runs.adopt("job-1")
    finally:
        os.close(lock)


async def test_a_cancelled_start_is_a_whole_start(place: Place) -> None:
    """The daemon stops while it starts a run: the run is there for the next daemon."""
    spawning = asyncio.create_task(place.runs.spawn(place.spec("sleep", "600")))
    await asyncio.wait({spawning}, timeout=0)
    spawning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await spawning
    await until(lambda: (place.record() / "runner.json").exists())
    run = await place.runs.adopt("job-1")
    assert run is not None
    await run.stop(grace_s=20, save=False)
    assert (await run.wait()).exit_code == -signal.SIGTERM


async def test_ports_are_handed_out_once(place: Place) -> None:
    ports = [await place.runs.free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert all(1024 <= port <= 65535 for port in ports)
