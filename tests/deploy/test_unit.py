"""The systemd units: the daemon's stops it and not its trainings, and gives it the time that its code asks for.

The notifier's is tried in tests/notifier/test_how_to.py; all three are started in tests/docs/test_how_to.py.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon import app
from daemon.gateway.server import STOP_S
from daemon.gateway.settings import GATEWAY_PREFIX
from deploy import env_example

FILE = Path(env_example.__file__).with_name("swift-trainer.service")
GATEWAY = FILE.with_name("swift-trainer-gateway.service")
MARGIN_S = 10.0
BUDGETS_S = [
    app.INTAKE_BUDGET_S,
    app.SUPERVISION_BUDGET_S,
    app.OUTBOX_BUDGET_S,
    app.NODE_BUDGET_S,
    app.HTTP_BUDGET_S,
    app.CLOSE_BUDGET_S,
]


def settings(file: Path = FILE) -> dict[str, list[str]]:
    """A unit's settings; systemd allows a name more than once, so configparser can't read it."""
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("file", [FILE, GATEWAY])
def test_systemd_understands_it(tmp_path: Path, file: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / file.name
    copy.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", file.read_text()))
    done = subprocess.run([program, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert copy.name not in done.stderr, "systemd has something to say about it"


def test_a_stop_leaves_the_trainings_running() -> None:
    unit = settings()
    assert unit["KillMode"] == ["process"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["OOMPolicy"] == ["continue"], "one training out of memory must not stop the daemon"
    assert "SendSIGKILL" not in unit, "the daemon itself, where it hangs, is to be killed"
    assert unit["StateDirectory"] == ["swift-trainer"]


def test_the_time_to_stop_is_above_the_daemons_own_budgets() -> None:
    known = {name for name in vars(app) if name.endswith("_BUDGET_S")}
    assert len(known) == len(BUDGETS_S), f"a stage was added or removed: {known}; add it here and in the unit's comment"
    [limit] = settings()["TimeoutStopSec"]
    assert float(limit) >= sum(BUDGETS_S) + MARGIN_S


def test_the_times_that_its_comment_names_are_those_of_the_code() -> None:
    stages = ("intake", "supervision", "outbox", "node", "HTTP", "connections")
    named = re.search(", ".join(rf"{stage} (\d+)" for stage in stages), FILE.read_text())
    assert named is not None
    assert [float(number) for number in named.groups()] == BUDGETS_S
    beyond = re.search(r"ON_EXIT=stop it has to be (\d+) s above SWIFT_TRAINER_STOP_GRACE_SECONDS", FILE.read_text())
    assert beyond is not None
    assert float(beyond[1]) >= sum(BUDGETS_S) - app.SUPERVISION_BUDGET_S + app.STOP_MARGIN_S + MARGIN_S


def test_no_sandboxing_takes_the_gpus_or_the_trainings_files_away() -> None:
    breaks = {
        "PrivateTmp", "PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock", "MemoryDenyWriteExecute",
        "PrivateNetwork", "DynamicUser", "RestrictSUIDSGID", "OOMScoreAdjust", "RuntimeDirectory", "MemoryMax",
    }  # fmt: skip
    assert not breaks & set(settings())


def test_the_gateways_user_alone_reads_its_tokens_and_has_the_time_to_stop() -> None:
    unit = settings(GATEWAY)
    assert "DynamicUser" not in unit, "somebody with a name has to write the tokens"
    [folder] = unit["StateDirectory"]
    assert unit["StateDirectoryMode"] == ["0700"]
    assert f"{GATEWAY_PREFIX}TOKENS=/var/lib/{folder}/tokens.json" in unit["Environment"]
    [limit] = unit["TimeoutStopSec"]
    assert float(limit) >= STOP_S + MARGIN_S
    named = re.search(r"requests under way get \((\d+) s\)", GATEWAY.read_text())
    assert named is not None
    assert float(named[1]) == STOP_S
