"""A broker, a store and a daemon of the benchmark's own, and the models that steer its trainings. All of it is gone at
the end, also when the end is Ctrl-C.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.benchmarks.amqp import Bus, Json

REPO = Path(__file__).resolve().parents[2]
SERVICES = REPO / "deploy" / "services.py"
TRAINEE = Path(__file__).with_name("trainee.sh")
READY_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
ENDED = ("completed", "failed", "cancelled")


@contextmanager
def services() -> Generator[dict[str, str]]:
    """A private RabbitMQ and mongod (or the ones that the environment names); their URLs as settings."""
    folder = tempfile.mkdtemp(prefix="swift-trainer-bench-services-")
    try:
        _services(folder, "up")
        lines = _services(folder, "env").splitlines()
        yield dict(line.split("=", 1) for line in lines if "=" in line)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # an impatient second Ctrl-C must not leave them running
            signal.signal(number, signal.SIG_IGN)
        _services(folder, "down")
        shutil.rmtree(folder, ignore_errors=True)


def _services(folder: str, word: str) -> str:
    """One word to `deploy/services.py`, out of reach of the terminal's Ctrl-C; what it printed."""
    argv = [sys.executable, str(SERVICES), word, "--dir", folder]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            out, _ = process.communicate()
        except KeyboardInterrupt:
            process.wait()  # what it has begun to start is then written down, and can be ended
            raise
    if process.returncode != 0:
        raise SystemExit(f"deploy/services.py {word} failed")
    return out


class Room:
    """A running daemon and what is needed to use it."""

    def __init__(self, folder: Path, url: str, pid: int) -> None:
        self.folder = folder
        self.pid = pid
        self._url = url
        self._open: list[Bus] = []
        self.commands = self.bus()
        self.commands.take_replies()

    def bus(self) -> Bus:
        """A further connection to the broker, closed with the room."""
        bus = Bus(self._url)
        self._open.append(bus)
        return bus

    def close(self) -> None:
        """End the connections."""
        for bus in self._open:
            bus.close()

    def model(self, *, lines: int, noise: int = 0, pause_s: float = 0.0) -> Path:
        """A model whose training writes so many metric lines; see `trainee.sh`."""
        folder = self.folder / f"model-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "steering").write_text(f"lines={lines} noise={noise} pause={pause_s}\n")
        (folder / "go").touch()
        return folder

    def request(self, model: Path, **more: object) -> Json:
        """A request for a training of a model, with a folder of its own for its output."""
        return {
            "training_type": "llm",
            "model_path": str(model),
            "datasets": [str(self.folder / "data.jsonl")],
            "output_dir": f"out/{uuid.uuid4().hex[:12]}",
            "logging_steps": 1,
            "auto_export": False,
            **more,
        }

    def create(self, model: Path, **more: object) -> str:
        """Create a job; its id."""
        return self.commands.call("job.create", self.request(model, **more))["job_id"]


@contextmanager
def daemon(urls: Mapping[str, str], slots: int, **settings: str) -> Generator[Room]:
    """A daemon that is ready, with so many CPU slots; its database is its own where the settings say nothing else."""
    folder = Path(tempfile.mkdtemp(prefix="swift-trainer-bench-"))
    (folder / "data.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    given = {f"SWIFT_TRAINER_{name.upper()}": value for name, value in settings.items()}
    chosen = {
        **urls,
        "SWIFT_TRAINER_MONGODB_DATABASE": f"bench_{uuid.uuid4().hex}",
        "SWIFT_TRAINER_NODE_ID": "bench",
        "SWIFT_TRAINER_STATE_DIR": str(folder / "state"),
        "SWIFT_TRAINER_WORK_DIR": str(folder),
        "SWIFT_TRAINER_SWIFT_COMMAND": f"bash {TRAINEE}",
        "SWIFT_TRAINER_SWIFT_VERSION": "4.6.0",
        "SWIFT_TRAINER_DEVICES": f"cpu:{slots}",
        "SWIFT_TRAINER_STOP_GRACE_SECONDS": "2",
        "SWIFT_TRAINER_ON_EXIT": "stop",
        **given,
    }
    env = {key: value for key, value in os.environ.items() if not key.startswith("SWIFT_TRAINER_")}
    log_path = folder / "daemon.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon.main"],
            cwd=folder,
            env={**env, "PYTHONPATH": str(REPO), **chosen},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    room: Room | None = None
    try:
        room = Room(folder, urls["SWIFT_TRAINER_AMQP_URL"], process.pid)
        _wait_ready(room.commands, process, log_path)
        yield room
    finally:
        for go in folder.glob("model-*/go"):
            go.unlink()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
        process.kill()
        process.wait()
        if room is not None:
            room.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_ready(bus: Bus, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while True:
        with suppress(TimeoutError):
            bus.call("params.default", {"training_type": "llm"}, limit_s=1)
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the daemon did not start:\n{log_path.read_text()[-2000:]}")


def wait_status(events: Bus, job_ids: set[str], *statuses: str) -> None:
    """Read status events until each of these jobs has had one of these; raises where one ended otherwise."""
    waiting = set(job_ids)
    while waiting:
        data = events.receive().json()["data"]
        if data["job_id"] in waiting and data.get("status") in statuses:
            waiting.discard(data["job_id"])
        elif data["job_id"] in waiting and data.get("status") in ENDED:
            raise SystemExit(f"job {data['job_id']} has ended: {data}")
