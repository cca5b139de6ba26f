"""A change of status and its event are one value: gapless numbers, fixed ids, nothing lost on the way."""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test  # pyright: ignore[reportUnknownVariableType]

from daemon.core.lifecycle import ENDED, MOVES, Cause, IllegalMoveError
from daemon.core.moves import (
    checkpoint_seen,
    claimed,
    created,
    export_moved,
    export_ordered,
    export_stopped,
    failed_before_start,
    interrupted,
    move,
    preempted,
    queued,
    stop_ordered,
    with_internal,
    with_reply,
)
from schemas.enums import ErrorCode, ExportStatus, TrainingStatus
from schemas.events import ExportData
from schemas.jobs import ExportOrder, Preemption, StopOrder, TrainingJob
from tests.core.factory import NODE, NOW, make_job


def claim(job: TrainingJob) -> TrainingJob:
    return claimed(
        job, at=NOW, by=NODE, devices=(0,), log_file_path="/l", argv=("swift", "sft"), log_size=7, metrics_size=3
    )


def test_creation_tells_of_pending_with_sequence_one() -> None:
    job = make_job()
    (entry,) = job.internal.outbox
    assert entry.sequence == job.internal.sequence == 1
    assert entry.routing_key == "job.job-1.status.pending"
    assert entry.event.id == "job-1-1"
    assert entry.event.subject == "job-1"
    assert entry.event.source == "/swift-trainer/nodes/node-a"
    assert entry.event.data["status"] == "pending"
    assert entry.event.data["previous"] is None
    assert entry.event.data["owner"] == "alice"


def test_a_failure_says_why_in_its_event() -> None:
    job = claim(queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start"))
    failed = move(
        job, Cause.FAIL, at=NOW, by=NODE, reason="x", error_code=ErrorCode.OUT_OF_MEMORY, error_message="x", exit_code=1
    )
    data = failed.internal.outbox[-1].event.data
    assert (data["error_code"], data["error_message"], data["exit_code"]) == ("out_of_memory", "x", 1)
    assert failed.completed_at == NOW


def test_a_retry_clears_what_the_last_attempt_ended_with() -> None:
    job = claim(queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start"))
    failed = move(
        job, Cause.FAIL, at=NOW, by=NODE, reason="x", error_code=ErrorCode.UNKNOWN, error_message="x", exit_code=1
    )
    again = queued(failed, Cause.RESUME, at=NOW + timedelta(hours=1), by=NODE, reason="resume", resume_from="/c-5")
    assert (again.error_code, again.error_message, again.exit_code, again.completed_at) == (None, None, None, None)
    assert (again.internal.resume_from, again.attempt, again.current_step) == ("/c-5", 2, 5)
    assert again.internal.outbox[-1].event.data["attempt"] == 2
    anew = queued(failed, Cause.RESUME, at=NOW, by=NODE, reason="resume", resume_from=None)
    assert (anew.attempt, anew.current_step, anew.progress, anew.total_steps) == (2, 0, 0.0, None)
    second = claim(again)
    assert second.attempt == 2
    assert second.internal.outbox[-1].event.data["attempt"] == 2


@pytest.mark.parametrize(
    ("extra_args", "kept"), [({}, True), ({"add_version": True}, True), ({"add_version": False}, False)]
)
def test_a_finished_job_gives_back_a_run_folder_that_is_not_its_own(extra_args: dict[str, object], kept: bool) -> None:
    job = queued(make_job(extra_args=extra_args), Cause.START, at=NOW, by=NODE, reason="start")
    assert job.internal.output_lock == job.run_dir
    order = StopOrder(grace_s=5, save=False, requested_at=NOW)
    assert stop_ordered(job, order, by=NODE).internal.output_lock == (job.run_dir if kept else None)


def test_an_illegal_move_raises_and_the_job_is_as_it_was() -> None:
    job = make_job()
    before = job.model_dump()
    with pytest.raises(IllegalMoveError):
        move(job, Cause.FINISH, at=NOW, by=NODE, reason="no")
    assert job.model_dump() == before


def test_replies_are_kept_to_a_bound() -> None:
    job = make_job()
    for number in range(50):
        job = with_reply(job, f"m{number}", {"ok": True})
    assert [entry.message_id for entry in job.internal.replies] == [f"m{number}" for number in range(30, 50)]


def test_a_change_without_a_message_id_remembers_nothing() -> None:
    job = make_job()
    assert with_reply(job, None, {"ok": True}) is job


def test_a_claim_from_a_checkpoint_begins_at_its_step_and_says_so() -> None:
    job = queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start", resume_from="/run/checkpoint-40")
    job = job.model_copy(update={"total_steps": 100, "current_step": 55, "loss": 2.0})
    resumed = claimed(
        job,
        at=NOW,
        by=NODE,
        devices=(0, 1),
        log_file_path="/l",
        argv=("swift",),
        log_size=9,
        metrics_size=4,
    )
    assert (resumed.current_step, resumed.total_steps, resumed.progress, resumed.loss) == (40, 100, 40.0, None)
    internal = resumed.internal
    assert (internal.log_offset, internal.attempt_offset, internal.metrics_offset, internal.checkpoint_step) == (
        9,
        9,
        4,
        40,
    )
    reason = internal.outbox[-1].event.data["reason"]
    assert reason == "attempt 1 on node node-a, devices 0,1, from /run/checkpoint-40"


def test_a_claim_from_the_beginning_forgets_how_many_steps_there_were() -> None:
    job = queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start")
    first = claim(job.model_copy(update={"total_steps": 100, "current_step": 55}))
    assert (first.current_step, first.total_steps, first.progress) == (0, None, 0.0)


def test_a_claim_that_throws_checkpoints_away_says_so() -> None:
    waiting = queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start")
    assert "beginning" not in str(claim(waiting).internal.outbox[-1].event.data["reason"])
    job = claim(waiting.model_copy(update={"checkpoint_path": "/run/checkpoint-8"}))
    assert str(job.internal.outbox[-1].event.data["reason"]).endswith(
        ", from the beginning: no training can go on from /run/checkpoint-8, or it is not there"
    )


def test_a_stop_that_saves_says_so() -> None:
    job = queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start")
    stopped = stop_ordered(claim(job), StopOrder(grace_s=5, save=True, requested_at=NOW), by=NODE)
    assert stopped.status is TrainingStatus.STOPPING
    assert stopped.internal.outbox[-1].event.data["reason"] == "stop requested, saving a checkpoint first"


@pytest.mark.parametrize("waiting", [make_job(), queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start")])
def test_a_stop_of_what_does_not_run_promises_no_checkpoint(waiting: TrainingJob) -> None:
    stopped = stop_ordered(waiting, StopOrder(grace_s=5, save=True, requested_at=NOW), by=NODE)
    assert stopped.status is TrainingStatus.CANCELLED
    reason = stopped.internal.outbox[-1].event.data["reason"]
    assert reason == "stop requested; it does not run, so there is nothing to save"


def test_the_event_of_an_export_tells_the_time_that_the_document_keeps() -> None:
    at = NOW.replace(microsecond=123_456)
    job = export_moved(make_job(), ExportStatus.COMPLETED, at=at, by=NODE, changes={"export_path": "/m"})
    assert job.export_time == NOW.replace(microsecond=123_000)
    told = ExportData.model_validate(job.internal.outbox[-1].event.data)
    assert told.export_time == job.export_time


@pytest.mark.parametrize(
    ("checkpoint", "said"), [("/c-5", "goes on from /c-5"), (None, "begins anew, because it had no checkpoint yet")]
)
def test_who_gives_way_keeps_its_age_and_says_how_it_goes_on(checkpoint: str | None, said: str) -> None:
    job = claim(queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start"))
    order = Preemption(grace_s=5, requested_at=NOW, reason="for job x")
    job = with_internal(job, preemption=order)
    later = NOW + timedelta(hours=1)
    moved = preempted(job, at=later, by=NODE, reason="for job x", resume_from=checkpoint)
    assert (moved.status, moved.queued_at, moved.internal.preemption) == (TrainingStatus.QUEUED, NOW, None)
    assert moved.internal.resume_from == checkpoint
    assert moved.internal.outbox[-1].event.data["reason"] == f"for job x; {said}"


def test_a_training_is_asked_to_give_way_once_and_by_its_own_node_alone() -> None:
    waiting = queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start")
    job = claim(waiting)
    asked = interrupted(job, "for job x", grace_s=5, at=NOW, by=NODE)
    assert asked is not None
    assert asked.internal.preemption == Preemption(grace_s=5, requested_at=NOW, reason="for job x")
    assert (asked.status, asked.internal.sequence) == (job.status, job.internal.sequence)  # its end tells of it
    later = NOW + timedelta(seconds=1)
    assert interrupted(asked, "for job y", grace_s=0, at=later, by=NODE) is None
    assert interrupted(job, "for job x", grace_s=5, at=NOW, by="another") is None
    assert interrupted(waiting, "for job x", grace_s=5, at=NOW, by=NODE) is None


def test_a_job_that_can_not_be_started_fails_out_of_the_queue() -> None:
    job = queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start")
    failed = failed_before_start(job, at=NOW, by=NODE, code=ErrorCode.SPAWN_FAILED, message="no swift")
    assert (failed.status, failed.error_code, failed.error_message) == (
        TrainingStatus.FAILED,
        ErrorCode.SPAWN_FAILED,
        "no swift",
    )
    assert failed.attempt == 0


def test_an_export_has_a_life_beside_the_jobs_status() -> None:
    order = ExportOrder(checkpoint="/run/checkpoint-8", merge_lora=True, requested_at=NOW)
    job = export_ordered(make_job(), order, at=NOW, by=NODE)
    running = export_moved(job, ExportStatus.RUNNING, at=NOW, by=NODE, changes={}, export_devices=(1,))
    done = export_moved(
        running, ExportStatus.COMPLETED, at=NOW, by=NODE, changes={"export_path": "/merged"}, export_devices=()
    )
    assert {found.status for found in (job, running, done)} == {TrainingStatus.PENDING}
    assert (running.export_time, running.internal.export_devices) == (None, (1,))
    assert (done.export_completed, done.export_time, done.export_error) == (True, NOW, None)
    told = [entry.event.data for entry in done.internal.outbox[1:]]
    assert [data["export_status"] for data in told] == ["queued", "running", "completed"]
    assert {data["checkpoint"] for data in told} == {"/run/checkpoint-8"}
    assert [entry.routing_key for entry in done.internal.outbox[1:]] == [
        f"job.job-1.export.{status}" for status in ("queued", "running", "completed")
    ]


def test_orders_to_end_an_export() -> None:
    order = ExportOrder(checkpoint="/run/checkpoint-8", merge_lora=True, requested_at=NOW)
    waiting = export_ordered(make_job(), order, at=NOW, by=NODE)
    gone = export_stopped(waiting, "asked for", grace_s=5, at=NOW, by=NODE)
    assert gone is not None
    assert (gone.export_status, gone.export_error) == (ExportStatus.FAILED, "asked for")
    assert export_stopped(waiting, "the node stops", grace_s=5, at=NOW, by=NODE, again=True) is None
    assert export_stopped(gone, "asked for", grace_s=5, at=NOW, by=NODE) is None
    job = export_moved(waiting, ExportStatus.RUNNING, at=NOW, by=NODE, changes={}, export_node_id=NODE)
    orders = ((30, True, 30, True), (30, True, None, None), (60, False, 30, False), (9, True, 9, False))
    for grace_s, again, stands_s, stands_again in orders:
        after = export_stopped(job, "x", grace_s=grace_s, at=NOW, by=NODE, again=again)
        assert (after is None) == (stands_s is None)
        job = after or job
        stop = job.internal.export_stop
        assert stop is not None
        if stands_s is not None:
            assert (stop.grace_s, stop.again) == (stands_s, stands_again)
    ended = export_moved(job, ExportStatus.FAILED, at=NOW, by=NODE, changes={"export_error": "x"})
    assert ended.internal.export_stop is None


def test_a_failed_export_says_why_and_another_order_clears_it() -> None:
    failed = export_moved(
        make_job(), ExportStatus.FAILED, at=NOW, by=NODE, changes={"export_error": "no space"}, export_order=None
    )
    assert (failed.export_completed, failed.export_error) == (False, "no space")
    assert failed.internal.outbox[-1].event.data["checkpoint"] is None
    order = ExportOrder(checkpoint="/run/checkpoint-8", merge_lora=True, requested_at=NOW)
    again = export_ordered(failed, order, at=NOW, by=NODE)
    assert (again.export_error, again.export_time, again.export_path) == (None, None, None)


class JobMachine(RuleBasedStateMachine):
    """Any sequence of causes: legal ones add one event each, illegal ones nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.job = created(
            make_job().model_copy(
                update={"internal": make_job().internal.model_copy(update={"sequence": 0, "outbox": ()})}
            ),
            at=NOW,
            by=NODE,
        )
        self.ended_as: TrainingStatus | None = None

    @rule(cause=st.sampled_from(list(Cause)))
    def happen(self, cause: Cause) -> None:
        before = self.job
        try:
            self.job = move(self.job, cause, at=NOW, by=NODE, reason="test")
        except IllegalMoveError:
            assert (before.status, cause) not in MOVES
            assert self.job is before
        else:
            assert self.job.status is MOVES[before.status, cause]
            assert self.job.internal.sequence == before.internal.sequence + 1
            last = self.job.internal.outbox[-1].event.data
            assert (last["previous"], last["status"]) == (before.status, self.job.status)

    @rule(step=st.integers(1, 10_000))
    def checkpoint(self, step: int) -> None:
        self.job = checkpoint_seen(self.job, f"/c-{step}", step, None, at=NOW, by=NODE)

    @invariant()
    def events_are_gapless_and_named_once(self) -> None:
        sequences = [entry.sequence for entry in self.job.internal.outbox]
        assert sequences == list(range(1, self.job.internal.sequence + 1))
        assert len({entry.event.id for entry in self.job.internal.outbox}) == len(sequences)

    @invariant()
    def an_ended_job_has_its_end(self) -> None:
        if self.job.status in ENDED:
            assert self.job.completed_at is not None
            assert self.job.internal.output_lock == self.job.run_dir


def test_any_sequence_of_causes() -> None:
    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType]
        JobMachine, settings=settings(max_examples=60, stateful_step_count=20, deadline=None)
    )
