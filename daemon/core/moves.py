"""The changes of a job, each a pure function from one document to the next.

A change that others are told of appends its durable event to the document's own outbox under the next sequence number,
so that state and event are one write. Nothing else builds durable events of jobs.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

from daemon.core.clocks import whole_ms
from daemon.core.lifecycle import ENDED, HOLDS_DEVICES, Cause, next_status
from daemon.core.progress import Progress, progress_fields
from schemas.enums import ErrorCode, ExportStatus, TrainingStatus, TrainingType
from schemas.events import (
    CHECKPOINT_TYPE,
    EXPORT_TYPE,
    STATUS_TYPE,
    CheckpointData,
    CloudEvent,
    ExportData,
    JobData,
    OutboxEvent,
    StatusData,
)
from schemas.jobs import ExportOrder, ExportStop, Internal, Preemption, RememberedReply, StopOrder, TrainingJob

REPLIES_KEPT = 20
NOT_LOOKED_AT = "waits for the scheduler"
"""Why a job waits that was queued a moment ago, or behind more than the scheduler looks at."""


class About(TypedDict):
    """The fields of `JobData`."""

    job_id: str
    training_type: TrainingType
    owner: str | None
    labels: dict[str, str]
    attempt: int


def source_of(node_id: str) -> str:
    """The CloudEvents source of a node."""
    return f"/swift-trainer/nodes/{node_id}"


def with_internal(job: TrainingJob, **changes: object) -> TrainingJob:
    """The job with fields of its internal part changed."""
    return job.model_copy(update={"internal": job.internal.model_copy(update=changes)})


def with_reply(job: TrainingJob, message_id: str | None, reply: Mapping[str, object]) -> TrainingJob:
    """The job, remembering the reply to the command that changed it."""
    if message_id is None:
        return job
    entry = RememberedReply(message_id=message_id, reply=dict(reply))
    return with_internal(job, replies=(*job.internal.replies, entry)[-REPLIES_KEPT:])


def versioned(extra_args: Mapping[str, object]) -> bool:
    """Whether each job has a folder of its own below `output_dir`, as ms-swift does by itself (`add_version`)."""
    return extra_args.get("add_version", True) not in (False, "false", "False")


def created(job: TrainingJob, *, at: datetime, by: str) -> TrainingJob:
    """A new document with the event that tells of it."""
    data = StatusData(**about(job), status=job.status, previous=None, reason="created")
    return _tell(job, f"status.{job.status}", STATUS_TYPE, data, at, by)


def move(  # the event's parts are named, and all are needed
    job: TrainingJob,
    cause: Cause,
    *,
    at: datetime,
    by: str,
    reason: str,
    processes_left: int | None = None,
    memory_left_mib: float | None = None,
    **changes: object,
) -> TrainingJob:
    """Move a job along the lifecycle table, with other changes in the same write, and tell of it.

    Raises `IllegalMoveError` where the table has no such move.
    """
    status = next_status(job.status, cause)
    moved = job.model_copy(update={"status": status, **changes})
    if status in ENDED:
        moved = with_internal(
            moved.model_copy(
                update={"completed_at": at, "wait_reason": None, "final_loss": moved.loss, "warnings": ()}
            ),
            stop=None,
            stopped_for=None,
            preemption=None,
            # its own folder, named when the job was made, is nobody else's even where the job ended before it wrote
            output_lock=job.run_dir if versioned(job.extra_args) else None,
        )
    data = StatusData(
        **about(moved),
        status=status,
        previous=job.status,
        reason=reason,
        error_code=moved.error_code if status in ENDED else None,
        error_message=moved.error_message if status in ENDED else None,
        exit_code=moved.exit_code if status in ENDED else None,
        processes_left=processes_left,
        memory_left_mib=memory_left_mib,
    )
    return _tell(moved, f"status.{status}", STATUS_TYPE, data, at, by)


def queued(job: TrainingJob, cause: Cause, *, at: datetime, by: str, reason: str, **internal: object) -> TrainingJob:
    """Put a job into the queue: a start, or its next attempt. What the last attempt ended with is cleared, and what it
    reached behind the checkpoint from which the next one goes on."""
    cleared = with_internal(job, stop=None, stopped_for=None, preemption=None, output_lock=job.run_dir, **internal)
    if cause is not Cause.START:
        begin = progress_fields(_begin(cleared))
        cleared = cleared.model_copy(update={**begin, "attempt": job.attempt + 1})
    return move(
        cleared,
        cause,
        at=at,
        by=by,
        reason=reason,
        queued_at=at,
        completed_at=None,
        devices=(),
        process_id=None,
        wait_reason=NOT_LOOKED_AT,
        error_code=None,
        error_message=None,
        exit_code=None,
        phase=None,
        final_loss=None,
        estimated_time_remaining=None,
        warnings=(),
    )


def _begin(job: TrainingJob) -> Progress:
    """Where an attempt begins: at 120 where it goes on from `.../checkpoint-120`, else at 0."""
    checkpoint = job.internal.resume_from
    number = (checkpoint or "").rpartition("-")[2]
    step = int(number) if number.isdecimal() else 0
    return Progress(step=step, total_steps=job.total_steps if checkpoint else None)


def going_on(resume_from: str | None) -> str:
    """How the next attempt begins, for a person."""
    return f"goes on from {resume_from}" if resume_from else "begins anew"


def interrupted(job: TrainingJob, reason: str, *, grace_s: float, at: datetime, by: str) -> TrainingJob | None:
    """Have a training give way; its supervisor sees the order and queues it again at its end. None: it does not run on
    this node, or gives way already."""
    runs = job.status in {TrainingStatus.STARTING, TrainingStatus.RUNNING} and job.node_id == by
    if not runs or job.internal.preemption is not None:
        return None
    return with_internal(job, preemption=Preemption(grace_s=grace_s, requested_at=at, reason=reason))


def preempted(job: TrainingJob, *, at: datetime, by: str, reason: str, resume_from: str | None) -> TrainingJob:
    """Put a training that gave way back into the queue. It keeps its age: it has waited for its turn already."""
    text = f"{reason}; {going_on(resume_from)}" + ("" if resume_from else ", because it had no checkpoint yet")
    moved = queued(job, Cause.PREEMPT, at=at, by=by, reason=text, resume_from=resume_from)
    return moved.model_copy(update={"queued_at": job.queued_at})


def stop_ordered(job: TrainingJob, order: StopOrder, *, by: str) -> TrainingJob:
    """Ask for a job's end: a waiting one is cancelled at once, a running one is stopping until it is gone."""
    return move(
        with_internal(job, stop=order),
        Cause.STOP,
        at=order.requested_at,
        by=by,
        reason=f"stop requested{_saving(job.status) if order.save else ''}",
        wait_reason=None,
    )


def _saving(status: TrainingStatus) -> str:
    if status in HOLDS_DEVICES:
        return ", saving a checkpoint first"
    return "; it does not run, so there is nothing to save"


def claimed(
    job: TrainingJob,
    *,
    at: datetime,
    by: str,
    devices: tuple[int, ...],
    log_file_path: str,
    argv: tuple[str, ...],
    log_size: int,
    metrics_size: int,
) -> TrainingJob:
    """Lease devices to a job and begin an attempt, at the step of the checkpoint where it goes on from one.

    What the last attempt reached is forgotten: a step behind the checkpoint is trained, and told of, again.
    """
    resumed = job.internal.resume_from
    attempt = max(1, job.attempt)  # later ones were counted when they were queued
    begin = _begin(job)
    ready = with_internal(
        job.model_copy(update=progress_fields(begin)),
        log_offset=log_size,
        attempt_offset=log_size,
        metrics_offset=metrics_size,
        checkpoint_step=begin.step,
        not_before=None,
    )
    named = ",".join(map(str, devices))
    begins = f", from {resumed}" if resumed else ""
    if not resumed and job.checkpoint_path is not None:
        begins = f", from the beginning: no training can go on from {job.checkpoint_path}, or it is not there"
    return move(
        ready,
        Cause.CLAIM,
        at=at,
        by=by,
        reason=f"attempt {attempt} on node {by}, device{'s' if len(devices) > 1 else ''} {named}{begins}",
        attempt=attempt,
        node_id=by,
        started_at=at,
        devices=devices,
        wait_reason=None,
        log_file_path=log_file_path,
        swift_argv=argv,
    )


def checkpoint_seen(job: TrainingJob, path: str, step: int, best: str | None, *, at: datetime, by: str) -> TrainingJob:
    """A checkpoint is complete on disk."""
    known = with_internal(
        job.model_copy(update={"checkpoint_path": path, "best_checkpoint_path": best or job.best_checkpoint_path}),
        checkpoint_step=step,
    )
    data = CheckpointData(**about(known), path=path, step=step)
    return _tell(known, "checkpoint", CHECKPOINT_TYPE, data, at, by)


def export_moved(
    job: TrainingJob, status: ExportStatus, *, at: datetime, by: str, changes: Mapping[str, object], **internal: object
) -> TrainingJob:
    """Move a job's export; the job's own status stays."""
    ended = status in {ExportStatus.COMPLETED, ExportStatus.FAILED}
    time = whole_ms(at)  # the event tells what the document has
    moved = with_internal(
        job.model_copy(
            update={
                "export_status": status,
                "export_completed": status is ExportStatus.COMPLETED,
                "export_time": time if ended else None,
                "export_error": None,
                **changes,
            }
        ),
        export_stop=None,
        **internal,
    )
    order = moved.internal.export_order
    data = ExportData(
        **about(moved),
        export_status=status,
        export_completed=moved.export_completed,
        export_path=moved.export_path,
        export_time=moved.export_time,
        export_error=moved.export_error,
        checkpoint=order.checkpoint if order else None,
    )
    return _tell(moved, f"export.{status}", EXPORT_TYPE, data, at, by)


def lost(job: TrainingJob, reason: str, resume_from: str | None, *, at: datetime, by: str) -> TrainingJob:
    """Take a job off a node whose lease has run out: back to the queue, or cancelled where it was being stopped.

    Nobody has looked there whether anything of it is left.
    """
    gone = job.model_copy(update={"process_id": None})
    if job.status is TrainingStatus.STOPPING:
        return move(gone, Cause.GONE, at=at, by=by, reason=f"{reason}; it was being stopped")
    return queued(gone, Cause.LOSE, at=at, by=by, reason=reason, resume_from=resume_from)


def export_lost(job: TrainingJob, *, at: datetime, by: str) -> TrainingJob:
    """Take an export off a node whose lease has run out: back to the queue."""
    return export_moved(job, ExportStatus.QUEUED, at=at, by=by, changes={}, export_node_id=None, export_devices=())


def export_stopped(
    job: TrainingJob, reason: str, *, grace_s: float, at: datetime, by: str, again: bool = False
) -> TrainingJob | None:
    """Have an export end: one that waits at once, one that runs by its supervisor; `again` queues it anew.

    None: there is nothing to end, or it is being ended as soon already.
    """
    if job.export_status is ExportStatus.QUEUED and not again:
        return export_moved(job, ExportStatus.FAILED, at=at, by=by, changes={"export_error": reason})
    if job.export_status is not ExportStatus.RUNNING:
        return None
    order = ExportStop(grace_s=grace_s, reason=reason, again=again)
    before = job.internal.export_stop
    if before is not None:
        for_good = before if not before.again else order
        order = for_good.model_copy(update={"grace_s": min(before.grace_s, grace_s)})
    return None if order == before else with_internal(job, export_stop=order)


def export_ordered(job: TrainingJob, order: ExportOrder, *, at: datetime, by: str) -> TrainingJob:
    """Queue an export for devices of its own."""
    changes: dict[str, object] = {"export_path": None}
    return export_moved(job, ExportStatus.QUEUED, at=at, by=by, changes=changes, export_order=order)


def failed_before_start(job: TrainingJob, *, at: datetime, by: str, code: ErrorCode, message: str) -> TrainingJob:
    """A queued job that can never be started here: its command line could not be made."""
    return move(job, Cause.FAIL, at=at, by=by, reason=message, error_code=code, error_message=message, exit_code=None)


def about(job: TrainingJob) -> About:
    """What the data of every event of a job says of it."""
    return About(
        job_id=job.id, training_type=job.training_type, owner=job.owner, labels=job.labels, attempt=job.attempt
    )


def _tell(job: TrainingJob, key: str, kind: str, data: JobData, at: datetime, by: str) -> TrainingJob:
    """Append a durable event under the job's next sequence number."""
    internal: Internal = job.internal
    sequence = internal.sequence + 1
    event = CloudEvent(
        id=f"{job.id}-{sequence}",
        source=source_of(by),
        type=kind,
        subject=job.id,
        time=at,
        sequence=sequence,
        data=data.model_dump(mode="json"),
    )
    entry = OutboxEvent(sequence=sequence, routing_key=f"job.{job.id}.{key}", event=event, trace=internal.trace)
    return with_internal(job, sequence=sequence, outbox=(*internal.outbox, entry))
