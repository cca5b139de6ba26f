"""A small disk that can be filled: a tmpfs, where one may be mounted."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

SIZE_MIB = 256
"""Above what the daemon wants to be free before a start."""
BLOCK = bytes(1024 * 1024)


class Disk:
    """A mounted disk."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave not one byte."""
        size = len(BLOCK)
        with self._ballast.open("ab", buffering=0) as out:
            while size:
                try:
                    out.write(BLOCK[:size])
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path) -> Generator[Disk]:
    """A disk mounted at a folder, which is made; skips the test where that is not permitted."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a full disk needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
