"""A backup is whole although daemons write meanwhile, and one that is not whole is refused."""

import gzip
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database as MongoDatabase
from pymongo.monitoring import CommandListener, CommandSucceededEvent

from deploy import backup

pytestmark = pytest.mark.services

Database = MongoDatabase[dict[str, Any]]


@pytest.fixture
def db(mongodb_url: str) -> Iterator[Database]:
    """A database of the test's own, with a job that has three events, one of them still in its outbox."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_url, tz_aware=True) as client:
        name = f"backup_{uuid.uuid4().hex}"
        made = client[name]
        outbox = [{"sequence": 3, "event": {"id": "e3"}}]
        made.jobs.insert_one({"_id": "j", "internal": {"sequence": 3, "outbox": outbox}, "loss": float("nan")})
        made.events.insert_many([an_event(1), an_event(2)])
        made.commands.insert_one({"_id": "m", "reply": b"{}", "at": datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)})
        try:
            yield made
        finally:
            client.drop_database(name)


def an_event(sequence: int) -> dict[str, Any]:
    return {"_id": f"e{sequence}", "kind": "job", "subject": "j", "sequence": sequence, "event": {"id": f"e{sequence}"}}


class Daemon(CommandListener):
    """Moves the waiting event into the history, and has another one, when the jobs have been read."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.moved = 0

    def started(self, event: object) -> None:
        """Nothing."""

    def failed(self, event: object) -> None:
        """Nothing."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """After a `find` of the jobs."""
        cursor: Any = event.reply.get("cursor") if event.command_name == "find" else None
        if cursor is not None and cursor["ns"].endswith(".jobs"):
            self._db.events.insert_many([an_event(3), an_event(4)])
            self._db.jobs.update_one({"_id": "j"}, {"$set": {"internal.outbox": [], "internal.sequence": 4}})
            self.moved += 1


def events_of(found: list[tuple[str, dict[str, Any]]]) -> list[int]:
    """Numbers of the events that are kept of the job: in the history, or waiting in its document."""
    kept = [document["sequence"] for name, document in found if name == "events"]
    waiting = [
        event["sequence"] for name, document in found if name == "jobs" for event in document["internal"]["outbox"]
    ]
    return sorted({*kept, *waiting})


def test_an_event_that_moves_meanwhile_is_neither_lost_nor_given_twice(
    db: Database, mongodb_url: str, tmp_path: Path
) -> None:
    daemon = Daemon(db)
    with pymongo.MongoClient[dict[str, Any]](mongodb_url, tz_aware=True, event_listeners=[daemon]) as reader:
        backup.save(reader[db.name], tmp_path / "b.gz")
    assert daemon.moved == 1
    assert events_of(list(backup.read(tmp_path / "b.gz"))) == [1, 2, 3], "the document says that 3 is its newest"


def test_what_comes_back_is_what_was_there(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "b.gz"
    counts = backup.save(db, file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    before = {name: list(db[name].find()) for name in backup.COLLECTIONS}
    with pytest.raises(backup.BackupError, match="has commands, jobs, events already"):
        backup.restore(db, file)
    for name in backup.COLLECTIONS:
        db.drop_collection(name)
    assert backup.restore(db, file) == counts
    assert repr({name: list(db[name].find()) for name in backup.COLLECTIONS}) == repr(before)  # nan is not itself


@pytest.mark.parametrize("harm", ["cut", "no end", "other", "text"])
def test_a_file_that_is_not_whole_is_refused_before_anything_is_written(
    harm: str, db: Database, tmp_path: Path
) -> None:
    file = tmp_path / "b.gz"
    backup.save(db, file)
    whole = file.read_bytes()
    lines = gzip.decompress(whole).splitlines(keepends=True)
    file.write_bytes(
        {
            "cut": whole[:-20],
            "no end": gzip.compress(b"".join(lines[:-1])),
            "other": gzip.compress(b'{"a": 1}\n' + b"".join(lines[1:])),
            "text": b"nothing",
        }[harm]
    )
    db.client.drop_database(db.name)
    with pytest.raises(backup.BackupError, match=r"b\.gz is n"):
        backup.restore(db, file)
    assert db.list_collection_names() == []


def test_a_store_that_is_away_is_said_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "CONNECT_LIMIT_MS", 100)
    monkeypatch.setenv("SWIFT_TRAINER_MONGODB_URL", "mongodb://user:secret@127.0.0.1:1/")
    with pytest.raises(SystemExit, match=r"backup: the store at 127\.0\.0\.1:1 can't be used") as error:
        backup.main(["save", str(tmp_path / "b.gz")])
    assert "secret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit, match="No such file"):
        backup.main(["save", str(tmp_path / "b.gz"), "--env-file", str(tmp_path / "none.env")])
