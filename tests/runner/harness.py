"""What the tests of the runner share: a place for each, conditions to wait for, and no process left behind."""

import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from daemon import runner
from daemon.adapters.processes import LocalRun, LocalRuns
from daemon.ports import RunSpec

REPO = Path(__file__).resolve().parents[2]
STANDIN = (sys.executable, str(REPO / "tests" / "standin" / "swift_standin.py"))
LIMIT_S = 40.0
POLL_S = 0.01
MARK = "RUNNER_TEST"


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    return runner.start_of(pid) != ""


class Place:
    """A state folder, and runs whose processes all carry this test's mark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.runs = LocalRuns(folder / "state")
        self.log = folder / "state" / "logs" / "run.log"

    def spec(self, *argv: str, run_id: str = "job-1", **changes: Any) -> RunSpec:
        """A run in this place; `env` is added to the environment."""
        env = {**os.environ, MARK: self.mark, **changes.pop("env", {})}
        fields: dict[str, Any] = {"cwd": self.folder, "log_path": self.log, **changes}
        return RunSpec(run_id=run_id, argv=argv, env=env, **fields)

    async def python(self, code: str, run_id: str = "job-1", **changes: Any) -> LocalRun:
        """A run of a Python program."""
        return await self.runs.spawn(self.spec(sys.executable, "-S", "-c", code, run_id=run_id, **changes))

    async def standin(
        self, *options: str, run_id: str = "job-1", env: dict[str, str] | None = None, **told: Any
    ) -> LocalRun:
        """A run of the stand-in for `swift`, told what to do; its run folder is `out`."""
        model = self.folder / "model"
        model.mkdir(exist_ok=True)
        (model / "standin.json").write_text(json.dumps(told))
        argv = (
            *STANDIN,
            "sft",
            "--model",
            str(model),
            "--output_dir",
            str(self.folder / "out"),
            "--add_version",
            "false",
        )
        return await self.runs.spawn(self.spec(*argv, *options, run_id=run_id, env=env or {}))

    def record(self, run_id: str = "job-1") -> Path:
        """The folder of a run's record."""
        return self.folder / "state" / "runs" / run_id

    def runner_pid(self, run_id: str = "job-1") -> int:
        """The runner's process id."""
        return int(json.loads((self.record(run_id) / "runner.json").read_text())["runner_pid"])

    def said(self) -> str:
        """The log."""
        return self.log.read_text() if self.log.exists() else ""

    def living(self) -> list[int]:
        """This test's processes, runners included."""
        mark = f"{MARK}={self.mark}".encode()
        return [pid for pid, _, _, _ in runner.processes() if mark in runner.environ_of(pid) and alive(pid)]

    def named(self, name: str) -> list[int]:
        """This test's processes of a name."""
        mark = f"{MARK}={self.mark}".encode()
        return [pid for pid, _, found, _ in runner.processes() if found == name and mark in runner.environ_of(pid)]

    def end_all(self) -> list[int]:
        """The processes that were left a moment after the test; they are killed."""
        deadline = time.monotonic() + 10.0
        while (left := self.living()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for pid in left:
            runner.send(pid, signal.SIGKILL)
        return left
