"""Which jobs are on the board, in which order, and what is counted."""

import pytest

from daemon.cli.board import LINGER_S, Board, Wanted
from schemas.enums import TrainingStatus
from tests.cli.views import a_view, an_event


def test_new_ones_appear_and_ended_ones_stay_a_while_and_count() -> None:
    board = Board()
    board.put(a_view("b", status=TrainingStatus.QUEUED), 0)
    board.put(a_view("a", status=TrainingStatus.RUNNING), 0)
    board.put(a_view("old", status=TrainingStatus.FAILED), 0)
    assert [view.job_id for view in board.shown()] == ["a", "b"]
    assert board.tally() == "1 running, 1 queued"
    ended = board.views["a"].after(an_event("status", "a", status="completed"))
    board.put(ended, 1)
    board.put(ended, 2)
    board.age(1 + LINGER_S)
    assert [view.job_id for view in board.shown()] == ["a", "b"]
    assert board.tally() == "1 queued; ended since: 1 completed"
    board.age(1.1 + LINGER_S)
    assert [view.job_id for view in board.shown()] == ["b"]
    assert board.tally() == "1 queued; ended since: 1 completed"


def test_one_that_is_resumed_is_back() -> None:
    board = Board()
    board.put(a_view("a", status=TrainingStatus.RUNNING), 0)
    board.put(board.views["a"].after(an_event("status", "a", status="failed")), 1)
    board.put(board.views["a"].after(an_event("status", "a", status="queued")), 2)
    board.age(1000)
    assert board.tally() == "1 queued; ended since: 1 failed"
    assert board.unfinished() == {"a"}
    assert not board.all_succeeded


def test_an_end_with_an_export_is_one_end() -> None:
    board = Board(Wanted(job_ids={"a"}))
    board.put(a_view("a", status=TrainingStatus.RUNNING), 0)
    board.put(a_view("a", status=TrainingStatus.COMPLETED, export_status="queued"), 1)
    assert not board.ended_of({"a"})
    assert board.unfinished() == {"a"}
    assert board.tally() == "1 exporting"
    board.put(a_view("a", status=TrainingStatus.COMPLETED, export_status="failed"), 2)
    assert board.ended_of({"a"})
    assert not board.all_succeeded
    assert board.tally() == "nothing unfinished; ended since: 1 completed"


@pytest.mark.parametrize("later_s", [1, LINGER_S + 1])
def test_an_export_that_is_ordered_afterwards_is_no_second_end(later_s: float) -> None:
    board = Board()
    board.put(a_view("a", status=TrainingStatus.RUNNING), 0)
    board.put(a_view("a", status=TrainingStatus.COMPLETED), 0)
    board.age(later_s)
    board.put(a_view("a", status=TrainingStatus.COMPLETED, export_status="running"), later_s)
    assert board.tally() == "1 exporting; ended since: 1 completed"
    board.put(a_view("a", status=TrainingStatus.COMPLETED, export_status="completed"), later_s)
    assert board.tally() == "nothing unfinished; ended since: 1 completed"


def test_a_resumed_one_ends_again() -> None:
    board = Board()
    for status in ("running", "failed", "queued", "completed"):
        board.put(a_view("a", status=status), 0)
    assert board.tally() == "nothing unfinished; ended since: 1 completed, 1 failed"


def test_a_deleted_one_is_dropped() -> None:
    board = Board()
    board.put(a_view("a"), 0)
    board.drop("a")
    board.drop("nobody")
    assert board.shown() == []
    assert board.tally() == "nothing unfinished"


def test_named_jobs_are_shown_however_they_stand_and_waited_for() -> None:
    board = Board(Wanted(job_ids={"a", "b"}))
    board.put(a_view("a", status=TrainingStatus.COMPLETED), 0)
    board.put(a_view("b", status=TrainingStatus.RUNNING), 0)
    assert not board.ended_of({"a", "b"})
    board.put(board.views["b"].after(an_event("status", "b", status="completed")), 1)
    assert board.ended_of({"a", "b", "deleted"})
    assert board.all_succeeded


@pytest.mark.parametrize(
    ("wanted", "admitted"),
    [
        (Wanted(), True), (Wanted(owner="alice"), True), (Wanted(owner="bob"), False), (Wanted(label="team"), True),
        (Wanted(label="team=a=b"), True), (Wanted(label="team=c"), False), (Wanted(label="other"), False),
        (Wanted(job_ids={"x"}), False),
    ],
)  # fmt: skip
def test_who_is_watched(wanted: Wanted, admitted: bool) -> None:
    assert wanted.admits("job-1", "alice", {"team": "a=b"}) is admitted


def test_a_status_chooses_what_is_seen_now() -> None:
    board = Board(Wanted(statuses=[TrainingStatus.RUNNING]))
    board.put(a_view("a", status=TrainingStatus.QUEUED), 0)
    assert board.shown() == []
    board.put(board.views["a"].after(an_event("status", "a", status="running")), 1)
    assert [view.job_id for view in board.shown()] == ["a"]
