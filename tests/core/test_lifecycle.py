"""The lifecycle table is total where it must be, and an illegal move changes nothing."""

import itertools

import pytest

from daemon.core.lifecycle import ENDED, HOLDS_DEVICES, MOVES, Cause, IllegalMoveError, next_status
from schemas.enums import TrainingStatus


def test_every_status_and_every_cause_is_in_the_table() -> None:
    assert {status for status, _ in MOVES} | set(MOVES.values()) == set(TrainingStatus)
    assert {cause for _, cause in MOVES} == set(Cause)


def test_every_status_can_be_reached_from_pending() -> None:
    reached = {TrainingStatus.PENDING}
    while True:
        more = {target for (status, _), target in MOVES.items() if status in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(TrainingStatus)


def test_ended_jobs_leave_only_by_a_resume_and_completed_ones_never() -> None:
    for status in ENDED:
        causes = {cause for known, cause in MOVES if known is status}
        assert causes <= {Cause.RESUME}
    assert not [cause for status, cause in MOVES if status is TrainingStatus.COMPLETED]


def test_stopping_leads_to_cancelled_alone() -> None:
    targets = {target for (status, _), target in MOVES.items() if status is TrainingStatus.STOPPING}
    assert targets == {TrainingStatus.CANCELLED}


def test_devices_are_held_only_between_claim_and_end() -> None:
    for (status, cause), target in MOVES.items():
        if target in HOLDS_DEVICES and status not in HOLDS_DEVICES:
            assert cause is Cause.CLAIM


@pytest.mark.parametrize(
    ("status", "cause"),
    [pair for pair in itertools.product(TrainingStatus, Cause) if pair not in MOVES],
)
def test_an_illegal_move_raises(status: TrainingStatus, cause: Cause) -> None:
    with pytest.raises(IllegalMoveError, match=status) as caught:
        next_status(status, cause)
    assert (caught.value.status, caught.value.cause) == (status, cause)
