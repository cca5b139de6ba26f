"""A node's lease, what is seen of others, and how a job leaves a node that is lost."""

from datetime import timedelta

import pytest

from daemon.core.lease import Lease
from daemon.core.lifecycle import Cause
from daemon.core.moves import claimed, export_lost, export_moved, lost, move, queued, stop_ordered
from daemon.core.nodes import node_back, node_forgotten, node_lost, node_moved, node_vacated
from daemon.core.sightings import Sightings
from schemas.enums import ExportStatus, NodeState, TrainingStatus
from schemas.jobs import StopOrder, TrainingJob
from schemas.nodes import NodeRecord
from tests.core.factory import NODE, NOW, make_job


def node(beat_s: float = 0.0, node_id: str = "n1") -> NodeRecord:
    """A node whose newest heartbeat says so many seconds after `NOW`."""
    return NodeRecord(
        node_id=node_id,
        state=NodeState.ONLINE,
        last_heartbeat=NOW + timedelta(seconds=beat_s),
        started_at=NOW,
        lost_after_seconds=60,
    )


def test_a_lease_holds_until_its_end() -> None:
    assert Lease().holds(1e12)
    assert Lease(until_s=10.0).holds(9.9)
    assert not Lease(until_s=10.0).holds(10.0)


# ---------------------------------------------------------------- sightings


def test_silence_is_counted_by_the_watchers_own_clock() -> None:
    seen = Sightings()
    seen.see([node(0)], NOW, 100.0)
    seen.see([node(10)], NOW + timedelta(seconds=10), 110.0)
    assert seen.silent_s(node(10), NOW + timedelta(days=1), 115.0) == 5
    assert seen.watched_s(node(10), 170.0) == 60
    assert seen.silent_s(node(20), NOW, 171.0) == seen.watched_s(node(20), 171.0) == 0, "it has just beaten"


def test_one_that_was_just_met_is_judged_by_the_clocks_but_never_lost_by_them() -> None:
    seen = Sightings()
    later = NOW + timedelta(seconds=500)
    assert seen.silent_s(node(0), later, 100.0) == 500
    assert seen.watched_s(node(0), 100.0) == 0
    seen.see([node(0)], later, 100.0)
    assert seen.silent_s(node(0), later, 103.0) == 503
    assert seen.watched_s(node(0), 103.0) == 3


def test_a_clock_that_is_off_makes_nobody_silent() -> None:
    seen = Sightings()
    for round_s in range(0, 50, 10):
        now = NOW + timedelta(hours=1, seconds=round_s + round_s % 3)
        seen.see([node(round_s)], now, 100.0 + round_s)
    assert seen.silent_s(node(40), NOW + timedelta(hours=1, seconds=50), 150.0) == 10
    ahead = Sightings()
    ahead.see([node(3600)], NOW, 100.0)
    assert ahead.silent_s(node(3600), NOW, 100.0) == 0


def test_what_nobody_could_watch_is_no_silence() -> None:
    seen = Sightings()
    seen.see([node(0)], NOW, 100.0)
    seen.forget()
    assert seen.watched_s(node(0), 10_000.0) == 0
    seen.see([node(0)], NOW, 10_000.0)
    assert seen.watched_s(node(0), 10_050.0) == 50
    assert seen.watched_s(node(0, "n2"), 10_050.0) == 0


# ---------------------------------------------------------------- nodes


@pytest.mark.parametrize("state", [NodeState.ONLINE, NodeState.DRAINED])
def test_a_lost_node_comes_back_under_the_next_epoch_as_it_was(state: NodeState) -> None:
    before = node_moved(node(), state, "x", at=NOW, by="n1")
    gone = node_lost(before, "silent", at=NOW, by="n2")
    assert (gone.state, gone.reason, gone.internal.epoch, gone.internal.lost) == (NodeState.OFFLINE, "silent", 1, True)
    back = node_back(gone, "back", at=NOW, by="n1")
    assert (back.state, back.internal.epoch, back.internal.lost, back.internal.drained) == (state, 1, False, False)
    assert [entry.sequence for entry in back.internal.outbox] == [1, 2, 3]


def test_a_drain_with_a_deadline_is_noted_and_taken_back() -> None:
    until = NOW + timedelta(hours=1)
    vacated = node_vacated(node(), until)
    assert vacated.internal.vacates_at == until
    assert node_vacated(vacated, until) is vacated
    assert node_vacated(vacated, None).internal.vacates_at is None


def test_a_forgotten_node_keeps_its_epoch_and_the_number_of_its_events() -> None:
    gone = node_lost(node(), "silent", at=NOW, by="n2")
    left = node_forgotten(gone)
    assert left.internal.forgotten
    assert left.internal == gone.internal.model_copy(update={"forgotten": True})
    assert left.state is gone.state


# ---------------------------------------------------------------- jobs


def claimed_job() -> TrainingJob:
    job = queued(make_job(), Cause.START, at=NOW, by=NODE, reason="start")
    return claimed(job, at=NOW, by=NODE, devices=(0,), log_file_path="/l", argv=("swift",), log_size=0, metrics_size=0)


def test_a_job_of_a_lost_node_is_queued_again_and_keeps_its_retries() -> None:
    job = move(claimed_job(), Cause.TRAIN, at=NOW, by=NODE, reason="trains")
    again = lost(job, "node n is lost", "/c-5", at=NOW, by="n2")
    assert (again.status, again.devices, again.process_id) == (TrainingStatus.QUEUED, (), None)
    assert (again.internal.resume_from, again.internal.retries_used, again.attempt) == ("/c-5", 0, 2)
    assert again.internal.outbox[-1].event.data["reason"] == "node n is lost"


def test_one_that_was_being_stopped_is_cancelled() -> None:
    stopping = stop_ordered(claimed_job(), StopOrder(grace_s=1, save=False, requested_at=NOW), by=NODE)
    gone = lost(stopping, "node n is lost", "/c-5", at=NOW, by="n2")
    assert gone.status is TrainingStatus.CANCELLED
    assert gone.internal.outbox[-1].event.data["reason"] == "node n is lost; it was being stopped"


def test_an_export_of_a_lost_node_is_queued_again() -> None:
    running = export_moved(
        make_job(), ExportStatus.RUNNING, at=NOW, by=NODE, changes={}, export_node_id=NODE, export_devices=(1,)
    )
    again = export_lost(running, at=NOW, by="n2")
    assert again.export_status is ExportStatus.QUEUED
    assert (again.internal.export_node_id, again.internal.export_devices) == (None, ())
