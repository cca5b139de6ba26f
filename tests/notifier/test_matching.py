"""Which rules an event is for."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.notifier.matching import matches, matching
from daemon.notifier.rules import When
from schemas.enums import TrainingStatus
from schemas.events import CloudEvent
from tests.notifier.samples import event, export_event, facts, node_event, rules

COMPLETED = event()
FAILED = event(status="failed", error_code="out_of_memory")


@pytest.mark.parametrize(
    ("when", "found", "expected"),
    [
        ({}, COMPLETED, True),
        ({}, node_event("online"), True),
        ({"status": "completed"}, COMPLETED, True),
        ({"status": ["failed", "completed"]}, COMPLETED, True),
        ({"status": "failed"}, COMPLETED, False),
        ({"status": "completed"}, export_event("completed"), False),
        ({"export_status": "completed"}, export_event("completed"), True),
        ({"export_status": "completed"}, COMPLETED, False),
        ({"node_state": "offline"}, node_event("offline"), True),
        ({"node_state": ["offline", "drained"]}, node_event("online"), False),
        ({"node_state": "offline"}, COMPLETED, False),
        ({"owner": "alice"}, COMPLETED, True),
        ({"owner": "al*"}, COMPLETED, True),
        ({"owner": "Al*"}, COMPLETED, False),
        ({"owner": ["bob", "a?ice"]}, COMPLETED, True),
        ({"owner": "*"}, event(owner=None), False),
        ({"owner": "*"}, node_event("online"), False),
        ({"labels": {"team": "vis*"}}, COMPLETED, True),
        ({"labels": {"team": "vis*", "run": "[0-9]"}}, COMPLETED, True),
        ({"labels": {"team": "vis*", "run": "8"}}, COMPLETED, False),
        ({"labels": {"absent": "*"}}, COMPLETED, False),
        ({"training_type": "llm"}, COMPLETED, True),
        ({"training_type": "vlm"}, COMPLETED, False),
        ({"training_type": "llm"}, export_event("failed"), True),
        ({"error_code": ["out_of_memory", "killed"]}, FAILED, True),
        ({"error_code": "killed"}, FAILED, False),
        ({"error_code": "killed"}, COMPLETED, False),
        ({"status": "failed", "owner": "bob"}, FAILED, False),
    ],
)
def test_conditions(when: dict[str, Any], found: CloudEvent, expected: bool) -> None:
    assert matches(When.model_validate(when), facts(found)) is expected


STATUSES = st.lists(st.sampled_from(TrainingStatus), min_size=1, unique=True)


@settings(deadline=None)
@given(st.sampled_from(TrainingStatus), STATUSES, st.sampled_from(["alice", "bob"]), st.sampled_from(["alice", "*"]))
def test_every_condition_has_to_hold(
    status: TrainingStatus, wanted: list[TrainingStatus], owner: str, glob: str
) -> None:
    found = facts(event(status=status, owner=owner))
    alone = matches(When(status=tuple(wanted)), found), matches(When(owner=(glob,)), found)
    assert matches(When(status=tuple(wanted), owner=(glob,)), found) is all(alone)
    assert alone == (status in wanted, glob in {"*", owner})


def test_rules_are_found_in_the_order_of_the_file() -> None:
    text = "".join(
        f"  - {{name: {name}, when: {{status: {status}}}, to: [{{apprise: 'json://h'}}]}}\n"
        for name, status in (("b", "completed"), ("x", "failed"), ("a", "[completed]"))
    )
    assert [rule.name for rule in matching(rules(f"rules:\n{text}").rules, facts(COMPLETED))] == ["b", "a"]
