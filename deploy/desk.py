"""What the demo and `make dev` share: a broker, a store, ms-swift and a daemon of one's own, in one folder.

The broker and the store of SWIFT_TRAINER_AMQP_URL and SWIFT_TRAINER_MONGODB_URL are used where those are set, else
private ones are started (`services.py`). Of the daemon's other settings only those of the shell count that `open_desk`
names, so that a demo is the same everywhere.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import services

from daemon import app

REPO = Path(__file__).resolve().parents[1]
READY_LIMIT_S = 120
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CA_FILE = "SWIFT_TRAINER_AMQP_CA_FILE"
GRACE = "SWIFT_TRAINER_STOP_GRACE_SECONDS"


def fail(message: str) -> None:
    """Say what is wrong and what to do, and leave."""
    sys.stderr.write(f"{message}\n")
    sys.exit(1)


@dataclass(frozen=True)
class Desk:
    """The folder with everything, and what the daemon is told."""

    folder: Path
    settings: Mapping[str, str]

    @property
    def amqp_url(self) -> str:
        """URL of the broker."""
        return self.settings["SWIFT_TRAINER_AMQP_URL"]

    @property
    def amqp_ca_file(self) -> str | None:
        """CA bundle of a broker that was given, where the system's own does not know it."""
        return self.settings.get(CA_FILE)

    @property
    def log_path(self) -> Path:
        """The daemon's own log."""
        return self.folder / "daemon.log"


def open_desk(folder: Path, database: str, on_exit: str) -> Desk:
    """Have the broker, the store and ms-swift, and choose the devices; nothing is done twice.

    `on_exit` is what a stop of the daemon does to its trainings: `leave` or `stop`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    for name in services.URLS:
        services.act("up", name, folder)
    urls = {variable: services.url_of(folder, name) for name, variable in services.URLS.items()}
    defaults = {
        "SWIFT_TRAINER_MONGODB_DATABASE": database,
        "SWIFT_TRAINER_STATE_DIR": str(folder / "state"),
        "SWIFT_TRAINER_WORK_DIR": str(folder / "work"),
        "SWIFT_TRAINER_DEVICES": "auto" if has_gpu() else "cpu:2",
        "SWIFT_TRAINER_ON_EXIT": on_exit,
        GRACE: "30",
    }
    if defaults["SWIFT_TRAINER_DEVICES"] != "auto":
        defaults["OMP_NUM_THREADS"] = "1"  # torch's threads spin against each other where cores are shared
    more = (CA_FILE, "SWIFT_TRAINER_SWIFT_VERSION")
    given = {name: os.environ[name] for name in (*defaults, *more) if name in os.environ}
    return Desk(folder, {**urls, **defaults, **given, "SWIFT_TRAINER_SWIFT_COMMAND": swift_command()})


def swift_command() -> str:
    """The `swift` command; its environment is made where it is not there."""
    done = subprocess.run(["bash", "deploy/swift-venv.sh"], cwd=REPO, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        fail("the ms-swift environment could not be made; see the message above")
    return done.stdout.strip().splitlines()[-1]


def tiny_model(swift: str, folder: Path) -> dict[str, str]:
    """Paths of a tiny model and its data, made with the Python of the ms-swift environment."""
    python = Path(swift).with_name("python")
    if not python.exists():
        fail(f"SWIFT_TRAINER_SWIFT_COMMAND={swift}: there is no {python} to make a tiny model with")
    argv = [str(python), "deploy/tiny_model.py", "--dir", str(folder)]
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"the tiny model could not be made:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def has_gpu() -> bool:
    """Whether NVML finds an NVIDIA GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount()) > 0
    except pynvml.NVMLError:
        return False


def start_daemon(desk: Desk) -> None:
    """Start `swift-trainerd` in the background, unless the one of this folder runs; returns when it is ready."""
    record = services.load(desk.folder, "daemon")
    if services.alive(record):
        return
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWIFT_TRAINER_")}
    desk.log_path.write_bytes(b"")
    program = str(Path(sys.executable).with_name("swift-trainerd"))
    started = services.spawn([program], {**env, **desk.settings}, desk.log_path)
    services.save(desk.folder, "daemon", {**started, "stop_limit_s": str(stop_limit_s(desk.settings))})
    deadline = time.monotonic() + READY_LIMIT_S
    while "daemon_started" not in desk.log_path.read_text(errors="replace"):
        if not services.alive(services.load(desk.folder, "daemon")) or time.monotonic() > deadline:
            fail(f"swift-trainerd did not start; the end of {desk.log_path}:\n{desk.log_path.read_text()[-2000:]}")
        time.sleep(0.05)


def stop_limit_s(settings: Mapping[str, str]) -> float:
    """How long the daemon may take to stop: the budgets of its stages, and the grace time of what it stops itself."""
    budgets = (value for name, value in vars(app).items() if name.endswith("_BUDGET_S"))
    return sum(budgets) + float(settings[GRACE]) + app.STOP_MARGIN_S


def stop_daemon(folder: Path) -> None:
    """Stop the daemon of this folder and wait for it; what becomes of its trainings is what ON_EXIT says."""
    record = services.load(folder, "daemon")
    if record:
        services.end(record, signal.SIGTERM, float(record.get("stop_limit_s", services.STOP_LIMIT_S)))
        services.save(folder, "daemon", {})


def interrupts_raise() -> None:
    """Take what would end this process as Ctrl-C is taken, so that what was started is ended first.

    By raising it: at a SIGINT asyncio cancels its main task, where an exception out of nowhere tears what is awaited.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell sets it aside for its background
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def interrupts_wait() -> None:
    """Be deaf to it from here on: an impatient second Ctrl-C must not leave half of what was started running."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)


def stop_services(folder: Path) -> None:
    """End the broker and the store that were started here, and no others; data stays.

    By the records, not by the environment: a shell that was given our own URLs would else leave them running.
    """
    for end in services.END.values():
        end(folder, signal.SIGTERM)
