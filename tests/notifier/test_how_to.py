"""What the how-to and the example say, as it stands: the rules, the commands, the receivers' code, the unit."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.notifier.apprise_target import knows
from daemon.notifier.lanes import STOP_LIMIT_S
from daemon.notifier.rules import When
from daemon.notifier.rules_file import load
from daemon.notifier.signing import signature_headers
from daemon.notifier.wording import NAMES
from tests.e2e.harness import REPO
from tests.e2e.test_cli import trainer
from tests.notifier.receiver import receiver
from tests.notifier.samples import SECRET, written

PAGE = REPO / "docs" / "how-to" / "notifications.md"
TEXT = PAGE.read_text()
EXAMPLE = REPO / "deploy" / "notifications.example.yaml"
UNIT = REPO / "deploy" / "swift-trainer-notifier.service"


def block(language: str) -> str:
    """The page's first code block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_pages_rules_tell_a_chat_and_a_program(tmp_path: Path) -> None:
    async with receiver() as chat, receiver() as program:
        settings = {"CHAT_URL": chat.apprise, "HOOK_URL": program.url, "WEBHOOK_SECRET": SECRET}
        rules = written(tmp_path, block("yaml"))
        for option in ("--check", "--test"):
            code, out, err = await trainer("notify", str(rules), option, settings=settings)
            assert code == 0, out + err
        assert len(chat.calls) == 2
        [call] = program.calls
        given = json.dumps([dict(call.headers), call.body.decode(), SECRET])
        assert python(given)
        assert not python(given.replace("nothing happened", "something happened"))


def signed(body: bytes, stamp: float, secret: str = SECRET) -> str:
    """Headers, body and secret, as the receivers' code gets them."""
    keys = [b64decode(secret.removeprefix("whsec_")), b"x" * 32]
    return json.dumps([signature_headers("e1", int(stamp), body, keys), body.decode(), SECRET])


def python(given: str) -> bool:
    program = (
        f"{block('python')}\nimport json\nheaders, body, secret = json.loads(input())\n"
        "print(verified(headers, body.encode(), secret))"
    )
    return run([sys.executable, "-I", "-c", program], given) == "True"


def node(given: str) -> bool:
    program = (
        f"{block('js')}\nconst [headers, body, secret] = JSON.parse(require('fs').readFileSync(0))\n"
        "console.log(verified(headers, Buffer.from(body), secret))"
    )
    return run(["node", "-e", program], given) == "true"


def run(argv: list[str], stdin: str) -> str:
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.parametrize("verified", [python, node])
def test_the_receivers_code_tells_true_from_false(verified: object) -> None:
    if verified is node and shutil.which("node") is None:
        pytest.skip("there is no node here")
    check = node if verified is node else python
    body, now = '{"text": "训练完成"}'.encode(), time.time()
    assert check(signed(body, now))
    assert not check(signed(body, now - 3600)), "recorded and sent again"
    assert not check(signed(body, now, "whsec_" + "B" * 32)), "another secret"
    assert not check(signed(body, now).replace("text", "test")), "another body"
    assert not check(signed(body, now).replace('"e1"', '"e2"')), "another id"


def test_the_example_is_right() -> None:
    environ = {"CHAT_URL": "json://127.0.0.1/x", "WEBHOOK_SECRET": SECRET}
    assert len(load(EXAMPLE, environ, knows).rules.rules) == 5
    used = set(re.findall(r"\$\{([A-Z_]+)\}", EXAMPLE.read_text()))
    assert used == set(environ) | {"NAME"}


def test_the_page_names_what_there_is() -> None:
    for name in (*NAMES, "labels.NAME"):
        assert f"`{{{name}}}`" in TEXT, name
    for name in When.model_fields:
        assert f"`{name}`" in TEXT, name
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (PAGE.parent / link).exists(), link


def test_every_command_of_the_page_is_one_that_it_understands() -> None:
    lines = [line for line in block("sh").splitlines() if line.startswith("swift-trainer")]
    assert len(lines) == 4
    command = typer.main.get_command(app)
    assert CliRunner().invoke(app, ["notify", "--help"]).exit_code == 0
    for line in lines:
        _, name, *words = shlex.split(line, comments=True)
        command.commands[name].make_context(line, words)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    [limit] = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", text)
    assert float(limit) > 2 * STOP_LIMIT_S
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", text))
    done = subprocess.run([program, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert copy.name not in done.stderr
