"""Bringing deliveries out: a real spool and real receivers, with time moved by hand."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from daemon.adapters.manual_clock import ManualClock
from daemon.notifier import intake as intake_module
from daemon.notifier.apprise_target import AppriseSender
from daemon.notifier.intake import Intake
from daemon.notifier.lanes import WEBHOOK_WIDTH, Lanes
from daemon.notifier.rules_file import Loaded
from daemon.notifier.service import sender
from daemon.notifier.spool import Spool, spool_file
from daemon.notifier.webhook import webhook_sender
from tests.notifier.receiver import HANG, RESET, Answer, receiver
from tests.notifier.samples import SECRET, body_of, event, rules, rules_text, webhook
from tests.waiting import until


@dataclass
class Stage:
    """A notifier without its listener."""

    clock: ManualClock
    spool: Spool
    lanes: Lanes
    intake: Intake
    group: asyncio.TaskGroup

    async def tell(self, *names: str) -> None:
        for name in names:
            await self.intake.take(body_of(event(event_id=name)))

    async def empty(self) -> bool:
        return await self.spool.waiting() == 0

    async def passing(self, holds: Callable[[], object]) -> None:
        """Time goes on until something holds."""

        async def step() -> object:
            await self.clock.advance(10)
            return holds()

        await until(step)

    async def after(self, seconds: float) -> None:
        """Time passes, once something waits for it."""
        await until(lambda: self.clock.next_in_s is not None)
        await self.clock.advance(seconds)


@asynccontextmanager
async def stage(folder: Path, loaded: Loaded) -> AsyncGenerator[Stage]:
    clock = ManualClock()
    with spool_file(folder / "notifications.db") as path:
        spool = Spool(path, clock.now().timestamp())
        async with webhook_sender(clock) as webhooks, asyncio.TaskGroup() as group:
            lanes = Lanes(spool, sender(webhooks, AppriseSender(clock)), clock, lambda: 0.5)
            await lanes.use(loaded.destinations, group)
            yield Stage(clock, spool, lanes, Intake(loaded.rules, spool, lanes, clock), group)
            await lanes.close()
        await spool.close()


def to(*targets: str, more: str = "") -> Loaded:
    return rules(rules_text(*targets, more=more), SECRET=SECRET)


async def test_a_delivery_is_tried_until_it_is_told(tmp_path: Path) -> None:
    async with (
        receiver(Answer(500), RESET, Answer(429, {"retry-after": "100"})) as found,
        stage(tmp_path, to(webhook(found.url))) as on,
    ):
        await on.tell("e1")
        for failed, pause_s in ((1, 5), (2, 15), (3, 100)):
            await until(lambda failed=failed: on.lanes.tally.failed == failed)
            await until(lambda pause_s=pause_s: on.clock.next_in_s == min(pause_s, 60))
            await on.after(pause_s - 0.5)
            assert len(found.calls) == failed
            await on.after(0.5)
            await found.came(failed + 1)
        await until(lambda: on.lanes.tally.told == 1)
        assert found.ids() == ["e1"] * 4
        stamps = [int(call.headers["webhook-timestamp"]) for call in found.calls]
        assert [stamp - stamps[0] for stamp in stamps] == [0, 5, 20, 120], "each attempt is signed with its own time"
        assert len({call.headers["webhook-signature"] for call in found.calls}) == 4
        await until(on.empty)


async def test_what_can_not_be_told_is_given_up_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "swift_trainer")
    async with (
        receiver(Answer(410)) as gone,
        receiver(*[Answer(500)] * 8) as broken,
        stage(tmp_path, to(webhook(gone.url), webhook(broken.url))) as on,
    ):
        await on.tell("e1")
        await on.passing(lambda: on.lanes.tally.given_up == 2)
        assert len(gone.calls) == 1
        assert len(broken.calls) == 8
        await until(on.empty)
    given_up = [record for record in caplog.records if getattr(record, "action", "") == "notification_given_up"]
    fields = [getattr(record, "fields", {}) for record in given_up]
    assert [found["given_up"] for found in fields] == [1, 2]
    assert {found["rule"] for found in fields} == {"told"}
    assert {found["event_id"] for found in fields} == {"e1"}
    assert all(found["target"].endswith("/***") for found in fields)
    assert "/hook" not in caplog.text


async def test_a_target_that_hangs_delays_no_other(tmp_path: Path) -> None:
    hanging: list[Literal["hang"]] = [HANG] * 20
    async with receiver(*hanging) as dead, receiver() as alive, receiver() as people:
        loaded = to(webhook(dead.url), webhook(alive.url), f'apprise: "{people.apprise}"')
        async with stage(tmp_path, loaded) as on:
            names = [f"e{number}" for number in range(10)]
            await on.tell(*names)
            await alive.came(10)
            await people.came(10)
            assert sorted(alive.ids()) == names
            assert [call.json["type"] for call in people.calls] == ["success"] * 10
            assert len(dead.calls) == WEBHOOK_WIDTH, "its lane is bounded"
            dead.close()
            await until(lambda: on.lanes.tally.told == 20)


async def test_an_event_that_comes_twice_is_told_once(tmp_path: Path) -> None:
    async with receiver() as found, stage(tmp_path, to(webhook(found.url))) as on:
        await on.tell("e1", "e1", "e2")
        await until(lambda: on.lanes.tally.told == 2)
        await on.tell("e1")
        await until(on.empty)
        assert sorted(found.ids()) == ["e1", "e2"]


async def test_targets_that_leave_the_file_are_given_up_and_new_ones_begin(tmp_path: Path) -> None:
    async with receiver(Answer(500)) as old, receiver() as new, stage(tmp_path, to(webhook(old.url))) as on:
        await on.tell("e1")
        await until(lambda: on.lanes.tally.failed == 1)
        after = to(webhook(new.url))
        on.intake.rules = after.rules
        await on.lanes.use(after.destinations, on.group)
        assert on.lanes.tally.given_up == 1
        await on.tell("e2")
        await new.came(1)
        assert new.ids() == ["e2"]


async def test_a_changed_secret_is_used_for_what_waits(tmp_path: Path) -> None:
    async with receiver(Answer(500)) as found, stage(tmp_path, to(webhook(found.url))) as on:
        await on.tell("e1")
        await until(lambda: on.lanes.tally.failed == 1)
        changed = rules(rules_text(webhook(found.url)), SECRET="whsec_" + "B" * 32)
        await on.lanes.use(changed.destinations, on.group)
        await on.after(5)
        await found.came(2)
        await until(lambda: on.lanes.tally.told == 1)
        assert found.ids() == ["e1", "e1"]


async def test_a_disk_that_fails_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as found, stage(tmp_path, to(webhook(found.url))) as on:
        put, failures = on.spool.put, [1, 1]

        async def failing(*words: object) -> object:
            if failures:
                failures.pop()
                raise sqlite3.OperationalError("database or disk is full")
            return await put(*words)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(on.spool, "put", failing)
        taking = asyncio.create_task(on.tell("e1"))
        await until(lambda: on.clock.next_in_s == intake_module.DISK_PAUSE_S)
        assert not taking.done(), "not acknowledged while it is not kept"
        await on.after(5)
        await on.after(5)
        await taking
        await found.came(1)


async def test_bytes_that_are_no_event_are_passed_over(tmp_path: Path) -> None:
    async with receiver() as found, stage(tmp_path, to(webhook(found.url))) as on:
        await on.intake.take(b"nonsense")
        await on.intake.take(b"")
        await on.tell("e1")
        await found.came(1)
        assert found.ids() == ["e1"]
