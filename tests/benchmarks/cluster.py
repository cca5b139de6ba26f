"""Many short jobs over four nodes, and the same through Celery workers on the same broker, one after the other.

Both start the stand-in for swift, as one does who trains nothing. What the Swift Trainer does beside that (documents,
events, the log read and told of step by step, a runner for each job) is what the ratio prices.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.room import REPO, Room, daemon, services, wait_status

NODES, SLOTS, JOBS = 4, 8, 1000
STANDIN = f"{sys.executable} {REPO / 'tests' / 'standin' / 'swift_standin.py'}"
RIVAL = Path(__file__).with_name("rival")
PINS, TASKS = RIVAL / "requirements.txt", RIVAL / "tasks.py"
WORKER_LIMIT_S = 60.0


def cluster(quick: bool) -> list[Figure]:
    """Jobs a second from the first start to the last completed, and the ratio."""
    jobs = 60 if quick else JOBS
    python = celery_python()
    with services() as urls:
        ours = jobs / _ours(urls, jobs)
        theirs = jobs / _theirs(urls, jobs, python)
    what = f"{jobs:,} short jobs on {NODES} nodes x {SLOTS} slots"
    return [
        Figure(f"{what}", "/s", [ours], more_is_better=True),
        Figure("the same through Celery's workers", "/s", [theirs], more_is_better=True),
        Figure("ratio to Celery", "", [ours / theirs], more_is_better=True),
    ]


def _ours(urls: Mapping[str, str], jobs: int) -> float:
    """Seconds."""
    with ExitStack() as stack:
        shared = {"swift_command": STANDIN, "mongodb_database": f"bench_cluster_{os.getpid()}"}
        rooms = [
            stack.enter_context(daemon(urls, SLOTS, node_id=f"bench-{number}", **shared)) for number in range(NODES)
        ]
        room = rooms[0]
        model = _model(room)
        statuses = room.bus()
        statuses.subscribe("job.*.status.*")
        began = time.monotonic()
        started = {room.create(model, start=True, **_SHORT) for _ in range(jobs)}
        wait_status(statuses, started, "completed")
        return time.monotonic() - began


_SHORT = {"logging_steps": 1, "save_steps": 100, "dataloader_num_workers": 0}


def _model(room: Room) -> Path:
    model = room.model(lines=0)
    (model / "standin.json").write_text(json.dumps({"steps": 2, "step_seconds": 0.0}))
    return model


def _theirs(urls: Mapping[str, str], jobs: int, python: Path) -> float:
    """Seconds."""
    folder = Path(tempfile.mkdtemp(prefix="swift-trainer-bench-celery-"))
    (folder / "config.json").write_text("{}")
    (folder / "standin.json").write_text(json.dumps({"steps": 2, "step_seconds": 0.0}))
    (folder / "data.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    options = ["--model", str(folder), "--dataset", str(folder / "data.jsonl"), "--output_dir", f"{folder}/out-{{}}"]
    more = ["--add_version", "false", "--logging_steps", "1", "--save_steps", "100", "--dataloader_num_workers", "0"]
    argv = [*STANDIN.split(), "sft", *options, *more]
    env = {**os.environ, "BENCH_AMQP_URL": urls["SWIFT_TRAINER_AMQP_URL"], "BENCH_QUEUE": f"bench-{os.getpid()}"}
    celery = [str(python), "-m", "celery", "-A", "tasks"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for number in range(NODES):
            worker = [*celery, "worker", "--concurrency", str(SLOTS), "--hostname", f"w{number}", "--loglevel", "error"]
            process = subprocess.Popen(worker, cwd=RIVAL, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait, WORKER_LIMIT_S)
            stack.callback(process.terminate)
        _wait_for_workers(celery, env)
        send = [str(python), str(TASKS), str(jobs), str(folder)]
        done = subprocess.run(send, input=json.dumps(argv), env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"Celery failed:\n{done.stderr[-2000:]}")
        return float(done.stdout)


def _wait_for_workers(celery: list[str], env: Mapping[str, str]) -> None:
    deadline = time.monotonic() + WORKER_LIMIT_S
    ask = [*celery, "inspect", "ping", "--json"]
    while True:
        done = subprocess.run(ask, cwd=RIVAL, env=env, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.count("pong") == NODES:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"Celery's workers did not start:\n{done.stdout}{done.stderr}"[-2000:])


def celery_python() -> Path:
    """Python of an environment with Celery, made once in the cache folder."""
    cache = os.environ.get("SWIFT_TRAINER_CACHE_DIR") or f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}"
    folder = Path(cache) / "swift-trainer-bench-celery"
    python, stamp = folder / "bin" / "python", folder / "pins.txt"
    if not stamp.exists() or stamp.read_text() != PINS.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(PINS)], check=True)
        stamp.write_text(PINS.read_text())
    return python
