"""A scratch root in which the how-to pages are followed, command by command.

Absolute paths of a page (`/etc`, `/opt`, `/var`, `/usr/local`, `/data`) lie below it, and a few programs are stand-ins
(`standins.py`). Everything else is real: pip, openssl, rabbitmqctl, a RabbitMQ and a mongod of its own, the daemon from
the environment that the page made.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy import services
from tests.docs import standins
from tests.e2e.harness import REPO, clean_environment

PAGES = REPO / "docs" / "how-to"
NOT_RUN = {
    r"apt-get": "installs packages on the machine; deploy/services.py does it where RabbitMQ is missing",
    r"mongosh": "not on this machine; tests/deploy/test_mongodb.py does what its script says",
    r"/opt/swift(-next)?/bin/pip": "2 GB; deploy/swift-venv.sh installs the same locks for the real ms-swift",
    r"docker compose": "needs a docker daemon; tests/deploy has what of it can be told without one",
}
"""Commands of the pages that no test runs, each with the reason."""
LIMIT_S = 420.0
LEFT_OUT = {".venv", ".git", ".dev", ".demo", "node_modules", ".pytest_cache", ".ruff_cache", "__pycache__"}


def blocks(page: str, kind: str = "sh") -> list[str]:
    """The fenced blocks of a page."""
    return re.findall(rf"^```{kind}\n(.*?)^```", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    """A block's commands; one that goes on in the next line is one."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def reason_not_to_run(command: str) -> str | None:
    """Why a command is not run here."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, command)), None)


@dataclass
class Place:
    """The root, and what a page's shell finds in its environment."""

    root: Path
    env: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        shims = self.root / "shims"
        for name in standins.PROGRAMS:
            self.write(shims / name, f'#!/bin/sh\nexec {sys.executable} {standins.__file__} {name} "$@"\n').chmod(0o755)
        path = f"{shims}:{self.root}/usr/local/bin:{os.environ['PATH']}"
        self.env = {**clean_environment(), "PATH": path, "HOWTO_ROOT": str(self.root), "COLUMNS": "200"}
        self.repo = self.root / "repo"
        shutil.copytree(REPO, self.repo, ignore=lambda _folder, names: LEFT_OUT & set(names))
        for folder in ("etc/systemd/system", "etc/rabbitmq", "usr/local/bin", "opt", "var/lib", "var/backups", "data"):
            (self.root / folder).mkdir(parents=True)

    @staticmethod
    def write(path: Path, text: str) -> Path:
        """A file with its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, block: str, given: Mapping[str, str] | None = None, *, fails: bool = False) -> str:
        """Run a block's commands in one shell in the repository; its standard output, and both where it fails.

        `given` replaces what the page can't know. What the shell exports stays for the blocks behind.
        """
        told = [command for command in commands(block) if reason_not_to_run(command) is None]
        script = standins.ABSOLUTE.sub(lambda found: f"{self.root}{found[0]}", "\n".join(told))
        for text, by in (given or {}).items():
            assert text in script, f"the page does not say {text}"
            script = script.replace(text, by)
        kept = self.root / "environment"
        script = f"set -eu\ncd {self.repo}\n{script}\nenv -0 > {kept}\n"
        done = subprocess.run(
            ["bash", "-c", script], env=self.env, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        shown = f"{script}\n--- standard output\n{done.stdout[-6000:]}\n--- standard error\n{done.stderr[-6000:]}"
        assert (done.returncode != 0) is fails, shown
        if not fails:
            lines = kept.read_text().split("\0")
            self.env |= {
                name: value for name, _, value in (line.partition("=") for line in lines) if name != "_" and name
            }
        return done.stdout + done.stderr if fails else done.stdout

    def services(self, *words: str) -> None:
        """`deploy/services.py` for the root's own broker and store."""
        argv = [sys.executable, services.__file__, *words, "--dir", str(self.root / "services")]
        done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def port(self, name: str) -> str:
        """Port of the broker or the store."""
        return services.load(self.root / "services", name)["port"]

    def secret(self, name: str) -> str:
        """A password that the page made."""
        lines = (self.repo / "deploy" / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))[name]

    def log(self, unit: str = "swift-trainer") -> str:
        """What a unit logged."""
        path = self.root / f"{unit}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End what runs, whatever a test left."""
        for unit in ("swift-trainer", "swift-trainer-2", "swift-trainer-gateway", "swift-trainer-notifier"):
            services.end(services.load(self.root, unit), 15)
        self.services("down")
