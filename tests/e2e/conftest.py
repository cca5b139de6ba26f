"""A daemon of the test's own: node, database, state and work folder that nobody else has, on the suite's services.

The names of queues are final, so two daemons on one broker share their commands: every test has the broker to itself,
because tests run one after the other and a daemon is ended before the next begins.
"""

import json
import uuid
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.harness import Probe, probe, running_daemon
from tests.e2e.http.gateway import Gateway, running_gateway

Settings = dict[str, str]
MakeSettings = Callable[..., Settings]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder in which the daemon and its trainings run."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def make_settings(services: dict[str, str], tmp_path: Path, work: Path) -> MakeSettings:
    """Settings for a daemon with a given `swift` command, on CPU slots; more by keyword, in small letters."""

    def make(swift: str, **more: object) -> Settings:
        chosen: dict[str, object] = {
            "mongodb_database": f"e2e_{uuid.uuid4().hex}",
            "node_id": "node-1",
            "state_dir": tmp_path / "state",
            "work_dir": work,
            "swift_command": swift,
            "devices": "cpu:2",
            "log_level": "debug",
            **more,
        }
        return {**services, **{f"SWIFT_TRAINER_{name.upper()}": str(value) for name, value in chosen.items()}}

    return make


@pytest.fixture
def real_settings(make_settings: MakeSettings, swift_command: str) -> Settings:
    """Settings for the real ms-swift.

    One thread: torch's spin against each other where the cores are shared, and then a step takes twenty times as long.
    """
    return {**make_settings(swift_command), "OMP_NUM_THREADS": "1"}


class Served(NamedTuple):
    """A daemon on the stand-in for swift, and a gateway before it, both as processes of their own."""

    found: Probe
    gateway: Gateway


@pytest.fixture
async def served(standin_settings: Settings, work: Path, amqp_url: str, tmp_path: Path) -> AsyncGenerator[Served]:
    """Both ready, without tokens, and a probe that hears everything; ended afterwards."""
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(standin_settings, tmp_path) as gateway,
    ):
        yield Served(found, gateway)


MakeModel = Callable[..., str]


@pytest.fixture
def standin_settings(make_settings: MakeSettings, standin_command: str) -> Settings:
    """Settings for the stand-in for swift, which can't be asked for its version."""
    return make_settings(standin_command, swift_version="4.6.0")


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Makes a model's folder with what the stand-in is to do; its path."""

    def make(name: str = "model", **steering: object) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        (folder / "standin.json").write_text(json.dumps(steering))
        return str(folder)

    return make


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A data set."""
    path = tmp_path / "data.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    return str(path)
