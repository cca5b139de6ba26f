#!/usr/bin/env python3
"""Keeps the store's documents in one file, and brings them back; with the Python of the daemon's environment.

    backup.py save FILE.jsonl.gz       while daemons run, or not
    backup.py restore FILE.jsonl.gz    into an empty database, while no daemon runs
    backup.py check FILE.jsonl.gz      is it whole? Needs no store

The store is that of SWIFT_TRAINER_MONGODB_URL and SWIFT_TRAINER_MONGODB_DATABASE, or of --env-file. The file is lines
of MongoDB's canonical Extended JSON, gzipped: a head, one line a document, and a foot with the counts, without which it
is not whole. It holds what requests held (paths, labels, command lines): it is its owner's alone.

Daemons write while the documents are read, so the order matters. Replies and deletions come first: one whose effect is
not in the file yet would answer for what is not there. A job comes before its history, because an event moves from the
job's document into the history: it is in both then, and not in neither. What the history has beyond the job's own
number is left out, because after a restore the job numbers on from there.
"""

import argparse
import contextlib
import gzip
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pymongo
from bson import json_util
from pydantic import ValidationError
from pymongo.database import Database as MongoDatabase
from pymongo.errors import PyMongoError

from daemon.adapters.mongo_outage import address
from daemon.settings import Settings, setting_faults

VERSION = 1
COLLECTIONS = ("commands", "deletions", "jobs", "nodes", "events", "metrics")
"""In this order; the story above says why."""
BATCH = 500
CONNECT_LIMIT_MS = 10_000

Document = dict[str, Any]
Database = MongoDatabase[Document]


class BackupError(Exception):
    """What is wrong, for a person."""


def save(db: Database, path: Path) -> Counter[str]:
    """Write all documents into a file that appears when it is whole; how many of each collection."""
    part = path.with_name(f"{path.name}.part")
    counts: Counter[str] = Counter()
    try:
        with _new_file(part) as out:
            _write(out, {"swift_trainer_backup": VERSION, "database": db.name, "at": datetime.now(UTC)})
            for name, document in _documents(db):
                _write(out, {"collection": name, "document": document})
                counts[name] += 1
            _write(out, {"end": dict(counts)})
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return counts


def _documents(db: Database) -> Iterator[tuple[str, Document]]:
    sequences: dict[tuple[str, str], int] = {}
    for name in COLLECTIONS:
        for document in db[name].find():
            if name in ("jobs", "nodes"):
                sequences[name.removesuffix("s"), document["_id"]] = document["internal"]["sequence"]
            elif name == "events" and document["sequence"] > sequences.get((document["kind"], document["subject"]), 0):
                continue
            yield name, document


def restore(db: Database, path: Path) -> Counter[str]:
    """Bring the documents of a whole file back; how many of each collection. Raises `BackupError`."""
    check(path)
    taken = [name for name in COLLECTIONS if db[name].find_one({}, {"_id": 1}) is not None]
    if taken:
        raise BackupError(
            f"the database {db.name} has {', '.join(taken)} already; give another one by "
            "SWIFT_TRAINER_MONGODB_DATABASE, or drop it"
        )
    counts: Counter[str] = Counter()
    waiting: list[Document] = []
    into = ""
    for name, document in read(path):
        if waiting and (name != into or len(waiting) == BATCH):
            db[into].insert_many(waiting)
            waiting = []
        into = name
        waiting.append(document)
        counts[name] += 1
    if waiting:
        db[into].insert_many(waiting)
    return counts


def check(path: Path) -> Counter[str]:
    """Read a file to its end; how many documents of each collection. Raises `BackupError`."""
    return Counter(name for name, _ in read(path))


def read(path: Path) -> Iterator[tuple[str, Document]]:
    """The documents with their collections. Raises `BackupError` where the file is not whole."""
    counts: Counter[str] = Counter()
    ended: Document | None = None
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                found = json_util.loads(line, json_options=json_util.CANONICAL_JSON_OPTIONS.with_options(tz_aware=True))
                if number == 0 and found.get("swift_trainer_backup") != VERSION:
                    raise BackupError(f"{path} is no backup of version {VERSION}")
                ended = found.get("end", ended)
                if found.get("collection") in COLLECTIONS:
                    counts[found["collection"]] += 1
                    yield found["collection"], found["document"]
    except (EOFError, gzip.BadGzipFile, ValueError, AttributeError) as error:
        raise BackupError(f"{path} is not whole: {error}") from None
    if ended is None or ended != dict(counts):
        raise BackupError(f"{path} is not whole: its end is missing")


@contextlib.contextmanager
def _new_file(path: Path) -> Generator[IO[bytes]]:
    """A gzipped file for its owner alone, synced when it is closed."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb") as out:
            yield out  # pyright: ignore[reportReturnType]  # it is a writer of bytes
        raw.flush()
        os.fsync(raw.fileno())


def _write(out: IO[bytes], line: Document) -> None:
    out.write(json_util.dumps(line, json_options=json_util.CANONICAL_JSON_OPTIONS).encode() + b"\n")


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in COLLECTIONS if counts[name]) or "nothing"


def main(words: Iterable[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("save", "restore", "check"))
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--env-file", type=Path, help="the daemon's settings, as /etc/swift-trainer/swift-trainer.env")
    options = parser.parse_args(None if words is None else list(words))
    url = ""
    try:
        if options.what == "check":
            sys.stdout.write(f"whole: {_told(check(options.file))}\n")
            return
        if options.env_file is not None:
            options.env_file.read_bytes()  # settings pass over a file that can't be read
        settings = Settings(_env_file=options.env_file)  # pyright: ignore[reportCallIssue]  # pydantic-settings' own
        url = settings.mongodb_url.get_secret_value()
        with pymongo.MongoClient[Document](url, tz_aware=True, serverSelectionTimeoutMS=CONNECT_LIMIT_MS) as client:
            db = client[settings.mongodb_database]
            counts = save(db, options.file) if options.what == "save" else restore(db, options.file)
            sys.stdout.write(f"{options.what}d of {db.name} at {address(url)}: {_told(counts)}\n")
    except BackupError as error:
        sys.exit(f"backup: {error}")
    except ValidationError as error:
        sys.exit(f"backup: {setting_faults(error)[0]}")
    except PyMongoError as error:
        sys.exit(f"backup: the store at {address(url)} can't be used: {type(error).__name__}")
    except OSError as error:
        sys.exit(f"backup: {error}")


if __name__ == "__main__":
    main()
