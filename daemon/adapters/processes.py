"""The processes of this host: each run is held by a runner of its own, which outlives the daemon.

A run's record is a folder: `runner.json` (who runs), `stop.json` (an order), `exit.json` (how it ended). A pid is
believed only with its start time and the host's boot id. A runner that was killed leaves neither; then what is left of
its run is found by the marker in the environment, ended, and the run is lost.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from daemon import runner
from daemon.logs import get_log
from daemon.ports import RunEnd, RunSpec, SpawnError

log = get_log("processes")

START_LIMIT_S = 20.0
START_POLL_S = 0.002
TERM_S = 5.0
RUN_MARK = "SWIFT_TRAINER_RUN_ID"
"""Beside the contract's marks: tells an export's processes from a training's."""
PORTS_REMEMBERED = 64
_RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")


class LocalRuns:
    """Runs on this host, recorded below `state_dir/runs`."""

    def __init__(self, state_dir: Path, python: str = sys.executable) -> None:
        self._folder = state_dir / "runs"
        self._python = python
        self._ports: list[int] = []

    async def spawn(self, spec: RunSpec) -> "LocalRun":
        """Start a run. One of this id that was started before is taken up instead."""
        folder = self._record(spec.run_id)
        spec.log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            folder.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            adopted = await self.adopt(spec.run_id)
            if adopted is not None:
                return adopted
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        process = await self._start_runner(spec, folder)
        await self._wait_started(spec, folder, process)
        problem = _read(folder, "exit.json").get("spawn_error")
        if problem:
            shutil.rmtree(folder, ignore_errors=True)
            raise SpawnError(str(problem))
        return LocalRun(spec.run_id, folder, process)

    async def _start_runner(self, spec: RunSpec, folder: Path) -> asyncio.subprocess.Process:
        try:
            with (folder / "runner.log").open("ab") as out:
                return await asyncio.create_subprocess_exec(
                    self._python, "-I", "-S", runner.__file__, str(folder), str(spec.log_path), str(spec.cwd), *spec.argv,
                    env={**spec.env, RUN_MARK: spec.run_id},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )  # fmt: skip
        except (OSError, ValueError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise SpawnError(f"can't start the runner: {error}") from None

    async def _wait_started(self, spec: RunSpec, folder: Path, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not (folder / "runner.json").exists() and not (folder / "exit.json").exists():
            if process.returncode is not None and not (folder / "exit.json").exists():
                said = (folder / "runner.log").read_text(errors="replace")[-500:].strip()
                shutil.rmtree(folder, ignore_errors=True)
                raise SpawnError(f"the runner of {spec.run_id} ended with code {process.returncode}: {said}")
            if time.monotonic() > deadline:
                process.kill()
                shutil.rmtree(folder, ignore_errors=True)
                raise SpawnError(f"the runner of {spec.run_id} did not start within {START_LIMIT_S:g} s")
            await asyncio.sleep(START_POLL_S)

    async def adopt(self, run_id: str) -> "LocalRun | None":
        """Take up a run by its record."""
        folder = self._record(run_id)
        if not (folder / "runner.json").exists() and not (folder / "exit.json").exists():
            return None
        return LocalRun(run_id, folder, None)

    async def forget(self, run_id: str) -> None:
        """Remove a record."""
        await asyncio.to_thread(shutil.rmtree, self._record(run_id), ignore_errors=True)

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


class LocalRun:
    """One run, by its record; `process` is its runner where this daemon started it."""

    def __init__(self, run_id: str, folder: Path, process: asyncio.subprocess.Process | None) -> None:
        self._run_id = run_id
        self._folder = folder
        self._process = process
        self._started = _read(folder, "runner.json")
        self._end: RunEnd | None = None
        self._ended = asyncio.Lock()

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
        """Wait for the runner's word; where it is dead without one, end what is left and call the run lost."""
        async with self._ended:
            if self._end is None:
                if self._process is not None:
                    await self._process.wait()
                else:
                    await self._runner_gone()
                self._end = await asyncio.to_thread(self._read_end)
            elif self._end.processes_left:
                left = await asyncio.to_thread(self._kill_marked, signal.SIGKILL, 0.5)
                self._end = RunEnd(self._end.exit_code, self._end.ended_at, left, self._end.note, self._end.rebooted)
            return self._end

    async def stop(self, *, grace_s: float, save: bool) -> None:
        """Order the stop: written first, then the runner is told."""
        if self._end is None and not (self._folder / "exit.json").exists():
            order: dict[str, object] = {"grace_s": grace_s, "save": save}
            await asyncio.to_thread(runner.write_record, str(self._folder), "stop.json", order)
            if self._runner_alive():
                runner.send(int(self._started["runner_pid"]), signal.SIGUSR1)

    def _runner_alive(self) -> bool:
        """Whether the very runner of the record lives."""
        pid = self._started.get("runner_pid")
        if pid is None or self._started.get("boot_id") != runner.boot_id():
            return False
        stat = runner.stat_of(int(pid))
        return stat is not None and stat[0] not in "ZX" and stat[19] == self._started.get("runner_start")

    async def _runner_gone(self) -> None:
        """Wait for the end of a runner that is no child of ours, through a pidfd: nothing polls."""
        if not self._runner_alive():
            return
        try:
            number = os.pidfd_open(int(self._started["runner_pid"]))
        except ProcessLookupError:
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

    def _read_end(self) -> RunEnd:
        end = _read(self._folder, "exit.json")
        if "exit_code" in end:
            at = datetime.fromtimestamp(float(end.get("ended_at") or time.time()), UTC)
            return RunEnd(end["exit_code"], at, int(end.get("processes_left") or 0), str(end.get("note") or ""))
        rebooted = self._started.get("boot_id") not in (None, runner.boot_id())
        left = 0 if rebooted else self._kill_marked(signal.SIGTERM, TERM_S)
        if left:
            left = self._kill_marked(signal.SIGKILL, TERM_S)
        note = "" if rebooted else "what was left of it has been ended"
        return RunEnd(None, datetime.now(UTC), left, note, rebooted)

    def _kill_marked(self, number: int, wait_s: float) -> int:
        """Signal every process with this run's mark until none is left, at most so long; how many are left."""
        deadline = time.monotonic() + wait_s
        while True:
            found = _marked(self._run_id)
            if not found:
                return 0
            for pid in found:
                runner.send(pid, number)
            if time.monotonic() > deadline:
                return len(found)
            time.sleep(0.1)


def _marked(run_id: str) -> list[int]:
    """The living processes with a run's mark in their environment."""
    mark = f"{RUN_MARK}={run_id}".encode()
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mark in runner.environ_of(process.pid) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return {}
