"""An interrupted demo: the daemon stops its training in order, and nothing that was started is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from daemon import app
from daemon.settings import Settings
from deploy import services
from tests.e2e.harness import REPO, clean_environment
from tests.waiting import until

SAVING_S = 4.0
"""A training takes so long to save when it is stopped: longer than the pauses after which the daemon was told again."""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A `swift` that is the stand-in, beside a `python` that makes no model: it names one for the stand-in."""
    made = {name: str(tmp_path / name) for name in ("model", "train", "second")}
    Path(made["model"]).mkdir()
    steering = {"steps": 50, "hold_at": 3, "save_seconds": SAVING_S}
    (Path(made["model"]) / "standin.json").write_text(json.dumps(steering))
    (Path(made["model"]) / "config.json").write_text("{}")
    for name in ("train", "second"):
        Path(made[name]).write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    folder = tmp_path / "bin"
    folder.mkdir()
    standin = REPO / "tests" / "standin" / "swift_standin.py"
    script(folder / "swift", f'exec {sys.executable} {standin} "$@"')
    script(folder / "python", f"echo '{json.dumps(made)}'")
    return folder


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def processes_in(folder: Path) -> list[psutil.Process]:
    """What runs with this folder in its environment, its command line or as its current folder."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            told = [process.cwd(), *process.cmdline(), *process.environ().values()]
            if any(str(folder) in word for word in told) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture
def demo(tmp_path: Path, tools: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo in a folder of its own."""
    env = {**clean_environment(), "SWIFT_TRAINER_SWIFT_COMMAND": str(tools / "swift"), "SWIFT_TRAINER_DEVICES": "cpu:1"}
    out = tmp_path / "out.txt"
    with out.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, str(REPO / "deploy" / "demo.py")],
            cwd=tmp_path, env=env, stdout=stream, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        for left in processes_in(tmp_path):
            with suppress(psutil.Error):
                left.kill()
        process.wait()


@pytest.mark.services
async def test_an_interrupted_demo_leaves_nothing_and_kills_nothing(
    demo: subprocess.Popen[str], tmp_path: Path
) -> None:
    out, log = tmp_path / "out.txt", tmp_path / ".demo" / "daemon.log"
    await until(lambda: "running: " in out.read_text() or demo.poll() is not None, limit_s=90)
    limit_s = float(services.load(tmp_path / ".demo", "daemon")["stop_limit_s"])
    assert limit_s > Settings.model_fields["stop_grace_seconds"].default + app.STOP_MARGIN_S + app.OUTBOX_BUDGET_S
    os.kill(demo.pid, signal.SIGINT)
    await until(lambda: "demo: interrupted" in out.read_text() or demo.poll() is not None)
    os.kill(demo.pid, signal.SIGTERM)  # an impatient one changes nothing
    await until(lambda: demo.poll() is not None, limit_s=90)
    shown = f"{out.read_text()}\n{log.read_text()[-3000:]}"
    assert demo.returncode == 130, shown
    assert out.read_text().splitlines()[-1] == "demo: interrupted; stopping what was started", shown
    assert "daemon_stopped" in log.read_text(), shown
    assert "daemon_killed" not in log.read_text(), shown
    assert list((tmp_path / ".demo" / "work").rglob("trainer_state.json")), "the training has not saved"
    assert processes_in(tmp_path) == []
