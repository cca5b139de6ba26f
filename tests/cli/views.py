"""Jobs and events for the tests of what is shown."""

from datetime import UTC, datetime
from typing import Any

from daemon.cli.job_view import JobView, view_of
from schemas.enums import TrainingStatus
from schemas.events import CHECKPOINT_TYPE, EXPORT_TYPE, PROGRESS_TYPE, STATUS_TYPE, CloudEvent
from schemas.jobs import TRAINING_JOB, TrainingJob

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = {"status": STATUS_TYPE, "export": EXPORT_TYPE, "progress": PROGRESS_TYPE, "checkpoint": CHECKPOINT_TYPE}


def a_job(job_id: str = "job-1", **fields: Any) -> TrainingJob:
    """A job's document."""
    made = {
        "id": job_id,
        "training_type": "llm",
        "model_path": "m",
        "datasets": ["d"],
        "output_dir": "o",
        "created_at": MOMENT,
        **fields,
    }
    return TRAINING_JOB.validate_python(made)


def a_view(job_id: str = "job-1", **fields: Any) -> JobView:
    """Its view."""
    return view_of(a_job(job_id, **fields))


def an_event(kind: str, job_id: str = "job-1", **data: Any) -> CloudEvent:
    """An event of a job."""
    common: dict[str, Any] = {"job_id": job_id, "training_type": "llm", "labels": {}}
    return CloudEvent(id="e", source="/s", type=TYPES[kind], subject=job_id, time=MOMENT, data={**common, **data})


def running(job_id: str = "job-1", **progress: Any) -> JobView:
    """The view of a job that trains."""
    view = a_view(job_id, status=TrainingStatus.RUNNING)
    return view.after(an_event("progress", job_id, phase="training", **progress))
