"""A RabbitMQ and a mongod of these tests alone: they are stopped, killed and frozen, so nobody else may use them.

`deploy/services.py` does the work; URLs in the environment are not used, because those belong to somebody.
"""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

import aio_pika

from daemon.adapters.rabbit_topology import declare_topology
from deploy.services import URLS, alive, descendants, load

REPO = Path(__file__).resolve().parents[2]
SCRIPT = REPO / "deploy" / "services.py"
SCRIPT_LIMIT_S = 180
QUORUM_SAVED_S = 1.5
"""RabbitMQ 3.10 notes a new quorum queue on disk up to a second late; a kill before that loses the queue."""

Name = Literal["rabbitmq", "mongod"]
BOTH: tuple[Name, Name] = ("rabbitmq", "mongod")


class Services:
    """A private pair; data and ports are kept over stops and kills."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._urls: dict[str, str] = {}

    @property
    def amqp_url(self) -> str:
        return self._urls["SWIFT_TRAINER_AMQP_URL"]

    @property
    def mongodb_url(self) -> str:
        return self._urls["SWIFT_TRAINER_MONGODB_URL"]

    async def open(self) -> None:
        """Start both, with the contract's queues in the broker, old enough to survive a kill."""
        await asyncio.gather(*(self.up(name) for name in BOTH))
        lines = (await asyncio.to_thread(self._script, "env")).splitlines()
        self._urls = dict(line.split("=", 1) for line in lines if "=" in line)
        async with await aio_pika.connect(self.amqp_url) as connection:
            await declare_topology(connection)
        await asyncio.sleep(QUORUM_SAVED_S)  # nothing tells when that is done

    async def close(self) -> None:
        """End both."""
        for name in BOTH:
            self.thaw(name)
        await asyncio.gather(*(self.down(name) for name in BOTH))

    async def up(self, name: Name) -> None:
        """Start one, wait until it answers; nothing where it runs."""
        if alive(load(self._folder, name)):
            return
        await asyncio.to_thread(self._script, name, "up")

    async def down(self, name: Name) -> None:
        """Stop one politely."""
        await asyncio.to_thread(self._script, name, "down")

    async def kill(self, name: Name) -> None:
        """SIGKILL to all of it at once."""
        self._signal(name, signal.SIGKILL)
        await asyncio.to_thread(self._script, name, "kill")

    def freeze(self, name: Name) -> None:
        """It stays connected and answers nobody."""
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: Name) -> None:
        """It goes on."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: Name, number: signal.Signals) -> None:
        record = load(self._folder, name)
        for pid in [int(record["pid"]), *descendants(record)] if "pid" in record else []:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _script(self, *words: str) -> str:
        """A word to `deploy/services.py`, out of reach of the terminal's Ctrl-C; what it printed."""
        env = {key: value for key, value in os.environ.items() if key not in URLS.values()}
        argv = [sys.executable, str(SCRIPT), *words, "--dir", str(self._folder)]
        done = subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=SCRIPT_LIMIT_S, check=False, start_new_session=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"services.py {' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout
