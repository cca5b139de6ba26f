"""The same trainings as Celery tasks. Runs in Celery's own environment: `celery -A tasks worker`, and as a
program it sends so many and prints the seconds until the last one has ended.

    python tasks.py COUNT LOG_FOLDER < a JSON list: the argument vector; `{}` in it becomes the task's number
"""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_celery: Any = importlib.import_module("celery")  # which the daemon's environment does not have, nor pyright
app: Any = _celery.Celery("bench", broker=os.environ["BENCH_AMQP_URL"], backend="rpc://")
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_default_queue=os.environ["BENCH_QUEUE"])


def train(argv: list[str], log: str) -> int:
    """Run a training; its exit code."""
    with Path(log).open("ab") as out:
        return subprocess.run(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False).returncode


task: Any = app.task(name="train")(train)


def main() -> None:
    """Send them all, and wait for the last one."""
    count, logs = int(sys.argv[1]), Path(sys.argv[2])
    argv: list[str] = json.load(sys.stdin)
    began = time.monotonic()
    signatures = (task.s([part.replace("{}", str(n)) for part in argv], str(logs / f"{n}.log")) for n in range(count))
    codes: list[int] = _celery.group(signatures).apply_async().get()
    taken_s = time.monotonic() - began
    assert codes == [0] * count, codes
    sys.stdout.write(f"{taken_s}\n")


if __name__ == "__main__":
    main()
