"""A daemon of the test's own whose `swift` is a flood (a test double: it trains nothing), on the suite's services."""

import sys
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from daemon.adapters.mongo import MongoStore
from tests.bounds.room import Room, opened

ALL = 1_000_000
FLOOD = Path(__file__).with_name("flood.py")
Settings = dict[str, str]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder in which the daemon and its trainings run."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(services: dict[str, str], tmp_path: Path, work: Path) -> Settings:
    """Settings for a daemon with floods on two CPU slots."""
    chosen: dict[str, object] = {
        "mongodb_database": f"bounds_{uuid.uuid4().hex}",
        "node_id": "node-1",
        "state_dir": tmp_path / "state",
        "work_dir": work,
        "swift_command": f"{sys.executable} -S -E {FLOOD}",
        "swift_version": "4.6.0",
        "devices": "cpu:2",
        "stop_grace_seconds": 2,
        "on_exit": "stop",
    }
    return {**services, **{f"SWIFT_TRAINER_{name.upper()}": str(value) for name, value in chosen.items()}}


@pytest.fixture
async def room(settings: Settings, work: Path, amqp_url: str) -> AsyncGenerator[Room]:
    """A running daemon."""
    async with opened(settings, work, amqp_url) as room:
        yield room


@pytest.fixture
async def store(settings: Settings) -> AsyncGenerator[MongoStore]:
    """The daemon's own database: to fill it quickly, and to see a whole curve, which `job.metrics` thins."""
    store = MongoStore(settings["SWIFT_TRAINER_MONGODB_URL"], settings["SWIFT_TRAINER_MONGODB_DATABASE"])
    yield store
    await store.close()


async def losses(store: MongoStore, job_id: str) -> list[tuple[int, float | None]]:
    """Every point of a job's curve: its step and its loss."""
    return [(point.step, point.loss) for point in await store.points(job_id, -1, ALL)]
