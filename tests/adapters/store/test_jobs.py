"""Jobs in the store: written once, guarded by their revision, found again by every query."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings

from daemon.adapters.documents import job_document, read_job
from daemon.adapters.memory_store import MemoryStore
from daemon.ports import FolderTakenError, JobQuery, Store, Subject, UnavailableError
from schemas.enums import ExportStatus, TrainingStatus, TrainingType
from schemas.jobs import RememberedReply, TrainingJob
from tests.adapters.store.records import (
    at,
    changed,
    job_pairs,
    make_event,
    make_job,
    make_point,
    make_vlm_job,
    with_events,
)


async def stored(store: Store, job_id: str = "a") -> TrainingJob:
    job = await store.get_job(job_id)
    assert job is not None
    return job


async def test_a_job_comes_back_as_it_was_stored(store: Store) -> None:
    job = with_events(make_job(labels={"team.x/y": "z"}, gpu_id="0,1", extra_args={"a": [1, "b"], "c": True}), 1)
    assert await store.insert_job(job)
    assert await store.get_job("a") == job
    assert await store.get_job("b") is None


async def test_the_store_tells_its_own_clock(store: Store) -> None:
    before, told = datetime.now(UTC), await store.now()
    assert abs((told - before).total_seconds()) < 60, "on this machine they are one clock"


async def test_times_keep_their_milliseconds(store: Store) -> None:
    await store.insert_job(make_job(created_at=at(0.123456)))
    assert (await stored(store)).created_at == at(0.123)


async def test_an_insert_repeated_after_a_lost_answer_says_false_and_changes_nothing(store: Store) -> None:
    job = make_job(internal={"output_lock": "/o/v0"})
    assert await store.insert_job(job)
    assert not await store.insert_job(changed(job, owner="other"))
    assert await stored(store) == job


async def test_two_unfinished_jobs_cannot_have_one_run_folder(store: Store) -> None:
    await store.insert_job(make_job("a", internal={"output_lock": "/o/v0"}))
    with pytest.raises(FolderTakenError, match="/o/v0"):
        await store.insert_job(make_job("b", internal={"output_lock": "/o/v0"}))
    other = make_job("c")
    await store.insert_job(other)
    with pytest.raises(FolderTakenError, match="/o/v0"):
        await store.update_job(other, changed(other, internal={"output_lock": "/o/v0"}))
    assert await stored(store, "c") == other
    first = await stored(store, "a")
    assert await store.update_job(first, changed(first, internal={"output_lock": None}))
    assert await store.insert_job(make_job("b", internal={"output_lock": "/o/v0"}))


async def test_an_update_writes_what_differs_and_raises_the_revision(store: Store) -> None:
    job = make_job(wait_reason="no device", internal={"revision": 7, "stop": None})
    await store.insert_job(job)
    after = changed(job, status=TrainingStatus.STARTING, wait_reason=None, internal={"log_offset": 5})
    assert await store.update_job(job, after)
    assert await stored(store) == changed(after, internal={"revision": 8})


async def test_a_stale_update_says_false_and_changes_nothing(store: Store) -> None:
    job = make_job()
    await store.insert_job(job)
    assert await store.update_job(job, changed(job, owner="first"))
    assert not await store.update_job(job, with_events(changed(job, owner="second"), 1))
    now = await stored(store)
    assert (now.owner, now.internal.outbox) == ("first", ())
    assert not await store.update_job(make_job("gone"), make_job("gone", owner="x"))


async def test_an_update_leaves_alone_what_others_write_beside_it(store: Store) -> None:
    before = with_events(make_job(attempt=1), 1, 2)
    await store.insert_job(before)
    await store.note_progress("a", 1, {"current_step": 9, "internal.log_offset": 99})
    await store.outbox_done(Subject.JOB, "a", before.internal.outbox[:1])
    assert await store.update_job(before, with_events(changed(before, status=TrainingStatus.RUNNING), 3))
    now = await stored(store)
    assert (now.status, now.current_step, now.internal.log_offset) == (TrainingStatus.RUNNING, 9, 99)
    assert [event.sequence for event in now.internal.outbox] == [2, 3]


async def test_the_newest_twenty_replies_are_remembered(store: Store) -> None:
    await store.insert_job(make_job())
    for number in range(25):
        job = await stored(store)
        reply = RememberedReply(message_id=f"m{number}", reply={"ok": True, "result": {"n": number}})
        assert await store.update_job(job, changed(job, internal={"replies": (*job.internal.replies, reply)}))
    assert [reply.message_id for reply in (await stored(store)).internal.replies] == [f"m{n}" for n in range(5, 25)]


@given(pair=job_pairs())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_update_read_back_is_what_was_asked_for(store: Store, pair: tuple[TrainingJob, TrainingJob]) -> None:
    before, after = pair
    now = await store.get_job("a")
    if now is not None:
        await store.delete_job(now)
    await store.insert_job(before)
    published = before.internal.outbox[:1]
    await store.outbox_done(Subject.JOB, "a", published)
    assert await store.update_job(before, after)
    left = after.internal.outbox[len(published) :]
    revision = before.internal.revision + 1
    expected = changed(after, internal={"outbox": left, "revision": revision})
    assert await stored(store) == read_job(job_document(expected))


async def test_progress_is_noted_for_the_right_attempt_alone(store: Store) -> None:
    job = make_job(attempt=2)
    await store.insert_job(job)
    values = {"progress": 12.5, "eval_metrics": {"eval_loss": 1.5}, "internal.last_log_at": at(3), "phase": "training"}
    assert not await store.note_progress("a", 1, values)
    assert not await store.note_progress("b", 2, values)
    assert await stored(store) == job
    assert await store.note_progress("a", 2, values)
    now = await stored(store)
    assert (now.progress, now.eval_metrics, now.phase) == (12.5, {"eval_loss": 1.5}, "training")
    assert (now.internal.last_log_at, now.internal.revision) == (at(3), 0)


@pytest.mark.parametrize("name", ["status", "internal", "internal.revision", "internal.outbox", "nonsense", "loss.x"])
async def test_progress_cannot_touch_what_the_revision_guards(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        await store.note_progress("a", 1, {name: 1})


async def test_a_deleted_job_takes_its_events_and_its_curve_with_it(store: Store) -> None:
    job = with_events(make_job(), 1, 2)
    await store.insert_job(job)
    await store.outbox_done(Subject.JOB, "a", job.internal.outbox[:1])
    await store.add_points("a", [make_point(1, loss=1.0)])
    assert not await store.delete_job(changed(job, internal={"revision": 1}))
    assert await store.get_job("a") is not None
    assert await store.delete_job(job)
    assert await store.get_job("a") is None
    assert await store.events("a", 0, 10) == []
    assert await store.points("a", 0, 10) == []
    assert not await store.delete_job(job)


async def test_lists_are_pages_newest_first(store: Store) -> None:
    for number in range(7):
        await store.insert_job(make_job(f"j{number}", created_at=at(number // 2)))
    first, second = await store.list_jobs(JobQuery(size=4)), await store.list_jobs(JobQuery(page=2, size=4))
    assert [job.id for job in first.jobs + second.jobs] == ["j6", "j5", "j4", "j3", "j2", "j1", "j0"]
    assert (first.total, second.total) == (7, 7)
    beyond = await store.list_jobs(JobQuery(page=3, size=4))
    assert (beyond.jobs, beyond.total) == ((), 7)


@pytest.mark.parametrize(
    ("query", "found", "totals"),
    [
        (JobQuery(), "a b c d", (4, 3, 1)),
        (JobQuery(training_type=TrainingType.VLM), "d", (1, 3, 1)),
        (JobQuery(statuses=(TrainingStatus.QUEUED, TrainingStatus.FAILED)), "b c", (2, 2, 0)),
        (JobQuery(owner="ann"), "a d", (2, 1, 1)),
        (JobQuery(label=("team.x/y", None)), "a b", (2, 2, 0)),
        (JobQuery(label=("team.x/y", "1")), "b", (1, 1, 0)),
        (JobQuery(label=("team", None)), "", (0, 0, 0)),
        (JobQuery(training_type=TrainingType.LLM, owner="ann"), "a", (1, 1, 1)),
    ],
)
async def test_lists_have_filters(store: Store, query: JobQuery, found: str, totals: tuple[int, int, int]) -> None:
    for job in (
        make_job("a", owner="ann", labels={"team.x/y": "0"}),
        make_job("b", status=TrainingStatus.QUEUED, labels={"team.x/y": "1"}),
        make_job("c", status=TrainingStatus.FAILED),
        make_vlm_job("d", owner="ann"),
    ):
        await store.insert_job(job)
    page = await store.list_jobs(query)
    assert " ".join(sorted(job.id for job in page.jobs)) == found
    assert (page.total, page.total_llm, page.total_vlm) == totals


async def test_counts_have_every_status(store: Store) -> None:
    assert await store.counts() == dict.fromkeys(TrainingStatus, 0)
    await store.insert_job(make_job("a", status=TrainingStatus.QUEUED))
    await store.insert_job(make_job("b", status=TrainingStatus.QUEUED, export_status=ExportStatus.FAILED))
    assert await store.counts() == {**dict.fromkeys(TrainingStatus, 0), "queued": 2}
    census = await store.census()
    assert census.pop((TrainingType.LLM, TrainingStatus.QUEUED)) == 2
    assert set(census.values()) == {0}
    assert len(census) == len(TrainingType) * len(TrainingStatus) - 1


async def test_an_outage_of_the_twin_is_before_the_write_and_a_lost_answer_after_it() -> None:
    async def fail(name: str) -> None:
        raise UnavailableError(f"{name}: the store is away")

    outage, lossy = MemoryStore(before_call=fail), MemoryStore(after_call=fail)
    for broken in (outage, lossy):
        with pytest.raises(UnavailableError, match="insert_job"):
            await broken.insert_job(make_job())
    with pytest.raises(UnavailableError, match="outbox_done"):
        await outage.outbox_done(Subject.JOB, "a", [make_event(1)])
    assert vars(outage)["_jobs"] == {}
    assert vars(lossy)["_jobs"] == {"a": make_job()}
