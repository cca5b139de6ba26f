"""What attempts that fail or complete say of their devices."""

from daemon.core.sickness import FailedAttempt, proven, struck
from schemas.enums import ErrorCode
from tests.core.factory import NOW
from tests.core.test_drains import GPUS, make_node


def attempt(job_id: str, number: int = 1, code: ErrorCode = ErrorCode.NCCL_ERROR) -> FailedAttempt:
    return FailedAttempt(job_id, number, code, "it hung")


def drained_by(*attempts: tuple[FailedAttempt, tuple[int, ...]]) -> list[int]:
    """Which devices are drained after these attempts failed on these devices."""
    node = make_node()
    for failed, indices in attempts:
        node = struck(node, tuple(GPUS[index] for index in indices), failed, at=NOW, by="n")
    return sorted(drain.index for drain in node.internal.drains)


def test_the_second_failure_in_a_row_drains_the_devices_that_both_had() -> None:
    assert drained_by((attempt("a"), (0, 1))) == []
    assert drained_by((attempt("a"), (0, 1)), (attempt("b"), (1, 2))) == [1]
    assert drained_by((attempt("a"), (0,)), (attempt("a", 2), (0,))) == [0]


def test_the_same_attempt_counts_once_however_often_its_end_is_learned_of() -> None:
    assert drained_by((attempt("a"), (0,)), (attempt("a"), (0,))) == []


def test_one_job_that_fails_again_over_many_devices_proves_it_by_the_hardwares_own_error_alone() -> None:
    assert drained_by((attempt("a"), (0, 1)), (attempt("a", 2), (0, 1))) == []
    broken = attempt("a", 2, ErrorCode.HARDWARE_ERROR)
    assert drained_by((attempt("a"), (0, 1)), (broken, (0, 1))) == [0, 1]


def test_the_reason_names_both_attempts_and_a_drained_device_learns_nothing_more() -> None:
    node = make_node()
    for failed in (attempt("a"), attempt("b", 1, ErrorCode.HARDWARE_ERROR)):
        node = struck(node, GPUS[:1], failed, at=NOW, by="n")
    (drain,) = node.internal.drains
    assert drain.reason == (
        "two attempts in a row failed on it: of job a with nccl_error, of job b with hardware_error (it hung)"
    )
    assert node.internal.strikes == (), "it begins anew when it is back"
    assert struck(node, GPUS[:1], attempt("c"), at=NOW, by="n") is node


def test_an_attempt_that_completes_takes_the_strikes_of_its_devices_away() -> None:
    node = struck(make_node(), GPUS[:2], attempt("a"), at=NOW, by="n")
    cleared = proven(node, GPUS[1:])
    assert [strike.index for strike in cleared.internal.strikes] == [0]
    assert proven(cleared, GPUS[2:]) is cleared
    again = struck(cleared, GPUS[:2], attempt("b"), at=NOW, by="n")
    assert [drain.index for drain in again.internal.drains] == [0]
