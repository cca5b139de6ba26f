"""Two `make` at once in a fresh checkout: one makes the environment, the other waits and finds it."""

import asyncio
import shutil
from pathlib import Path

from tests.e2e.harness import REPO, clean_environment

PYTHON = """#!/bin/sh
# Python that makes no environment but the folder of one, whose pip takes a while and says what it did.
log=$(dirname "$0")/log
case "$*" in
  *"-m venv .venv"*) echo made >> "$log"; mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$log" .venv/bin/log ;;
  *"-m pip install"*) sleep 0.3; echo installed >> "$log" ;;
esac
"""


async def test_a_second_one_waits_for_the_first(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(REPO / "deploy" / "constraints", repo / "deploy" / "constraints")
    shutil.copy(REPO / "deploy" / "venv.sh", repo / "deploy")
    shutil.copy(REPO / "pyproject.toml", repo)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    environment = {**clean_environment(), "PYTHON": str(tmp_path / "python")}

    async def make() -> int:
        process = await asyncio.create_subprocess_exec("bash", "deploy/venv.sh", cwd=repo, env=environment)
        return await process.wait()

    assert await asyncio.gather(make(), make(), make()) == [0, 0, 0]
    assert (tmp_path / "log").read_text().split() == ["made"]
    assert (repo / ".venv/bin/log").read_text().split() == ["made", "installed", "installed"]
    assert await make() == 0
    assert (tmp_path / "log").read_text().split() == ["made"], "it is there already"
