"""`swift-trainer notify` as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.harness import REPO, clean_environment
from tests.notifier.samples import SECRET
from tests.waiting import until


class Notifier:
    """The process, its log, and its end."""

    def __init__(self, folder: Path, rules: Path, settings: Mapping[str, str], words: tuple[str, ...]) -> None:
        self.log_path = folder / "notifier.log"
        self.spool = folder / "state" / "notifications.db"
        self._argv = (sys.executable, "-m", "daemon.cli.main", "notify", str(rules), *words)
        self._env = {
            **clean_environment(),
            "PYTHONPATH": str(REPO),
            "SWIFT_TRAINER_STATE_DIR": str(folder / "state"),
            "SWIFT_TRAINER_LOG_LEVEL": "debug",
            "SECRET": SECRET,
            **settings,
        }
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, ready: str = "listening") -> None:
        """Start it, and wait until its log says that it is ready."""
        before = self.log().count(ready)
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv, cwd=self._folder, env=self._env, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        await until(lambda: self.log().count(ready) > before or self._ended())
        assert not self._ended(), self.log()

    def _ended(self) -> bool:
        return self._process is None or self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        code = await asyncio.wait_for(self._process.wait(), 60)
        self._process = None
        return code

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    async def said(self, text: str, number: int = 1) -> None:
        """Wait until the log has a text so many times."""
        await until(lambda: self.log().count(text) >= number)

    async def close(self) -> None:
        if self._process is not None:
            await self.stop(signal.SIGKILL)


@asynccontextmanager
async def notifier(folder: Path, rules: Path, settings: Mapping[str, str], *words: str) -> AsyncGenerator[Notifier]:
    """A notifier that takes events; ended afterwards."""
    found = Notifier(folder, rules, settings, words)
    try:
        await found.start()
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def printing(folder: Path, rules: Path, settings: Mapping[str, str]) -> AsyncGenerator[asyncio.Task[bytes]]:
    """The first line that `--dry-run --json` prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon.cli.main", "notify", str(rules), "--dry-run", "--json",
        cwd=folder, env={**clean_environment(), "PYTHONPATH": str(REPO), "SECRET": SECRET, **settings},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield asyncio.create_task(process.stdout.readline())
    finally:
        process.kill()
        await process.communicate()
