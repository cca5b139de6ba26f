"""A runner whose surroundings are worse than usual: `driven.py FAULTS RECORD LOG CWD ARGV...`.

FAULTS is JSON: constants of the runner by name, and
`full_disk`: a file; while it exists, `exit.json` can't be written,
`full_disk_at_start`: `runner.json` can't be written,
`unkillable`: SIGKILL has no effect,
`dies_before_release`: SIGKILL to the runner just before the training is recorded,
`dies_after_record`: SIGKILL to the runner just after.
"""

import errno
import json
import os
import signal
import sys
from typing import Any

from daemon import runner

real_write, real_send = runner.write_record, runner.send
faults: dict[str, Any] = {}


def write_record(folder: str, name: str, record: dict[str, object]) -> None:
    """Write, or fail as told."""
    full = name == "exit.json" and "full_disk" in faults and os.path.exists(faults["full_disk"])
    if full or (name == "runner.json" and "full_disk_at_start" in faults):
        raise OSError(errno.ENOSPC, "No space left on device")
    if "dies_before_release" in faults:
        os.kill(os.getpid(), signal.SIGKILL)
    real_write(folder, name, record)
    if "dies_after_record" in faults:
        os.kill(os.getpid(), signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Send, or don't."""
    if not (number == signal.SIGKILL and "unkillable" in faults):
        real_send(pid, number)


def main(told: str, record: str, log: str, cwd: str, argv: list[str]) -> None:
    """Run it."""
    faults.update(json.loads(told))
    for name, value in faults.items():
        if name.isupper():
            setattr(runner, name, value)
    runner.write_record, runner.send = write_record, send
    lock = os.open(os.path.join(record, "lock"), os.O_RDWR | os.O_CREAT)
    runner.main(record, lock, log, cwd, argv)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
