"""The runner by itself, as a process: what it tells, also where the disk is full or SIGKILL has no effect."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon import runner
from tests.runner.harness import REPO, Place, alive
from tests.waiting import until

STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)"
)
LEAVES_ONE = (
    "import os, signal, sys, time\n"
    "if os.fork():\n"
    "    os._exit(5)\n"
    "os.setsid()\n"
    "signal.signal(signal.SIGTERM, signal.SIG_DFL if {listens} else signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "time.sleep({stays_s})\n"
)
QUICK = {"LINGER_S": 0.4, "TERM_S": 0.4, "UNKILLABLE_S": 0.4, "RETRY_S": 0.02, "IDLE_S": 0.1}


class Driven:
    """A runner with faults, started by the test."""

    def __init__(self, place: Place, faults: dict[str, Any], *argv: str) -> None:
        self.record = place.record()
        self.record.mkdir(parents=True)
        place.log.parent.mkdir(parents=True)
        spec = place.spec(*argv)
        told = json.dumps({**QUICK, **faults})
        self.process = subprocess.Popen(
            [
                sys.executable, str(REPO / "tests" / "runner" / "driven.py"),
                told, str(self.record), str(place.log), str(place.folder), *argv,
            ],
            env={**spec.env, "PYTHONPATH": str(REPO)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def said(self) -> str:
        """What came on its standard output until that was closed."""
        assert self.process.stdout is not None
        with self.process.stdout as out:
            return out.read().decode()

    async def end(self) -> dict[str, Any]:
        """Wait for its end; its last record, empty where it left none."""
        await until(lambda: self.process.poll() is not None)
        return runner.read_record(str(self.record), "exit.json") or {}

    def stop(self, **order: object) -> None:
        """Order a stop."""
        runner.write_record(str(self.record), "stop.json", order)
        os.kill(self.process.pid, signal.SIGUSR1)


async def test_what_the_leader_leaves_behind_may_finish(place: Place) -> None:
    driven = Driven(place, {"LINGER_S": 60}, sys.executable, "-S", "-c", LEAVES_ONE.format(listens=True, stays_s=0.3))
    assert driven.said() == ""
    end = await driven.end()
    assert (end["exit_code"], end["processes_left"], end["stopped"]) == (5, 0, False)
    assert place.said() == "ready\n"


@pytest.mark.parametrize("listens", [True, False])
async def test_what_lingers_is_ended(place: Place, listens: bool) -> None:
    driven = Driven(place, {}, sys.executable, "-S", "-c", LEAVES_ONE.format(listens=listens, stays_s=600))
    assert driven.said() == ""
    end = await driven.end()
    assert (end["exit_code"], end["processes_left"], end["left"]) == (5, 0, [])
    assert not place.living()


async def test_a_leftover_that_cant_be_killed_is_told_of(place: Place) -> None:
    driven = Driven(
        place, {"unkillable": True}, sys.executable, "-S", "-c", LEAVES_ONE.format(listens=False, stays_s=600)
    )
    assert driven.said() == ""
    end = await driven.end()
    assert (end["exit_code"], end["processes_left"]) == (5, 1)
    ((pid, start),) = end["left"]
    assert runner.start_of(pid) == start != ""
    assert end["note"].startswith(f"{pid} (python")
    os.kill(pid, signal.SIGKILL)


async def test_a_leader_that_cant_be_killed_is_told_of(place: Place) -> None:
    """It never ends, so there is no exit code to wait for."""
    driven = Driven(place, {"unkillable": True}, sys.executable, "-S", "-c", STUBBORN)
    assert driven.said() == ""
    await until(place.said)
    driven.stop(grace_s=0.1, save=False)
    end = await driven.end()
    assert (end["exit_code"], end["processes_left"], end["stopped"]) == (None, 1, True)
    os.kill(end["left"][0][0], signal.SIGKILL)


async def test_a_full_disk_does_not_lose_the_exit_code(place: Place) -> None:
    full = place.folder / "full"
    full.touch()
    driven = Driven(place, {"full_disk": str(full)}, "sh", "-c", "exit 11")
    assert driven.said() == ""
    await until(lambda: not alive(_leader(driven)))
    assert driven.process.poll() is None
    full.unlink()
    end = await driven.end()
    assert (end["exit_code"], end["disk_full"]) == (11, True)


async def test_a_record_that_is_gone_is_not_waited_for(place: Place) -> None:
    driven = Driven(place, {}, "sh", "-c", f"while [ -e {place.record()} ]; do sleep 0.02; done")
    assert driven.said() == ""
    for path in (*driven.record.iterdir(), driven.record):
        path.rmdir() if path.is_dir() else path.unlink()
    assert await driven.end() == {}


async def test_what_cant_be_recorded_is_not_started(place: Place) -> None:
    witness = place.folder / "started"
    driven = Driven(place, {"full_disk_at_start": True}, "touch", str(witness))
    assert driven.said() == "can't record the run: [Errno 28] No space left on device"
    assert await driven.end() == {}
    assert not witness.exists()


async def test_a_runner_that_dies_before_it_tells_starts_nothing(place: Place) -> None:
    """Else a training would run that nobody knows, and its devices would be given again."""
    witness = place.folder / "started"
    driven = Driven(place, {"dies_before_release": True}, "touch", str(witness))
    assert driven.said() == "", "its pipe is closed: what it forked is gone as well"
    assert await driven.end() == {}
    await until(lambda: not place.living())
    assert not witness.exists()
    assert not (driven.record / "runner.json").exists()


async def test_a_runner_that_dies_when_it_has_told_starts_nothing_either(place: Place) -> None:
    witness = place.folder / "started"
    driven = Driven(place, {"dies_after_record": True}, "touch", str(witness))
    assert driven.said() == ""
    assert await driven.end() == {}
    await until(lambda: not place.living())
    assert not witness.exists()
    run = await place.runs.adopt("job-1")
    assert run is not None
    assert (await run.wait()).exit_code is None


async def test_a_command_that_is_not_there_is_recorded_and_said(place: Place) -> None:
    driven = Driven(place, {}, "no-such-command")
    assert driven.said() == "can't start no-such-command: No such file or directory"
    end = await driven.end()
    assert (end["exit_code"], end["note"]) == (127, "can't start no-such-command: No such file or directory")


async def test_a_second_runner_of_a_run_refuses(place: Place) -> None:
    run = await place.runs.spawn(place.spec("sleep", "600"))
    argv = [sys.executable, runner.__file__, str(place.record()), "0", str(place.log), "/", "touch", "second"]
    second = subprocess.run(argv, capture_output=True, text=True, check=True)  # noqa: ASYNC221  # it ends at once
    assert second.stdout == "this run was started before"
    assert run.pid is not None
    assert alive(run.pid)
    await run.stop(grace_s=20, save=False)
    assert (await run.wait()).exit_code == -signal.SIGTERM


async def test_a_lost_signal_only_delays_an_order(place: Place) -> None:
    driven = Driven(place, {}, "sleep", "600")
    assert driven.said() == ""
    runner.write_record(str(driven.record), "stop.json", {"grace_s": 30, "save": False})
    end = await driven.end()
    assert (end["exit_code"], end["stopped"]) == (-signal.SIGTERM, True)


async def test_a_host_with_a_lease_is_looked_at_more_often(place: Place) -> None:
    """The wait for the next look stands still while the host sleeps; the lease does not."""
    folder = place.record().parent
    folder.mkdir(parents=True)
    runner.write_lease(str(folder), runner.lease_now() + 600)
    driven = Driven(place, {"IDLE_S": 600}, "sleep", "600")
    assert driven.said() == ""
    runner.write_lease(str(folder), runner.lease_now())
    end = await driven.end()
    assert (end["exit_code"], end["fenced"]) == (-signal.SIGKILL, True)


async def test_an_order_that_cant_be_read_is_a_stop_with_the_usual_grace(place: Place) -> None:
    driven = Driven(place, {}, "sleep", "600")
    assert driven.said() == ""
    driven.stop(grace_s="soon", save="perhaps")
    assert (await driven.end())["exit_code"] == -signal.SIGTERM


def test_a_record_is_whole_or_absent(tmp_path: Path) -> None:
    runner.write_record(str(tmp_path), "a.json", {"one": 1})
    assert runner.read_record(str(tmp_path), "a.json") == {"one": 1}
    with pytest.raises(TypeError):
        runner.write_record(str(tmp_path), "a.json", {"one": object()})
    assert runner.read_record(str(tmp_path), "a.json") == {"one": 1}
    (tmp_path / "torn.json").write_text('{"one": ')
    assert runner.read_record(str(tmp_path), "torn.json") is None
    assert runner.read_record(str(tmp_path), "none.json") is None


def test_the_runner_is_light() -> None:
    """It starts in milliseconds because it imports little: none of these came in by the way."""
    code = f"import sys\n__name__ = 'runner'\nexec(open({runner.__file__!r}).read())\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    heavy = {"asyncio", "subprocess", "logging", "pathlib", "typing", "dataclasses", "socket", "threading"}
    assert heavy & set(done.stdout.split()) == set()


def _leader(driven: Driven) -> int:
    return int((runner.read_record(str(driven.record), "runner.json") or {})["pid"])  # pyright: ignore[reportArgumentType]
