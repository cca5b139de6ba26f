"""Deliveries that wait, in a SQLite file: they survive a restart, and an event is acknowledged once they are here.

Three tables, each bounded: `deliveries` (what is still to be told; one event goes to one target once), `seen` (ids of
events that were taken, because durable events come at least once) and `told` (when a rule last spoke of a job). What an
event brings is written in one transaction.

The file holds events and messages, no addresses and no secrets, and is its owner's alone. SQLite runs in a thread of
the spool's own.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from daemon.notifier.events import Facts
from daemon.notifier.retries import LONGEST_RETRY_AFTER_S
from daemon.notifier.wording import Tone

VERSION = 1
MOST_WAITING = 10_000
"""Deliveries that wait for one target; the oldest are given up for more."""
MOST_SEEN = 100_000
MOST_TOLD = 100_000
LOCK_WAIT_S = 5.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, rule TEXT NOT NULL, target TEXT NOT NULL,
    title TEXT NOT NULL, body TEXT NOT NULL, tone TEXT NOT NULL, event BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, UNIQUE (event_id, target));
CREATE INDEX IF NOT EXISTS next_of_target ON deliveries (target, due, number);
CREATE TABLE IF NOT EXISTS seen (number INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS told (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, subject TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE (rule, subject));
"""
COLUMNS = "number, event_id, rule, target, title, body, tone, event, attempts, due"

T = TypeVar("T")


class SpoolError(Exception):
    """The spool's file can't be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a rule says of an event."""

    rule: str
    targets: tuple[str, ...]
    """Keys."""
    title: str
    body: str
    tone: Tone
    break_s: float | None
    """Least time between two messages of the rule about the same subject."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to one target."""

    number: int
    event_id: str
    rule: str
    target: str
    title: str
    body: str
    tone: Tone
    event: bytes
    """The event as it came from the broker."""
    attempts: int
    due: float
    """Not before then; Unix seconds."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """What became of an event."""

    known: bool = False
    """It was taken before; nothing was done."""
    targets: tuple[str, ...] = ()
    """Keys of the targets that have something to do now."""
    held_back: tuple[str, ...] = ()
    """Rules that spoke of the subject too short a time ago."""
    dropped: tuple[Delivery, ...] = ()
    """The oldest of targets that had too many waiting."""


@contextmanager
def spool_file(path: Path) -> Generator[Path]:
    """Have the file's folder, and hold the file until the end of the block. Raises `SpoolError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolError(f"{path}: can't be made: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would let others read it
        yield path
    except BlockingIOError:
        raise SpoolError(f"{path}: another notifier uses it; give each a --spool and a --queue of its own") from None
    finally:
        os.close(lock)


class Spool:
    """The waiting deliveries; methods raise `sqlite3.Error` where the disk does not do its part."""

    def __init__(self, path: Path, now: float) -> None:
        """Open the file; `now` in Unix seconds. Raises `SpoolError`."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        try:
            self._db = self._thread.submit(_opened, path, now).result()
        except (sqlite3.Error, SpoolError) as error:
            self._thread.shutdown()
            raise SpoolError(f"{path}: {error}; move it away to begin with an empty one") from None

    async def close(self) -> None:
        """End it."""
        await self._run(self._db.close)
        self._thread.shutdown()

    async def put(self, facts: Facts, event: bytes, messages: Sequence[Message], now: float) -> Spooled:
        """Keep what rules say of an event, all of it or nothing; an event that was taken before changes nothing."""
        return await self._run(lambda: _put(self._db, facts, event, messages, now))

    async def next(self, target: str, skip: Collection[int]) -> Delivery | None:
        """The delivery to a target that is due first, whether it is due yet or not."""
        marks = ",".join("?" * len(skip))
        query = f"SELECT {COLUMNS} FROM deliveries WHERE target = ? AND number NOT IN ({marks}) ORDER BY due, number LIMIT 1"  # noqa: E501, S608 - constants and marks
        row = await self._run(lambda: self._db.execute(query, (target, *skip)).fetchone())
        return None if row is None else _delivery(row)

    async def done(self, number: int) -> None:
        """Forget a delivery: told, or given up."""
        await self._write("DELETE FROM deliveries WHERE number = ?", number)

    async def postpone(self, number: int, due: float) -> None:
        """Note a failed attempt, and when the next is due."""
        await self._write("UPDATE deliveries SET attempts = attempts + 1, due = ? WHERE number = ?", due, number)

    async def drop_others(self, targets: Collection[str]) -> list[Delivery]:
        """Give up what waits for targets that are not among these; what that was."""
        return await self._run(lambda: _drop_others(self._db, frozenset(targets)))

    async def waiting(self) -> int:
        """How many deliveries wait."""
        return await self._run(lambda: int(self._db.execute("SELECT count(*) FROM deliveries").fetchone()[0]))

    async def _write(self, statement: str, *values: object) -> None:
        await self._run(lambda: self._db.execute(statement, values))

    async def _run(self, act: Callable[[], T]) -> T:
        """In the spool's thread; what was begun there is finished, even where nobody waits for it any more."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)


def _opened(path: Path, now: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found not in {0, VERSION}:
        db.close()
        raise SpoolError(f"written by another version ({found}, this one has {VERSION})")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # acknowledged is what has reached the disk
    db.executescript(f"{SCHEMA}PRAGMA user_version = {VERSION};")
    # a clock that was set back must not hold deliveries for longer than any pause
    db.execute("UPDATE deliveries SET due = min(due, ?)", (now + LONGEST_RETRY_AFTER_S,))
    return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Generator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _put(db: sqlite3.Connection, facts: Facts, event: bytes, messages: Sequence[Message], now: float) -> Spooled:
    with _transaction(db):
        if not db.execute("INSERT OR IGNORE INTO seen (event_id) VALUES (?)", (facts.event_id,)).rowcount:
            return Spooled(known=True)
        _trim(db, "seen", MOST_SEEN)
        targets: dict[str, None] = {}
        held_back: list[str] = []
        for message in messages:
            if not _may_speak(db, message, facts):
                held_back.append(message.rule)
                continue
            for target in message.targets:
                values = (facts.event_id, message.rule, target, message.title, message.body, message.tone, event, now)
                statement = (
                    "INSERT OR IGNORE INTO deliveries (event_id, rule, target, title, body, tone, event, due) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                )
                if db.execute(statement, values).rowcount:
                    targets[target] = None
        dropped = [delivery for target in targets for delivery in _overflow(db, target)]
    return Spooled(targets=tuple(targets), held_back=tuple(held_back), dropped=tuple(dropped))


def _may_speak(db: sqlite3.Connection, message: Message, facts: Facts) -> bool:
    """Whether a rule's break is over, by the times of the events; if so, it begins anew."""
    if message.break_s is None:
        return True
    at, about = facts.time.timestamp(), (message.rule, facts.subject)
    last = db.execute("SELECT at FROM told WHERE rule = ? AND subject = ?", about).fetchone()
    if last is not None and at - float(last[0]) < message.break_s:
        return False
    db.execute("INSERT OR REPLACE INTO told (rule, subject, at) VALUES (?, ?, ?)", (*about, at))
    _trim(db, "told", MOST_TOLD)
    return True


def _trim(db: sqlite3.Connection, table: str, most: int) -> None:
    """Forget the oldest rows."""
    db.execute(f"DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?", (most,))  # noqa: S608 - our own names


def _overflow(db: sqlite3.Connection, target: str) -> list[Delivery]:
    """Give up the oldest deliveries of a target that has too many."""
    more = int(db.execute("SELECT count(*) FROM deliveries WHERE target = ?", (target,)).fetchone()[0]) - MOST_WAITING
    if more <= 0:
        return []
    query = f"SELECT {COLUMNS} FROM deliveries WHERE target = ? ORDER BY number LIMIT ?"  # noqa: S608 - a constant
    oldest = [_delivery(row) for row in db.execute(query, (target, more)).fetchall()]
    db.executemany("DELETE FROM deliveries WHERE number = ?", [(delivery.number,) for delivery in oldest])
    return oldest


def _drop_others(db: sqlite3.Connection, targets: frozenset[str]) -> list[Delivery]:
    with _transaction(db):
        found = [_delivery(row) for row in db.execute(f"SELECT {COLUMNS} FROM deliveries").fetchall()]  # noqa: S608 - a constant
        others = [delivery for delivery in found if delivery.target not in targets]
        db.executemany("DELETE FROM deliveries WHERE number = ?", [(delivery.number,) for delivery in others])
    return others


def _delivery(row: tuple[int, str, str, str, str, str, str, bytes, int, float]) -> Delivery:
    number, event_id, rule, target, title, body, tone, event, attempts, due = row
    return Delivery(number, event_id, rule, target, title, body, Tone(tone), event, attempts, due)
