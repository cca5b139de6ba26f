"""The example settings are those of the code, and mean the same to systemd, docker and the daemon."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.settings import PREFIX, Settings
from deploy import env_example

FILE = Path(env_example.__file__).with_name("swift-trainer.env.example")
LINES = FILE.read_text().splitlines()
SETTING = re.compile(rf"^#({PREFIX}[A-Z0-9_]+)=(.*)$")


def test_it_is_what_the_script_prints() -> None:
    """`make generate` writes it anew."""
    done = subprocess.run([sys.executable, env_example.__file__], capture_output=True, text=True, check=True)
    assert done.stdout == FILE.read_text()


def test_every_setting_is_there_once_behind_its_text() -> None:
    found = [match[1] for line in LINES if (match := SETTING.match(line))]
    assert found == [PREFIX + name.upper() for name in Settings.model_fields]
    for number, line in enumerate(LINES):
        if SETTING.match(line):
            assert LINES[number - 1].startswith("# "), f"{line} has no text"


def test_nothing_in_it_is_read_differently_by_different_readers() -> None:
    for line in LINES:
        assert line == "" or line.startswith("#"), "as it is, it sets nothing"
        if match := SETTING.match(line):
            assert not re.search(r"""["'\\#$`]|^\s|\s$|\s#""", match[2]), (
                f"{line}: systemd, docker or a shell differ here"
            )


def test_its_values_are_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    defaults = Settings()
    for line in LINES:
        if (match := SETTING.match(line)) and match[2]:
            monkeypatch.setenv(match[1], match[2])
    assert Settings() == defaults
