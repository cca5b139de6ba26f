"""Work that comes after other jobs: it waits for their ends, and says where it can never start."""

from dataclasses import replace

import pytest

from daemon.core.dependencies import hopeless, unmet
from daemon.core.scheduler import plan
from daemon.core.work import Work, WorkKind
from schemas.enums import TrainingStatus
from tests.core.factory import NOW
from tests.core.test_scheduler import node, reasons, work

S = TrainingStatus


def after(*jobs: str, always: bool = False) -> Work:
    return replace(work("j"), after=jobs, after_always=always)


def test_it_waits_for_every_end() -> None:
    statuses = {"a": S.COMPLETED, "b": S.RUNNING, "c": S.PENDING}
    assert unmet(after("a"), statuses) is None
    assert unmet(after("a", "b", "c"), statuses) == "waits for the end of job b (running), c (pending)"
    many = {f"j{number}": S.QUEUED for number in range(5)}
    assert str(unmet(after(*many), many)).endswith("j2 (queued) and 2 more")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (S.FAILED, "job a, which must complete before, is failed"),
        (S.CANCELLED, "job a, which must complete before, is cancelled"),
        (None, "job a, which must complete before, was deleted"),
    ],
)
def test_without_success_it_never_starts_unless_any_end_will_do(status: TrainingStatus | None, reason: str) -> None:
    statuses = {"b": S.COMPLETED} | ({} if status is None else {"a": status})
    assert hopeless(after("b", "a"), statuses) == reason
    assert hopeless(after("b", "a", always=True), statuses) is None
    assert unmet(after("b", "a", always=True), statuses) is None


def test_what_waits_for_others_holds_nothing_back() -> None:
    waiting = [replace(after("a"), priority=9), work("other"), replace(after("b"), job_id="never")]
    decided = plan(waiting, [node(count=1)], [], NOW, statuses={"a": S.RUNNING, "b": S.FAILED})
    assert [start.work.job_id for start in decided.starts] == ["other"]
    assert reasons(decided)["j"] == "waits for the end of job a (running)"
    assert [item.job_id for item, _ in decided.hopeless] == ["never"]
    assert plan([after("a")], [node()], [], NOW, statuses={"a": S.COMPLETED}).starts


def test_what_something_else_keeps_from_starting_says_so_and_holds_nothing_back() -> None:
    export = replace(work("j", age_s=5), kind=WorkKind.EXPORT)
    decided = plan([work("j", age_s=9), work("k"), export], [node(count=2)], [], NOW, blocked={"j": "no space"})
    assert [(start.work.job_id, start.work.kind) for start in decided.starts] == [
        ("j", WorkKind.EXPORT),
        ("k", WorkKind.TRAIN),
    ]
    assert reasons(decided) == {"j": "no space"}
