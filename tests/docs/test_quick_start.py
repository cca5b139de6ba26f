"""The README's shell lines, run as they stand in a scratch checkout: the desk up, the command line against it, down.

Only ms-swift is the stand-in, and where a line names a job, a node or a port that a reader has, it gets that of here.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy import services
from tests.docs.place import LEFT_OUT, commands
from tests.e2e.harness import REPO, clean_environment
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

BLOCKS = re.findall(r"^```sh\n(.*?)^```", (REPO / "README.md").read_text(), re.DOTALL | re.MULTILINE)
DEMO, DESK, LOCAL_GATEWAY, CURL, TOKENS, TRAINER, NOTIFY = BLOCKS
LIMIT_S = 240.0
SERVED_LIMIT_S = 60.0
FOR_EVER = ("swift-trainer watch", "swift-trainer events 'job.*.status.*'")
"""A person ends these with Ctrl-C."""
JOB = """training_type: llm
model_path: {root}/model
datasets: ["{root}/data.jsonl"]
output_dir: {root}/out
auto_export: false
"""
RULES = """rules:
  - name: failures
    when: {status: failed}
    to: {apprise: "json://127.0.0.1:9"}
"""
TINY = """#!{python}
# Stands in for the Python of ms-swift, which makes a tiny model: folders that the stand-in for swift takes for one.
import json, pathlib, sys
folder = pathlib.Path(sys.argv[-1])
(folder / "model").mkdir(parents=True)
(folder / "model" / "config.json").write_text("{{}}")
(folder / "model" / "standin.json").write_text(json.dumps({{"steps": 10}}))
for name in ("train", "second"):
    (folder / name).write_text('{{"messages": []}}')
print(json.dumps({{name: str(folder / name) for name in ("model", "train", "second")}}))
"""


@dataclass
class Checkout:
    """A copy of the repository with a shell in it."""

    root: Path
    env: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.repo = self.root / "repo"
        shutil.copytree(REPO, self.repo, ignore=lambda _folder, names: LEFT_OUT & set(names))
        (self.repo / ".venv").symlink_to(sys.prefix)
        self.env = {
            **clean_environment(),
            "PATH": f"{self.repo}/.venv/bin:{os.environ['PATH']}",
            "COLUMNS": "200",
            "SWIFT_TRAINER_SWIFT_COMMAND": f"{sys.executable} {REPO}/tests/standin/swift_standin.py",
            "SWIFT_TRAINER_SWIFT_VERSION": "4.6.0",
            "SWIFT_TRAINER_DEVICES": "cpu:2",
            "SWIFT_TRAINER_GATEWAY_TOKENS": str(self.root / "tokens.json"),
        }

    def write(self, name: str, text: str) -> Path:
        """A file beside the repository."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, script: str) -> str:
        """Run lines in one shell; what they printed. What they export stays for the next ones."""
        kept = self.root / "environment"
        argv = ["bash", "-c", f"set -eu\n{script}\nenv -0 > {kept}\n"]
        done = subprocess.run(
            argv, cwd=self.repo, env=self.env, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        lines = (line.partition("=") for line in kept.read_text().split("\0") if line)
        self.env |= {name: value for name, _, value in lines if name != "_"}
        return done.stdout

    async def serve(self, line: str, ready: str) -> str:
        """Run a line that serves until it is ended, until its log says that it is ready; its log after SIGTERM."""
        log = self.root / "served.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", f"exec {line}", cwd=self.repo, env=self.env, stdout=out, stderr=out
            )
        try:
            await until(lambda: ready in log.read_text() or process.returncode is not None)
            assert process.returncode is None, log.read_text()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), SERVED_LIMIT_S) == 0, log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return log.read_text()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """What the README's `make dev` leaves running; `make dev-stop` has ended all of it afterwards."""
    checkout = Checkout(tmp_path_factory.mktemp("quick-start"))
    *up, down = commands(DESK)
    assert down == "make dev-stop"
    try:
        said = checkout.run("\n".join(up))
        assert '"broker": "ok"' in said
        assert '"gpus"' in said
        yield checkout
    finally:
        checkout.run(down)
        folder = checkout.repo / ".dev"
        assert not services.alive(services.load(folder, "daemon"))
        assert not any(services.alive(services.load(folder, name)) for name in services.URLS)


async def test_every_line_of_the_command_line_works(desk: Checkout) -> None:
    desk.write("model/config.json", "{}")
    desk.write("model/standin.json", json.dumps({"steps": 5}))
    desk.write("data.jsonl", '{"messages": []}\n')
    (desk.repo / "job.yaml").write_text(JOB.format(root=desk.root))
    submit, *lines = commands(TRAINER)
    assert "completed" in desk.run(submit)
    (job,) = json.loads(desk.run("swift-trainer list --json"))["jobs"]
    assert (job["status"], job["learning_rate"], job["labels"]) == ("completed", 2e-4, {"team": "vision"})
    (node,) = json.loads(desk.run("swift-trainer nodes --json"))["nodes"]
    said: dict[str, str] = {}
    for line in lines:
        own = line.replace("JOB", job["id"][:8]).replace("NODE", node["node_id"])
        said[line] = desk.run(f"timeout --signal=INT 3 {own} || test $? -eq 124" if line in FOR_EVER else own)
    assert set(FOR_EVER) <= set(said)
    assert job["id"] in said["swift-trainer show JOB"]
    assert "global_step" in said["swift-trainer logs JOB -f"]
    assert "goes on elsewhere" in said["swift-trainer drain NODE --deadline 600"]
    assert "drained" in said["swift-trainer doctor"]
    desk.run(f"swift-trainer undrain {node['node_id']}")


async def test_the_gateway_serves_with_and_without_tokens(desk: Checkout) -> None:
    """What is asked of it with curl is in tests/e2e/http/test_readme.py."""
    port = str(services.free_port())
    (alone,) = commands(LOCAL_GATEWAY)
    assert alone.endswith("--port 8000")
    assert "(the page)" in await desk.serve(alone.replace("8000", port), "(the page)")
    *adds, serve = commands(TOKENS)
    tokens = [desk.run(line).strip() for line in adds]
    assert all(token.startswith("swt_") for token in tokens)
    desk.env["SWIFT_TRAINER_GATEWAY_PORT"] = port
    log = await desk.serve(serve, "(the page)")
    assert f"http://0.0.0.0:{port}/" in log


async def test_the_notifier_listens(desk: Checkout) -> None:
    (line,) = commands(NOTIFY)
    (desk.repo / "rules.yaml").write_text(RULES)
    assert "listening" in await desk.serve(line, "listening")


def test_the_demo_is_told_to_its_end(services: dict[str, str], tmp_path: Path) -> None:
    """On the suite's broker and store, and with the stand-in; CI's clone and people run it with the real ms-swift."""
    checkout = Checkout(tmp_path)
    swift = checkout.write("bin/swift", f'#!/bin/sh\nexec {checkout.env["SWIFT_TRAINER_SWIFT_COMMAND"]} "$@"\n')
    python = checkout.write("bin/python", TINY.format(python=sys.executable))
    for program in (swift, python):
        program.chmod(0o755)
    checkout.env |= {**services, "SWIFT_TRAINER_SWIFT_COMMAND": str(swift)}
    said = checkout.run(DEMO)
    assert re.search(r"demo: job.start answered: queued", said)
    (merged,) = re.findall(r"^demo: merged model +(\S+)$", said, re.MULTILINE)
    assert Path(merged).is_dir()
    assert "what was started is stopped again" in said
