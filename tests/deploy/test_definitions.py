"""The shipped RabbitMQ definitions as a file: what the script makes, with hashes that RabbitMQ understands."""

import hashlib
import json
import re
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from deploy import fill_secrets
from deploy.rabbitmq import make_definitions
from schemas.commands import COMMANDS
from tests.deploy.broker import SHIPPED

EXAMPLE = SHIPPED.parent / "compose.env.example"


def test_the_committed_file_is_what_the_script_makes_and_lets_nobody_in() -> None:
    committed = json.loads((SHIPPED / "definitions.json").read_text())
    assert committed == make_definitions.definitions(None)
    assert [user["password_hash"] for user in committed["users"]] == [""] * len(make_definitions.USERS)


def test_a_hash_is_rabbitmqs_own_algorithm() -> None:
    # the example in RabbitMQ's documentation: salt 908DC60A, password test12
    known = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert make_definitions.hash_of("test12", bytes.fromhex("908DC60A")) == known
    salted = b64decode(make_definitions.hash_of("a password"))
    assert salted[4:] == hashlib.sha256(salted[:4] + b"a password").digest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RABBITMQ_DAEMON_PASSWORD=CHANGE_ME\n", "still CHANGE_ME"),
        ("RABBITMQ_DAEMON_PASSWORD=short\n", "12 characters"),
        ("OTHER=1\n", "no line RABBITMQ_DAEMON_PASSWORD"),
    ],
)
def test_passwords_that_nobody_set_are_refused(tmp_path: Path, text: str, said: str) -> None:
    given, out = tmp_path / "env", tmp_path / "out"
    given.write_text(text)
    done = make(given, out)
    assert done.returncode == 1
    assert said in done.stderr
    assert not out.exists()


def test_the_example_filled_with_passwords_gives_definitions(tmp_path: Path) -> None:
    given, out = tmp_path / ".env", tmp_path / "secrets" / "definitions.json"
    given.write_text(EXAMPLE.read_text())
    for _ in range(2):  # the second time changes nothing
        subprocess.run([sys.executable, fill_secrets.__file__, str(given)], check=True)
    passwords = re.findall(r"(?m)^[A-Z_]+_PASSWORD=(.*)$", given.read_text())
    assert len(set(passwords)) == len(make_definitions.USERS) + 2  # and MongoDB's two
    assert given.stat().st_mode & 0o777 == 0o600
    assert make(given, out).returncode == 0
    made = out.read_text()
    assert not any(password in made for password in passwords)
    assert [user["name"] for user in json.loads(made)["users"]] == list(make_definitions.USERS.values())


def test_a_role_without_a_password_gets_no_user(tmp_path: Path) -> None:
    given, out = tmp_path / "env", tmp_path / "out"
    given.write_text("RABBITMQ_DAEMON_PASSWORD=long-enough-for-all\n")
    assert make(given, out).returncode == 0
    made = json.loads(out.read_text())
    for part in ("users", "permissions", "topic_permissions"):
        assert {entry.get("user", entry.get("name")) for entry in made[part]} <= {"swift-daemon"}


def test_a_publisher_may_send_every_command_but_an_operators() -> None:
    [rights] = make_definitions.topic_permissions("publisher")
    orders = {"node.drain", "node.resume", "node.forget"}
    assert {name for name in COMMANDS if not re.search(str(rights["write"]), name)} == orders


def make(given: Path, out: Path) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, make_definitions.__file__, "--passwords", str(given), "--out", str(out)]
    return subprocess.run(script, capture_output=True, text=True, check=False)
