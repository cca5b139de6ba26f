"""What a watch makes of what comes: doubled, dropped, out of order, ended before it began."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import pytest

from daemon.client import watching
from daemon.client.commands import Commands
from daemon.client.watching import Watch
from schemas.enums import ExportStatus, TrainingStatus
from schemas.events import EXPORT_TYPE, LOG_TYPE, PROGRESS_TYPE, STATUS_TYPE, CloudEvent

JOB = "job-1"
NOW = "2026-01-01T00:00:00Z"


def durable(sequence: int, status: str, kind: str = STATUS_TYPE) -> CloudEvent:
    field = "export_status" if kind == EXPORT_TYPE else "status"
    return CloudEvent.model_validate(
        {"id": f"{JOB}-{sequence}", "source": "/n", "type": kind, "subject": JOB, "time": NOW, "sequence": sequence}
        | {"data": {field: status}}
    )


def passing(kind: str) -> CloudEvent:
    return CloudEvent.model_validate(
        {"id": "x", "source": "/n", "type": kind, "subject": JOB, "time": NOW, "data": {"step": 1}}
    )


LIFE = [
    durable(1, "pending"),
    durable(2, "queued"),
    durable(3, "starting"),
    durable(4, "running"),
    durable(5, "completed"),
    durable(6, "queued", EXPORT_TYPE),
    durable(7, "running", EXPORT_TYPE),
    durable(8, "completed", EXPORT_TYPE),
]


class Store(Commands):
    """A daemon whose job has come as far as the test says."""

    def __init__(self, reached: int) -> None:
        self.reached = reached

    async def send(
        self, command: str, body: Mapping[str, object], *, message_id: str | None = None, owner: str | None = None
    ) -> dict[str, Any]:
        there = LIFE[: self.reached]
        if command == "job.events":
            after, limit = body["after"], body["limit"]
            assert isinstance(after, int)
            assert isinstance(limit, int)
            found = [event for event in there if (event.sequence or 0) > after][:limit]
            return {"job_id": JOB, "events": [event.model_dump(mode="json") for event in found]}
        assert command == "job.status"
        of = {kind: [e.data for e in there if e.type == kind] for kind in (STATUS_TYPE, EXPORT_TYPE)}
        export = of[EXPORT_TYPE][-1]["export_status"] if of[EXPORT_TYPE] else ExportStatus.NONE
        export = ExportStatus.QUEUED if self.reached == 5 else export  # queued in the same write
        return {
            "job_id": JOB,
            "training_type": "llm",
            "status": of[STATUS_TYPE][-1]["status"],
            "attempt": 1,
            "progress": 0,
            "current_step": 0,
            "created_at": NOW,
            "export_status": export,
        }


async def told(watch: Watch, live: AsyncIterator[CloudEvent]) -> list[int | str]:
    return [event.sequence or event.type async for event in watch.take(live)]


async def coming(store: Store, *events: CloudEvent) -> AsyncGenerator[CloudEvent]:
    """Events as they come, each written before it is sent."""
    for event in events:
        store.reached = max(store.reached, event.sequence or 0)
        yield event


async def test_a_doubled_event_comes_once_and_a_dropped_one_from_the_history() -> None:
    store = Store(2)
    sent = [LIFE[index] for index in (1, 2, 2, 1, 4, 3, 7, 7)]  # 4 late, 6 and 7 dropped
    watch = Watch(store, JOB, 0, log=False)
    assert await told(watch, coming(store, *sent)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert watch.ended


async def test_from_now_on() -> None:
    store = Store(3)
    watch = Watch(store, JOB, None, log=False)
    assert await told(watch, coming(store, *LIFE[1:])) == [4, 5, 6, 7, 8]


async def test_a_subscription_that_breaks_is_taken_up_by_the_next() -> None:
    store = Store(1)
    watch = Watch(store, JOB, 0, log=False)
    assert await told(watch, coming(store, *LIFE[1:3])) == [1, 2, 3]
    assert not watch.ended
    store.reached = 6
    assert await told(watch, coming(store, *LIFE[6:])) == [4, 5, 6, 7, 8]
    assert watch.ended


async def test_an_ended_job_tells_what_was_and_ends() -> None:
    store = Store(8)
    assert await told(Watch(store, JOB, 6, log=False), coming(store)) == [7, 8]
    assert await told(Watch(store, JOB, None, log=False), coming(store)) == []


async def test_a_completed_job_has_not_ended_before_its_export() -> None:
    store = Store(4)
    watch = Watch(store, JOB, 4, log=False)
    assert await told(watch, coming(store, LIFE[4])) == [5]
    assert not watch.ended


@pytest.mark.parametrize(("log", "kinds"), [(True, [PROGRESS_TYPE, LOG_TYPE]), (False, [PROGRESS_TYPE])])
async def test_the_log_comes_where_it_is_wanted(log: bool, kinds: list[str]) -> None:
    store = Store(4)
    live = coming(store, passing(PROGRESS_TYPE), passing(LOG_TYPE))
    assert await told(Watch(store, JOB, 4, log=log), live) == kinds


async def test_a_last_event_that_never_comes_is_found_by_looking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_AGAIN_S", 0.01)
    store = Store(4)

    async def silent() -> AsyncGenerator[CloudEvent]:
        yield durable(4, TrainingStatus.RUNNING)
        store.reached = 8
        await watching.asyncio.Event().wait()

    assert await told(Watch(store, JOB, 4, log=False), silent()) == [5, 6, 7, 8]
