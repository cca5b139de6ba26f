"""Endings, retries and progress: every class decided, no number invented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.outcome import Ending, Verdict, Why, judge
from daemon.core.progress import Progress, logged, percent_of, progress_fields
from daemon.core.retry import LONGEST_WAIT_S, decide
from schemas.enums import ErrorCode
from schemas.jobs import StoppedFor


def ending(**fields: object) -> Ending:
    base: dict[str, object] = {"exit_code": 0, "step": 5, "total_steps": 8, "stop_asked": False}
    return Ending(**{**base, **fields})  # type: ignore[arg-type]


def verdict(found: Ending, note: str = "runner's note") -> Verdict:
    return judge(found, ErrorCode.DATASET_ERROR, "the telling line", note)


def test_code_0_at_the_last_step_is_completed() -> None:
    assert verdict(ending(step=8)).why is Why.REACHED_LAST_STEP
    assert verdict(ending(step=61, total_steps=60)).why is Why.REACHED_LAST_STEP


@pytest.mark.parametrize("total", [8, None])
def test_code_0_before_the_last_step_is_never_completed(total: int | None) -> None:
    found = verdict(ending(total_steps=total))
    assert (found.why, found.error_code) == (Why.ENDED_EARLY, ErrorCode.KILLED)
    assert "step 5" in (found.error_message or "")


def test_a_stop_is_no_failure_however_the_process_ended() -> None:
    for code in (0, 1, -9, -15, 241, None):
        assert verdict(ending(exit_code=code, stop_asked=True)).why is Why.STOP_ASKED


def test_what_the_daemon_ended_itself_fails_for_its_reason_unless_it_was_done() -> None:
    reason = StoppedFor(error_code=ErrorCode.TIMEOUT, message="60 s have passed")
    found = verdict(ending(exit_code=-15, stopped_for=reason))
    assert (found.why, found.error_code, found.error_message) == (Why.WATCHDOG, ErrorCode.TIMEOUT, "60 s have passed")
    assert verdict(ending(exit_code=None, stopped_for=reason)).error_code is ErrorCode.TIMEOUT
    assert verdict(ending(exit_code=0, step=10, stopped_for=reason)).why is Why.REACHED_LAST_STEP


def test_a_lost_run_is_killed_or_its_node_is_lost() -> None:
    assert verdict(ending(exit_code=None)).error_code is ErrorCode.KILLED
    assert verdict(ending(exit_code=None, rebooted=True)).error_code is ErrorCode.NODE_LOST
    assert "runner's note" in (verdict(ending(exit_code=None)).error_message or "")


def test_who_can_not_be_read_to_the_end_has_failed_of_nothing_that_is_known() -> None:
    for code in (0, 1):
        found = verdict(ending(exit_code=code, unread="/log can't be read"))
        assert (found.why, found.error_code) == (Why.FAILED, ErrorCode.UNKNOWN)
        assert found.error_message == (
            f"ended with code {code}; its log is read up to step 5 of 8, and then /log can't be read"
        )
    assert verdict(ending(step=8, unread="/log can't be read")).why is Why.REACHED_LAST_STEP


def test_a_failure_carries_its_class_and_its_line() -> None:
    found = verdict(ending(exit_code=1))
    assert (found.why, found.error_code, found.error_message) == (
        Why.FAILED,
        ErrorCode.DATASET_ERROR,
        "the telling line (runner's note)",
    )
    assert verdict(ending(exit_code=1), note="").error_message == "the telling line"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_failure_class_has_a_retry_decision(code: ErrorCode) -> None:
    decide(code, used=0, allowed=3, devices=(0,))
    assert decide(code, used=3, allowed=3, devices=(0,)) is None


def test_what_would_fail_again_is_not_retried() -> None:
    for code in (ErrorCode.BAD_ARGUMENT, ErrorCode.MODEL_NOT_FOUND, ErrorCode.DATASET_ERROR):
        assert decide(code, used=0, allowed=9, devices=(0,)) is None


def test_retries_wait_longer_and_leave_a_suspect_device() -> None:
    waits = [decide(ErrorCode.NCCL_ERROR, used=used, allowed=99, devices=(2, 3)) for used in range(12)]
    assert [found.wait_s for found in waits if found][:3] == [10, 20, 40]
    assert all(found and found.wait_s <= LONGEST_WAIT_S and found.avoid == (2, 3) for found in waits)


@given(steps=st.lists(st.integers(0, 2000)), total=st.integers(1, 1000))
def test_percent_never_falls_and_never_passes_100(steps: list[int], total: int) -> None:
    now = Progress()
    for step in steps:
        before = now
        now = logged(now, step=step, total_steps=total, values={}, elapsed_s=None, remaining_s=None)
        assert before.percent <= now.percent <= 100
        assert before.step <= now.step
    if steps:
        assert now.percent == percent_of(max(steps), total)


def test_remaining_time_is_ms_swifts_own_or_steps_times_seconds() -> None:
    told = logged(Progress(), step=5, total_steps=10, values={"seconds_per_step": 2.0}, elapsed_s=1.0, remaining_s=77.0)
    assert told.remaining_s == 77.0
    counted = logged(
        Progress(), step=5, total_steps=10, values={"seconds_per_step": 2.0}, elapsed_s=1.0, remaining_s=None
    )
    assert counted.remaining_s == 10.0
    unknown = logged(Progress(), step=5, total_steps=10, values={}, elapsed_s=None, remaining_s=None)
    assert unknown.remaining_s is None


def test_an_evaluation_keeps_the_last_training_values() -> None:
    trained = logged(
        Progress(), step=5, total_steps=10, values={"loss": 2.0, "token_acc": 0.5}, elapsed_s=1, remaining_s=1
    )
    evaluated = logged(
        trained, step=5, total_steps=10, values={"eval_loss": 3.0, "token_acc": 0.1}, elapsed_s=2, remaining_s=1
    )
    assert (evaluated.loss, evaluated.token_acc, dict(evaluated.eval)) == (2.0, 0.5, {"eval_loss": 3.0})


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_the_document_says_100_of_none_that_may_still_fail(step: int, total: int) -> None:
    told = progress_fields(Progress(step=min(step, total), total_steps=total))["progress"]
    assert isinstance(told, float)
    assert told < 100
    assert told == pytest.approx(percent_of(min(step, total), total))
