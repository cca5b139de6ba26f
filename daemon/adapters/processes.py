"""The processes of this host: each run is held by a runner of its own, which outlives the daemon.

A run's record is a folder: `lock` (held by whoever starts the run, then by its runner), `runner.json` (who runs),
`stop.json` (an order), `exit.json` (how it ended). A pid is believed only with its start time and the host's boot id. A
runner that was killed leaves no `exit.json`; then what is left of its run is found by the marker in the environment,
ended, and the run is lost.

The runner is no child of asyncio: its transports kill what they started when they are dropped, and this must live on.

What may block has a thread of its own each time, and none of asyncio's: a file system that hangs somewhere else, with
all those threads in it, must not keep the lease from being renewed.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon import runner
from daemon.adapters.threads import in_thread
from daemon.logs import get_log
from daemon.ports import RunEnd, RunSpec, SpawnError, UnavailableError

log = get_log("processes")

START_LIMIT_S = 20.0
STARTING_POLL_S = 0.01
GONE_POLL_S = 0.5
"""Where the kernel has no pidfd."""
TERM_S = 5.0
KILL_S = 5.0
INSIST_S = 0.5
LEFT_POLL_S = 0.1
RUN_MARK = "SWIFT_TRAINER_RUN_ID"
"""Beside the contract's marks: tells an export's processes from a training's."""
PORTS_REMEMBERED = 64
THREAD = "runs"
SAID_BYTES = 4096
LOCK = 3
"""The descriptor by which the runner inherits the lock."""
_RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")


class LocalRuns:
    """Runs on this host, recorded below `state_dir/runs`."""

    def __init__(self, state_dir: Path, python: str = sys.executable) -> None:
        self._folder = state_dir.absolute() / "runs"
        self._python = python
        self._ports: list[int] = []
        self._leasing = asyncio.Lock()

    async def spawn(self, spec: RunSpec) -> "LocalRun":
        """Start a run. One of this id that was started before is taken up instead.

        All of it happens in a thread, which goes on where the daemon is cancelled. A start that the daemon's end cuts
        off is waited for by the next one (`adopt`).
        """
        record = self._record(spec.run_id)
        return await in_thread(lambda: _spawn(record, spec, self._python), THREAD)

    async def adopt(self, run_id: str) -> "LocalRun | None":
        """Take up a run by its record. One that an earlier daemon was just starting is waited for."""
        record = self._record(run_id)
        return await in_thread(lambda: _adopt(record, run_id), THREAD)

    async def forget(self, run_id: str) -> None:
        """Remove a record."""
        record = self._record(run_id)
        await in_thread(lambda: shutil.rmtree(record, ignore_errors=True), THREAD)

    async def lease(self, seconds: float | None) -> None:
        """Write or take away the host's lease, which the runners look at. Raises `UnavailableError`."""
        until = None if seconds is None else runner.lease_now() + seconds  # now: the thread may begin late
        try:
            async with self._leasing:
                await in_thread(lambda: _lease(self._folder, until), THREAD)
        except OSError as error:
            raise UnavailableError(
                f"the lease of this host's runs can't be renewed ({error}); they end when it runs out: "
                "is the disk of SWIFT_TRAINER_STATE_DIR full?"
            ) from None

    async def known(self) -> tuple[str, ...]:
        """The ids of all records."""
        return await in_thread(lambda: _known(self._folder), THREAD)

    async def free_port(self) -> int:
        """A TCP port that nobody listens on and that was not handed out lately."""
        while True:
            with socket.socket() as probe:
                probe.bind(("", 0))
                port: int = probe.getsockname()[1]
            if port not in self._ports:
                self._ports = [*self._ports[-PORTS_REMEMBERED:], port]
                return port

    def _record(self, run_id: str) -> Path:
        if not _RUN_ID.match(run_id):
            raise SpawnError(f"{run_id!r} can't name a run")
        return self._folder / run_id


def _lease(folder: Path, until: float | None) -> None:
    path = folder / runner.LEASE
    if until is None:
        path.unlink(missing_ok=True)
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    runner.write_lease(str(folder), until)


def _known(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and _RUN_ID.match(path.name)))


# ---------------------------------------------------------------- starting, in a thread


def _spawn(folder: Path, spec: RunSpec, python: str) -> "LocalRun":
    if not spec.argv:
        raise SpawnError(f"run {spec.run_id} has no command")
    try:
        spec.log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _settled(folder) as lock:
            if lock is not None:
                _start(folder, spec, python, lock)
    except (OSError, ValueError) as error:
        raise SpawnError(f"can't start run {spec.run_id}: {error}") from None
    return LocalRun(spec.run_id, folder)


def _adopt(folder: Path, run_id: str) -> "LocalRun | None":
    if not folder.is_dir():
        return None
    try:
        with _settled(folder) as lock:
            return LocalRun(run_id, folder) if lock is None else None
    except OSError as error:
        raise SpawnError(f"can't take up run {run_id}: {error}") from None


@contextlib.contextmanager
def _settled(folder: Path) -> Generator[int | None]:
    """The lock of a run that never started, or None: it did. One that somebody is just starting is waited for."""
    if _recorded(folder):
        yield None
        return
    deadline = time.monotonic() + START_LIMIT_S
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not (held := _take(lock)) and not _recorded(folder):
            if time.monotonic() > deadline:
                raise TimeoutError(f"its runner does not come to start it within {START_LIMIT_S:g} s")
            time.sleep(STARTING_POLL_S)
        yield lock if held and not _recorded(folder) else None
    finally:
        os.close(lock)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recorded(folder: Path) -> bool:
    return (folder / "runner.json").exists() or (folder / "exit.json").exists()


def _start(folder: Path, spec: RunSpec, python: str, lock: int) -> None:
    """Start the runner and wait for its word. Raises `SpawnError`, and leaves no record."""
    try:
        said = _start_runner(folder, spec, python, lock)
        problem = said if said or _recorded(folder) else _tail(folder / "runner.log") or "the runner did not start"
    except (OSError, ValueError) as error:
        problem = f"can't start the runner: {error}"
    if problem:
        shutil.rmtree(folder, ignore_errors=True)
        raise SpawnError(problem)


def _start_runner(folder: Path, spec: RunSpec, python: str, lock: int) -> str:
    """Start the runner; why it can't start the run, where it says so."""
    reading, writing = os.pipe()
    try:
        pid = os.posix_spawn(
            python,
            [
                python, "-I", "-S", runner.__file__, str(folder), str(LOCK), str(spec.log_path.absolute()),
                str(spec.cwd.absolute()), *spec.argv,
            ],
            {**spec.env, RUN_MARK: spec.run_id},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_OPEN, 2, str(folder / "runner.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, lock, LOCK),
            ],
            setsid=True,
        )  # fmt: skip
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    said = _until_closed(reading)
    if said or not _recorded(folder):
        runner.send(pid, signal.SIGKILL)  # a training that is not recorded yet ends with it
        os.waitpid(pid, 0)
    return said


def _until_closed(reading: int) -> str:
    """What comes from a pipe until it is closed, or the runner's time to start is over."""
    said = b""
    deadline = time.monotonic() + START_LIMIT_S
    with os.fdopen(reading, "rb", buffering=0) as source:
        poll = select.poll()
        poll.register(source)
        while (left_s := deadline - time.monotonic()) > 0 and poll.poll(left_s * 1000):
            part = source.read(SAID_BYTES)
            if not part:
                break
            said += part
    return said.decode(errors="replace").strip()


# ---------------------------------------------------------------- a run


class LocalRun:
    """One run, by its record. Make it off the event loop's thread: it reads."""

    def __init__(self, run_id: str, folder: Path) -> None:
        self._run_id = run_id
        self._folder = folder
        self._started = _read(folder, "runner.json")
        self._left_behind: set[tuple[int, str]] = set()
        self._end: RunEnd | None = None
        self._waiting = asyncio.Lock()

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def pid(self) -> int | None:
        """The leader's process id."""
        found = self._started.get("pid")
        return int(found) if found is not None else None

    @property
    def started_at(self) -> datetime:
        """When the runner started it (UTC)."""
        return datetime.fromtimestamp(float(self._started.get("started_at") or 0.0), UTC)

    async def wait(self) -> RunEnd:
        """Wait for the runner's word; where it is dead without one, end what is left and call the run lost.

        Where processes were left, each further call tries again to end them.
        """
        async with self._waiting:
            if self._end is None:
                await self._wait_runner_gone()
                self._end = await self._read_end()
            elif self._end.processes_left:
                self._end = replace(self._end, processes_left=await self._end_left(signal.SIGKILL, INSIST_S))
            return self._end

    async def stop(self, *, grace_s: float, save: bool) -> None:
        """Order the stop: written first, then the runner is told."""
        if self._end is None:
            await in_thread(lambda: self._order_stop(grace_s, save), THREAD)

    def _order_stop(self, grace_s: float, save: bool) -> None:
        if (self._folder / "exit.json").exists():
            return
        before = _read(self._folder, "stop.json")  # perhaps not seen by the runner yet
        order: dict[str, object] = {
            "grace_s": min(grace_s, before.get("grace_s", grace_s)),
            "save": save and before.get("save", True),
        }
        try:
            runner.write_record(str(self._folder), "stop.json", order)
        except OSError as error:  # the runner takes its default grace then
            log.warning("order_unwritten", f"the stop's order can't be written: {error}", run_id=self._run_id)
        if self._runner_alive():
            runner.send(int(self._started["runner_pid"]), signal.SIGUSR1)

    def _runner_alive(self) -> bool:
        """Whether the very runner of the record lives."""
        pid, start = self._started.get("runner_pid"), self._started.get("runner_start")
        return bool(pid and start and not self._other_boot() and runner.start_of(int(pid)) == start)

    def _other_boot(self) -> bool:
        return self._started.get("boot_id") not in (None, runner.boot_id())

    async def _wait_runner_gone(self) -> None:
        """Wait for the runner's end, through a pidfd: nothing polls."""
        if not self._runner_alive():
            return
        pid = int(self._started["runner_pid"])
        try:
            number = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:
            while self._runner_alive():  # noqa: ASYNC110  # nothing can tell
                await asyncio.sleep(GONE_POLL_S)
            return
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(number, gone.set)
        try:
            if self._runner_alive():  # else the pid was another's before the pidfd held it
                await gone.wait()
        finally:
            loop.remove_reader(number)
            os.close(number)

    async def _read_end(self) -> RunEnd:
        end = await in_thread(lambda: _read(self._folder, "exit.json"), THREAD)
        self._reap_runner()
        if "exit_code" in end:
            at = datetime.fromtimestamp(float(end.get("ended_at") or time.time()), UTC)
            self._left_behind = {(int(pid), str(start)) for pid, start in end.get("left") or ()}
            return RunEnd(
                exit_code=end["exit_code"],
                ended_at=at,
                processes_left=int(end.get("processes_left") or 0),
                note=str(end.get("note") or ""),
                disk_full=bool(end.get("disk_full")),
                fenced=bool(end.get("fenced")),
            )
        now = datetime.now(UTC)
        if self._other_boot():
            return RunEnd(None, now, rebooted=True)
        left = await self._end_left(signal.SIGTERM, TERM_S) and await self._end_left(signal.SIGKILL, KILL_S)
        note = "what was left of it can't be ended" if left else "what was left of it has been ended"
        return RunEnd(None, now, left, note)

    def _reap_runner(self) -> None:
        """Take the runner's exit, where this daemon started it."""
        pid = int(self._started.get("runner_pid") or 0)
        stat = runner.stat_of(pid) if pid else None
        if stat is not None and stat[19] == self._started.get("runner_start"):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    async def _end_left(self, number: int, wait_s: float) -> int:
        """Signal every process that is left of this run until none is, at most so long; how many are left."""
        deadline = time.monotonic() + wait_s
        told: set[tuple[int, str]] = set()
        while True:
            found = await in_thread(self._left, THREAD)
            for process in found:
                if number == signal.SIGKILL or process not in told:
                    runner.send(process[0], number)
            told |= found
            if not found or time.monotonic() > deadline:
                return len(found)
            await asyncio.sleep(LEFT_POLL_S)

    def _left(self) -> set[tuple[int, str]]:
        """What lives of this run without its runner: known from the runner's word, or by the mark."""
        known = {(pid, start) for pid, start in self._left_behind if runner.start_of(pid) == start}
        return known | _marked(self._run_id)


def _marked(run_id: str) -> set[tuple[int, str]]:
    """The living processes with a run's mark in their environment: pid and start time."""
    mark = f"{RUN_MARK}={run_id}".encode()
    pids = [pid for pid, _, _, state in runner.processes() if state not in runner.DEAD]
    found = {(pid, runner.start_of(pid)) for pid in pids if mark in runner.environ_of(pid)}
    return {(pid, start) for pid, start in found if start}


def _read(folder: Path, name: str) -> dict[str, Any]:
    return runner.read_record(str(folder), name) or {}


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[-500:].strip()
    except OSError:
        return ""
