"""The spool on a real file."""

import sqlite3
import stat
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.notifier import spool as spool_module
from daemon.notifier.retries import LONGEST_RETRY_AFTER_S
from daemon.notifier.spool import Message, Spool, Spooled, SpoolError, spool_file
from daemon.notifier.wording import Tone
from schemas.events import CloudEvent
from tests.notifier.samples import TIME, body_of, event, facts

NOW = TIME.timestamp()


def message(rule: str = "r", *targets: str, break_s: float | None = None) -> Message:
    return Message(rule, targets or ("t",), "title", "body", Tone.INFO, break_s)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncGenerator[Spool]:
    with spool_file(tmp_path / "s" / "notifications.db") as path:
        found = Spool(path, NOW)
        yield found
        await found.close()


async def put(spool: Spool, found: CloudEvent, *messages: Message, now: float = NOW) -> Spooled:
    return await spool.put(facts(found), body_of(found), messages or (message(),), now)


async def test_a_delivery_waits_until_it_is_done(spool: Spool) -> None:
    sent = event(event_id="e1")
    assert await put(spool, sent, message("r", "a", "b")) == Spooled(targets=("a", "b"))
    found = await spool.next("a", ())
    assert found is not None
    assert (found.event_id, found.rule, found.target, found.attempts, found.due) == ("e1", "r", "a", 0, NOW)
    assert found.event == body_of(sent)
    assert await spool.next("a", {found.number}) is None
    await spool.done(found.number)
    assert await spool.next("a", ()) is None
    assert await spool.next("b", ()) is not None
    assert await spool.waiting() == 1


async def test_a_known_event_changes_nothing(spool: Spool) -> None:
    await put(spool, event(event_id="e1"))
    assert await put(spool, event(event_id="e1"), message("other", "u")) == Spooled(known=True)
    assert await spool.waiting() == 1


async def test_an_event_goes_to_a_target_once(spool: Spool) -> None:
    found = await put(spool, event(event_id="e1"), message("first", "a", "b"), message("second", "b", "c"))
    assert set(found.targets) == {"a", "b", "c"}
    for target, rule in (("a", "first"), ("b", "first"), ("c", "second")):
        delivery = await spool.next(target, ())
        assert delivery is not None
        assert delivery.rule == rule
    assert await spool.waiting() == 3


async def test_the_delivery_that_is_due_first_comes_first(spool: Spool) -> None:
    for name in ("e1", "e2"):
        await put(spool, event(event_id=name))
    first = await spool.next("t", ())
    assert first is not None
    await spool.postpone(first.number, NOW + 60)
    second = await spool.next("t", ())
    assert second is not None
    assert second.event_id == "e2"
    await spool.done(second.number)
    again = await spool.next("t", ())
    assert again is not None
    assert (again.event_id, again.attempts, again.due) == ("e1", 1, NOW + 60)


async def test_a_rule_speaks_of_a_job_no_more_often_than_it_wants(spool: Spool) -> None:
    rule = message("r", "t", break_s=600)

    async def told(subject: str, minutes: float) -> bool:
        at = TIME + timedelta(minutes=minutes)
        found = await put(spool, event(event_id=f"{subject}{minutes}", subject=subject, at=at), rule, message("x", "u"))
        assert "u" in found.targets, "other rules speak"
        return not found.held_back

    assert [await told("job1", minutes) for minutes in (0, 9.9, 10, 12, 20)] == [True, False, True, False, True]
    assert await told("job2", 1)


async def test_what_waits_survives_and_is_due_again(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    with spool_file(path):
        spool = Spool(path, NOW)
        await put(spool, event(event_id="e1"))
        found = await spool.next("t", ())
        assert found is not None
        await spool.postpone(found.number, NOW + 10**6)
        await spool.close()
    with spool_file(path):
        spool = Spool(path, NOW)
        found = await spool.next("t", ())
        assert found is not None
        assert (found.attempts, found.due) == (1, NOW + LONGEST_RETRY_AFTER_S), (
            "a clock that was set back holds nothing"
        )
        assert (await put(spool, event(event_id="e1"))).known
        await spool.close()


async def test_targets_that_are_gone_are_given_up(spool: Spool) -> None:
    await put(spool, event(event_id="e1"), message("r", "a", "b"))
    assert [delivery.target for delivery in await spool.drop_others({"a"})] == ["b"]
    assert await spool.waiting() == 1


async def test_everything_is_bounded(spool: Spool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spool_module, "MOST_WAITING", 3)
    monkeypatch.setattr(spool_module, "MOST_SEEN", 5)
    monkeypatch.setattr(spool_module, "MOST_TOLD", 4)
    dropped: list[str] = []
    for number in range(9):
        found = await put(spool, event(event_id=f"e{number}", subject=f"j{number}"), message("r", "t", break_s=60))
        dropped += [delivery.event_id for delivery in found.dropped]
    await put(spool, event(event_id="other"), message("r", "u"))
    assert dropped == [f"e{number}" for number in range(6)], "the oldest go"
    with sqlite3.connect(tmp_path / "s" / "notifications.db") as db:
        counts = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("deliveries", "seen", "told")]  # noqa: S608
    db.close()
    assert counts == [4, 5, 4]


async def test_nothing_is_half_written(spool: Spool, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s" / "notifications.db") as db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON deliveries WHEN new.target = 'b' "
            "BEGIN SELECT raise(ABORT, 'disk is full'); END"
        )
    with pytest.raises(sqlite3.Error, match="disk is full"):
        await put(spool, event(event_id="e1"), message("r", "a", "b"))
    assert await spool.waiting() == 0
    db.execute("DROP TRIGGER full")
    db.close()
    assert (await put(spool, event(event_id="e1"), message("r", "a", "b"))).targets == ("a", "b")


async def test_the_file_is_its_owners_alone_and_one_process_has_it(spool: Spool, tmp_path: Path) -> None:
    path = tmp_path / "s" / "notifications.db"
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    with pytest.raises(SpoolError, match="another notifier uses it"), spool_file(path):
        pass


def test_a_file_that_is_no_spool_is_named(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    path.write_text("no database, but long enough to be taken for one" * 100)
    with spool_file(path), pytest.raises(SpoolError, match="move it away"):
        Spool(path, NOW)
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with spool_file(newer), pytest.raises(SpoolError, match="another version"):
        Spool(newer, NOW)
    with pytest.raises(SpoolError, match="can't be made"), spool_file(path / "below" / "n.db"):
        pass
