"""The daemon's state folder: made where it is not there, and held by one daemon at a time."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = ("logs", "runs", "cache")


class StateFolderTakenError(Exception):
    """Another daemon holds the folder."""


@contextmanager
def state_folder(path: Path) -> Generator[Path]:
    """Make and hold the folder until the end of the block. Raises `StateFolderTakenError` and `OSError`.

    Two daemons that follow the same runs would tell everything twice; the kernel lets go of the lock when its holder
    dies, however that happens, and no training inherits it.
    """
    for name in FOLDERS:
        (path / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    number = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(number, 32).decode(errors="replace").strip() or "unknown"
            raise StateFolderTakenError(
                f"another swift-trainerd (pid {holder}) uses the state folder {path}; "
                "give each daemon a SWIFT_TRAINER_STATE_DIR and a SWIFT_TRAINER_NODE_ID of its own"
            ) from None
        os.ftruncate(number, 0)
        os.write(number, str(os.getpid()).encode())
        yield path
    finally:
        os.close(number)
