"""What a change of a job tells those who watch: counts, durations, and the spans of what is over.

Called in the one place where changes are written, with the document before and after; whatever moved a job, its order
and its end are seen here. A write whose answer was lost is not counted; the documents and events are the truth.
"""

from datetime import datetime, timedelta

from daemon.core.lifecycle import ENDED, HOLDS_DEVICES
from daemon.metrics import EXPORTS_ENDED, JOBS_ENDED, QUEUE_WAIT, REQUEUES, STOP
from daemon.ports import Meters
from daemon.tracing import Attributes, record_span
from schemas.enums import ExportStatus, TrainingStatus
from schemas.jobs import TrainingJob

S = TrainingStatus


def note_change(meters: Meters, before: TrainingJob, after: TrainingJob, now: datetime) -> None:
    """Tell of a change that was written just now."""
    if after.status is not before.status:
        _moved(meters, before, after, now)
    if before.export_status is ExportStatus.RUNNING and after.export_status is not ExportStatus.RUNNING:
        _export_over(meters, before, after, now)


def _moved(meters: Meters, before: TrainingJob, after: TrainingJob, now: datetime) -> None:
    if after.status is S.STARTING:
        since = _waiting_since(before) or now
        meters.observe(QUEUE_WAIT, max(0.0, (now - since).total_seconds()), training_type=after.training_type)
        record_span("wait for devices", after.internal.trace, begin=since, end=now, attributes=_about(after))
    if before.status in HOLDS_DEVICES and after.status not in HOLDS_DEVICES:
        _attempt_over(before, after, now)
    if before.status is S.STOPPING and before.internal.stop is not None:
        meters.observe(STOP, max(0.0, (now - before.internal.stop.requested_at).total_seconds()))
    if after.status in ENDED:
        kind, code = after.training_type, after.error_code or ""
        meters.add(JOBS_ENDED, training_type=kind, status=after.status, error_code=code)
    cause = _requeued_for(before, after)
    if cause is not None:
        meters.add(REQUEUES, cause=cause)


def _waiting_since(job: TrainingJob) -> datetime | None:
    """When a queued job began to wait: one that gave way to another keeps its age, but did not wait while it ran."""
    if job.queued_at is None or job.started_at is None or job.training_time is None:
        return job.queued_at
    return max(job.queued_at, job.started_at + timedelta(seconds=job.training_time))


def _requeued_for(before: TrainingJob, after: TrainingJob) -> str | None:
    """Why a job is in the queue again; None where it is not, or for the first time."""
    if after.status is not S.QUEUED or before.status is S.PENDING:
        return None
    if before.status in ENDED:
        return "resume"
    if after.internal.retries_used > before.internal.retries_used:
        return "retry"
    return "preemption" if before.internal.preemption is not None else "node_lost"


def _attempt_over(before: TrainingJob, after: TrainingJob, now: datetime) -> None:
    attributes: Attributes = {
        **_about(before),
        "swift_trainer.status": after.status.value,
        **({"swift_trainer.error_code": after.error_code.value} if after.error_code else {}),
        **({"process.exit.code": after.exit_code} if after.exit_code is not None else {}),
        "swift_trainer.step": after.current_step,
    }
    well = after.status in {S.COMPLETED, S.CANCELLED}
    record_span(
        "training attempt",
        after.internal.trace,
        begin=before.started_at or now,
        end=now,
        attributes=attributes,
        problem=None if well else (after.error_code or "queued again"),
    )


def _export_over(meters: Meters, before: TrainingJob, after: TrainingJob, now: datetime) -> None:
    if after.export_status is not ExportStatus.QUEUED:
        meters.add(EXPORTS_ENDED, status=after.export_status)
    order = before.internal.export_order
    record_span(
        "export",
        (order.trace if order else None) or after.internal.trace,
        begin=before.internal.export_started_at or now,
        end=now,
        attributes={
            "swift_trainer.job_id": after.id,
            "swift_trainer.node_id": before.internal.export_node_id or "",
            "swift_trainer.devices": before.internal.export_devices,
            "swift_trainer.export_status": after.export_status.value,
        },
        problem=None if after.export_status is ExportStatus.COMPLETED else after.export_status.value,
    )


def _about(job: TrainingJob) -> dict[str, str | int | tuple[int, ...]]:
    return {
        "swift_trainer.job_id": job.id,
        "swift_trainer.training_type": job.training_type.value,
        "swift_trainer.attempt": job.attempt,
        "swift_trainer.node_id": job.node_id or "",
        "swift_trainer.devices": job.devices,
    }
