"""Where a test's faults happen: its folder, its daemons, its jobs, and at the end the proof that nothing is left.

Everything that is started here carries a mark in its environment, so that what is left can be found whatever became of
its parents.
"""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.harness import Daemon, Json
from tests.faults.witness import Witness

MARK = "SWIFT_FAULTS_MARK"
POLL_S = 0.005
LIMIT_S = 30.0


class Place:
    """A test's folder, with daemons on given services."""

    def __init__(self, folder: Path, amqp_url: str, mongodb_url: str, swift: str, **settings: object) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self._amqp_url = amqp_url
        self._mongodb_url = mongodb_url
        self._swift = swift
        self._settings = settings
        self._database = f"faults_{self.mark}"
        self._daemons: list[Daemon] = []
        self._nodes: dict[str, Daemon] = {}
        """The newest daemon of each node."""
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self._data = folder / "data.jsonl"
        self._data.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}')

    # ------------------------------------------------------------ daemons

    def settings(self, **more: object) -> dict[str, str]:
        """A daemon's environment; settings by keyword, in small letters."""
        chosen: dict[str, object] = {
            "amqp_url": self._amqp_url,
            "mongodb_url": self._mongodb_url,
            "mongodb_database": self._database,
            "node_id": "node-1",
            "state_dir": self.folder / "state",
            "work_dir": self.work,
            "swift_command": self._swift,
            "swift_version": "4.6.0",
            "devices": "cpu:4",
            "poll_seconds": 0.5,
            "stop_grace_seconds": 5,
            "log_level": "debug",
            **self._settings,
            **more,
        }
        return {MARK: self.mark, **{f"SWIFT_TRAINER_{name.upper()}": str(value) for name, value in chosen.items()}}

    async def daemon(self, **settings: object) -> Daemon:
        """Start a daemon; it is ready when it answers."""
        home = self.folder / str(settings.get("node_id", "node-1"))
        home.mkdir(exist_ok=True)
        daemon = Daemon(self.settings(**settings), home)
        await daemon.start()
        self._daemons.append(daemon)
        self._nodes[home.name] = daemon
        return daemon

    async def end(self, daemon: Daemon, number: int = signal.SIGKILL) -> int:
        """End a daemon; its exit code."""
        self._daemons.remove(daemon)
        return await daemon.stop(number)

    def pid(self, node_id: str) -> int:
        """The process of a node's daemon."""
        return self._nodes[node_id].pid

    async def kill(self, node_id: str) -> None:
        """End a node's daemon as a power cut would."""
        await self.end(self._nodes[node_id])

    async def replace(self, daemon: Daemon, number: int = signal.SIGKILL, **settings: object) -> Daemon:
        """End a daemon and start the next."""
        await self.end(daemon, number)
        return await self.daemon(**settings)

    # ------------------------------------------------------------ jobs

    def model(self, **steering: object) -> str:
        """A model's folder with what the stand-in is to do."""
        folder = self.folder / f"model-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "standin.json").write_text(json.dumps(steering))
        return str(folder)

    def request(self, model: str, **more: object) -> Json:
        """A request that starts at once and logs every step."""
        return {
            "training_type": "llm",
            "model_path": model,
            "datasets": [str(self._data)],
            "output_dir": "out",
            "logging_steps": 1,
            "save_steps": 10,
            "dataloader_num_workers": 1,
            "auto_export": False,
            "start": True,
            **more,
        }

    def record(self, run_id: str, node_id: str = "node-1") -> Path:
        """The folder of a run's record."""
        state = Path(self.settings(node_id=node_id)["SWIFT_TRAINER_STATE_DIR"])
        return state / "runs" / run_id

    def runner_pid(self, run_id: str) -> int:
        """The runner of a run."""
        return int(json.loads((self.record(run_id) / "runner.json").read_text())["runner_pid"])

    def log(self, job_id: str) -> str:
        """What a training has written."""
        path = self.folder / "state" / "logs" / f"llm_training_{job_id}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def daemon_log(self, node_id: str = "node-1") -> str:
        """What the daemons of a node have said."""
        return (self.folder / node_id / "daemon.log").read_text(errors="replace")

    # ------------------------------------------------------------ the end

    def left(self) -> list[psutil.Process]:
        """What lives of this place but its daemons."""
        daemons = {daemon.pid for daemon in self._daemons}
        return [process for process in marked(self.mark) if process.pid not in daemons]

    async def close(self) -> None:
        """End the daemons; then nothing may be left."""
        left = await self.abandon()
        assert not left, f"processes were left: {left}"

    async def abandon(self) -> list[str]:
        """End the daemons and everything else; what else there was."""
        for daemon in list(self._daemons):
            send(daemon.pid, signal.SIGCONT)
            await self.end(daemon)
        told: list[str] = []
        while left := self.left():  # runners first report each other's children to init, so look again
            told += [f"{process.pid} {_command(process)}" for process in left]
            for process in left:
                send(process.pid, signal.SIGKILL)
            await asyncio.sleep(POLL_S)
        return told


def marked(mark: str) -> list[psutil.Process]:
    """The living processes with a place's mark."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())[:200]
    return "gone"


def trainer_of(processes: list[psutil.Process]) -> int:
    """The process that trains: it runs `sft.py`, and no other of these that does is its parent."""
    lines: Mapping[int, str] = {process.pid: _command(process) for process in processes}
    for process in processes:
        with suppress(psutil.Error):
            own = "cli/sft.py" in lines[process.pid] and process.name() != "pt_data_worker"
            if own and "torch.distributed" not in lines[process.pid]:
                return process.pid
    raise AssertionError(f"nobody trains among {list(lines.values())}")


def send(pid: int, number: int) -> None:
    """Signal a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def step_reached(found: Witness, job_id: str, step: int, attempt: int = 1) -> None:
    """Wait until a job has told of a step."""

    def wanted(event: Json) -> bool:
        data: dict[str, Any] = event["data"]
        return event["subject"] == job_id and data.get("step", 0) >= step and data["attempt"] == attempt

    await found.until(wanted)
