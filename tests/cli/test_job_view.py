"""Events turn a view into the next one; what is not understood changes nothing."""

import pytest

from daemon.cli.job_view import CURVE_POINTS, Curve, line_of, lines_of, view_of
from schemas.enums import ExportStatus, TrainingStatus
from schemas.events import GpuUse
from tests.cli.views import a_job, a_view, an_event, running


def test_progress_moves_the_figures_and_a_phase_alone_keeps_the_loss() -> None:
    view = running(step=3, total_steps=10, percent=30.0, loss=2.0, gpus=[{"index": 0, "utilization": 90}])
    assert (view.doing, view.step, view.percent, view.loss) == ("training", 3, 30.0, 2.0)
    assert view.gpus == (GpuUse(index=0, utilization=90),)
    view = view.after(an_event("progress", phase="saving", step=3, total_steps=10, percent=30.0))
    assert (view.doing, view.loss, view.curve.values) == ("saving", 2.0, (2.0,))


def test_an_end_and_an_export() -> None:
    view = running(step=9, total_steps=10, percent=90.0, gpus=[{"index": 0}])
    view = view.after(an_event("status", status="completed", previous="running", reason="done"))
    assert (view.percent, view.gpus, view.said, view.ended, view.succeeded) == (100.0, (), "done", True, True)
    view = view.after(an_event("export", export_status="running"))
    assert (view.doing, view.ended) == ("exporting", False)
    view = view.after(an_event("export", export_status="failed", export_error="no room"))
    assert (view.ended, view.succeeded) == (True, False)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_what_did_not_complete_did_not_succeed(status: str) -> None:
    view = running().after(an_event("status", status=status, error_message="out of memory"))
    assert (view.ended, view.succeeded, view.said) == (True, False, "out of memory")


def test_what_a_newer_daemon_says_changes_nothing() -> None:
    view = running(step=1)
    strange = an_event("status", status="hibernating")
    assert view.after(strange) == view
    assert "not understood" in (line_of(strange) or "")
    assert view.after(an_event("checkpoint", path="/x", step=1)) == view


def test_a_long_curve_keeps_its_form_in_a_bounded_room() -> None:
    curve = Curve()
    for number in range(10_000):
        curve = curve.with_loss(float(10_000 - number))
    assert CURVE_POINTS / 2 <= len(curve.values) < CURVE_POINTS
    assert len(curve.begun) < curve.stride
    assert list(curve.values) == sorted(curve.values, reverse=True)
    assert curve.values[0] > 9800
    assert curve.values[-1] < 400
    assert curve.with_loss(float("nan")) == curve


def test_the_document_is_where_a_view_begins() -> None:
    job = a_job(status=TrainingStatus.RUNNING, current_step=4, total_steps=8, progress=50.0, loss=1.5, phase="training")
    view = view_of(job, [3.0, None, 2.0])
    assert (view.step, view.percent, view.loss, view.curve.values) == (4, 50.0, 1.5, (3.0, 2.0))
    assert a_view(status=TrainingStatus.QUEUED, wait_reason="no device").said == "no device"


def test_lines() -> None:
    assert lines_of(a_job()) == ["pending: as it stands now"]
    done = a_job(status=TrainingStatus.COMPLETED, export_status=ExportStatus.COMPLETED, export_path="/merged")
    assert lines_of(done)[1] == "export completed: /merged"
    assert line_of(an_event("status", status="queued", reason="start requested")) == "queued: start requested"
    assert line_of(an_event("export", export_status="failed", export_error="no room")) == "export failed: no room"
    assert line_of(an_event("progress", phase="training")) is None
