"""The demo with a stand-in for swift: interrupted, it leaves nothing; a broker that was given, with TLS, is used."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
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
    (Path(made["model"]) / "standin.json").write_text('{"steps": 5}')
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


Demo = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def demo(tmp_path: Path, tools: Path) -> Iterator[Demo]:
    """Starts the demo in a folder of its own, with settings; its output goes to `out.txt`. Ended afterwards."""
    own = {"SWIFT_TRAINER_SWIFT_COMMAND": str(tools / "swift"), "SWIFT_TRAINER_DEVICES": "cpu:1"}
    argv = [sys.executable, str(REPO / "deploy" / "demo.py")]
    with ExitStack() as stack:
        out = stack.enter_context((tmp_path / "out.txt").open("w"))

        def start(**settings: str) -> subprocess.Popen[str]:
            env = {**clean_environment(), **own, **settings}
            process = subprocess.Popen(
                argv, cwd=tmp_path, env=env, stdout=out, stderr=out, text=True, start_new_session=True
            )
            stack.callback(process.wait)
            return process

        yield start
        kill_all(tmp_path)


def kill_all(folder: Path) -> None:
    """Whatever a failed test left."""
    for left in processes_in(folder):
        with suppress(psutil.Error):
            left.kill()


@pytest.mark.services
@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
async def test_an_interrupted_demo_leaves_nothing_and_kills_nothing(
    demo: Demo, tmp_path: Path, first: signal.Signals, second: signal.Signals
) -> None:
    steering = {"steps": 50, "hold_at": 3, "save_seconds": SAVING_S}
    (tmp_path / "model" / "standin.json").write_text(json.dumps(steering))
    running = demo()
    out, log = tmp_path / "out.txt", tmp_path / ".demo" / "daemon.log"
    await until(lambda: "running: " in out.read_text() or running.poll() is not None, limit_s=90)
    limit_s = float(services.load(tmp_path / ".demo", "daemon")["stop_limit_s"])
    assert limit_s > Settings.model_fields["stop_grace_seconds"].default + app.STOP_MARGIN_S + app.OUTBOX_BUDGET_S
    os.kill(running.pid, first)
    await until(lambda: "demo: interrupted" in out.read_text() or running.poll() is not None)
    os.kill(running.pid, second)  # an impatient one changes nothing
    await until(lambda: running.poll() is not None, limit_s=90)
    shown = f"{out.read_text()}\n{log.read_text()[-3000:]}"
    assert running.returncode == 130, shown
    assert "Traceback" not in out.read_text(), shown
    assert out.read_text().splitlines()[-1] == "demo: interrupted; stopping what was started", shown
    assert "daemon_stopped" in log.read_text(), shown
    assert "daemon_killed" not in log.read_text(), shown
    assert list((tmp_path / ".demo" / "work").rglob("trainer_state.json")), "the training has not saved"
    assert processes_in(tmp_path) == []


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A RabbitMQ that speaks TLS with a certificate that only its own CA knows; the settings that lead to it."""
    folder = tmp_path / "broker"
    (folder / "rabbitmq").mkdir(parents=True)
    certificate, key, port = folder / "cert.pem", folder / "key.pem", services.free_port()
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*openssl, *files], check=True, capture_output=True)
    tls = {"cacertfile": certificate, "certfile": certificate, "keyfile": key, "verify": "verify_none"}
    lines = [f"listeners.ssl.1 = 127.0.0.1:{port}", *(f"ssl_options.{name} = {value}" for name, value in tls.items())]
    (folder / "rabbitmq" / "extra.conf").write_text("\n".join(lines) + "\n")
    script = [sys.executable, str(REPO / "deploy" / "services.py"), "rabbitmq"]
    subprocess.run([*script, "up", "--dir", str(folder)], check=True, env=clean_environment(), timeout=100)
    try:
        url = f"amqps://guest:guest@localhost:{port}/"
        yield {"SWIFT_TRAINER_AMQP_URL": url, "SWIFT_TRAINER_AMQP_CA_FILE": str(certificate)}
    finally:
        subprocess.run([*script, "down", "--dir", str(folder)], check=True, env=clean_environment(), timeout=100)


@pytest.mark.services
async def test_the_demo_uses_a_broker_that_was_given_with_its_ca(
    demo: Demo, tls_broker: dict[str, str], tmp_path: Path
) -> None:
    running = demo(**tls_broker)
    await until(lambda: running.poll() is not None, limit_s=90)
    shown = (tmp_path / "out.txt").read_text()
    assert running.returncode == 0, shown
    assert "what was started is stopped again" in shown.splitlines()[-1]
    assert not (tmp_path / ".demo" / "rabbitmq").exists(), "a broker was given"
