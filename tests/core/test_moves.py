"""A change of status and its event are one value: gapless numbers, fixed ids, nothing lost on the way."""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test  # pyright: ignore[reportUnknownVariableType]

from daemon.core.lifecycle import ENDED, MOVES, Cause, IllegalMoveError
from daemon.core.moves import checkpoint_seen, claimed, created, move, queued, stop_ordered, with_reply
from schemas.enums import ErrorCode, TrainingStatus
from schemas.jobs import StopOrder, TrainingJob
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
    assert again.internal.resume_from == "/c-5"
    second = claim(again)
    assert second.attempt == 2
    assert second.internal.outbox[-1].event.data["attempt"] == 2


def test_a_finished_job_gives_its_run_folder_back() -> None:
    job = queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start")
    assert job.internal.output_lock == job.run_dir
    order = StopOrder(grace_s=5, save=False, requested_at=NOW)
    assert stop_ordered(job, order, by=NODE).internal.output_lock is None


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
            assert self.job.internal.output_lock is None


def test_any_sequence_of_causes() -> None:
    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType]
        JobMachine, settings=settings(max_examples=60, stateful_step_count=20, deadline=None)
    )
