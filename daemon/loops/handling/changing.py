"""The commands that change a job: start, stop, resume, export, delete.

What a command came to stands in the document that it was decided on, refusals too: where two daemons have the same
message, because the broker sent it again, one writes first, and the other finds its word there and says the same.
"""

from collections.abc import Sequence
from pathlib import Path

from daemon.core.lifecycle import ENDED, EXPORT_UNDER_WAY, WAITS_OR_RUNS, Cause
from daemon.core.moves import export_ordered, export_stopped, queued, stop_ordered, with_internal, with_reply
from daemon.loops.context import Context, Step, change_job, persistently
from daemon.loops.handling.common import (
    RefusedError,
    Sender,
    accepted,
    check_queue_quota,
    conflict,
    exporting,
    get_job,
    not_found,
    refusal_of,
    rejected,
    unless_replied,
)
from daemon.loops.handling.paths import check_root
from daemon.loops.outbox import publish_all
from daemon.loops.resuming import likely_resumable
from daemon.ports import FolderTakenError, Subject, UnavailableError
from daemon.swift.argv import datasets_of, export_fault
from daemon.swift.checkpoints import complete
from schemas.commands import DeleteRequest, ExportRequest, JobRef, StopRequest
from schemas.enums import ReplyErrorCode, TrainingStatus
from schemas.jobs import Deletion, ExportOrder, StopOrder, TrainingJob
from schemas.replies import Fault, JobAccepted, JobDeleted, JobQueued, Reply, echo, shortened

S = TrainingStatus

_INSTEAD_OF_START = {S.COMPLETED: "create a new job", S.STOPPING: "use job.resume when it is cancelled"}
MOST_NAMED = 5
"""Jobs that a refusal names."""


async def start(ctx: Context, request: JobRef, sender: Sender) -> JobQueued:
    """Queue a pending job; one that waits or runs already is left alone."""

    def step(job: TrainingJob) -> TrainingJob | None:
        unless_replied(job, sender)
        if job.status in WAITS_OR_RUNS - {S.STOPPING}:
            return None
        if job.status is not S.PENDING:
            raise conflict(job, "started", _INSTEAD_OF_START.get(job.status, "use job.resume"))
        trace = sender.trace or job.internal.trace
        moved = queued(job, Cause.START, at=ctx.clock.now(), by=ctx.node_id, reason="start requested", trace=trace)
        result = JobQueued(job_id=job.id, status=moved.status, message="queued")
        return with_reply(moved, sender.message_id, accepted("job.start", result))

    if ctx.settings.owner_quotas:
        await _check_quota(ctx, await get_job(ctx, request.job_id), {S.PENDING}, sender)
    job = await _change(ctx, "job.start", request.job_id, sender, step)
    ctx.signals.scheduling.give()
    return await _queue_result(ctx, job)


async def resume(ctx: Context, request: JobRef, sender: Sender) -> JobQueued:
    """Queue a failed or cancelled job again, from its last checkpoint where it has a usable one."""
    found = await get_job(ctx, request.job_id)
    await _check_quota(ctx, found, {S.FAILED, S.CANCELLED}, sender)
    checkpoint = await likely_resumable(ctx, found)

    def step(job: TrainingJob) -> TrainingJob | None:
        unless_replied(job, sender)
        if job.status not in {S.FAILED, S.CANCELLED}:
            hint = "use job.start" if job.status is S.PENDING else ""
            raise conflict(job, "resumed", hint)
        if job.export_status in EXPORT_UNDER_WAY:
            raise exporting(job, "resumed")
        reason = f"resume requested, from {checkpoint}" if checkpoint else "resume requested, from the beginning"
        moved = queued(
            job,
            Cause.RESUME,
            at=ctx.clock.now(),
            by=ctx.node_id,
            reason=reason,
            resume_from=checkpoint,
            retries_used=0,
            not_before=None,
            avoid_devices=(),
            trace=sender.trace or job.internal.trace,
        )
        result = JobQueued(job_id=job.id, status=moved.status, message=reason)
        return with_reply(moved, sender.message_id, accepted("job.resume", result))

    job = await _change(ctx, "job.resume", request.job_id, sender, step)
    ctx.signals.scheduling.give()
    return await _queue_result(ctx, job)


async def stop(ctx: Context, request: StopRequest, sender: Sender) -> JobAccepted:
    """Cancel a waiting job at once; have a running one ended, and cancelled when nothing of it is left. Of an ended job
    whose export is under way, end that."""
    grace_s = ctx.settings.stop_grace_seconds if request.grace_seconds is None else request.grace_seconds

    def step(job: TrainingJob) -> TrainingJob | None:
        unless_replied(job, sender)
        if job.export_status in EXPORT_UNDER_WAY:
            reason, at = "stopped on request", ctx.clock.now()
            moved = export_stopped(job, reason, grace_s=grace_s, at=at, by=ctx.node_id)
            return moved and with_reply(moved, sender.message_id, accepted("job.stop", _stop_result(moved)))
        if job.status is S.CANCELLED:
            return None
        order = StopOrder(grace_s=grace_s, save=request.save, requested_at=ctx.clock.now())
        if job.status is S.STOPPING:
            return _hurried(job, order)
        if job.status in {S.COMPLETED, S.FAILED}:
            raise conflict(job, "stopped", "it has ended already")
        moved = stop_ordered(job, order, by=ctx.node_id)
        result = _stop_result(moved)
        return with_reply(moved, sender.message_id, accepted("job.stop", result))

    job = await _change(ctx, "job.stop", request.job_id, sender, step)
    ctx.signals.scheduling.give()
    return _stop_result(job)


async def export(ctx: Context, request: ExportRequest, sender: Sender) -> JobAccepted:
    """Queue an export of a checkpoint of an ended job."""
    found = await get_job(ctx, request.job_id)
    try:
        order = (await _export_order(ctx, found, request)).model_copy(update={"trace": sender.trace})
    except RefusedError as refused:
        raise await _noted(ctx, "job.export", found, sender, refused) from None
    message = f"export of {order.checkpoint} queued"
    result = JobAccepted(job_id=found.id, status="exporting", message=message)

    def step(job: TrainingJob) -> TrainingJob | None:
        unless_replied(job, sender)
        if job.status not in ENDED:
            raise conflict(job, "exported", "wait for its end, or stop it")
        if job.export_status in EXPORT_UNDER_WAY:
            before = job.internal.export_order
            again = {"requested_at": order.requested_at, "trace": order.trace}
            if before is not None and before.model_copy(update=again) == order:
                return None
            raise exporting(job, "exported anew")
        moved = export_ordered(job, order, at=ctx.clock.now(), by=ctx.node_id)
        return with_reply(moved, sender.message_id, accepted("job.export", result))

    await _change(ctx, "job.export", request.job_id, sender, step)
    ctx.signals.scheduling.give()
    return result


async def _export_order(ctx: Context, job: TrainingJob, request: ExportRequest) -> ExportOrder:
    """What is to be exported, or a refusal."""
    if job.status not in ENDED:
        raise conflict(job, "exported", "wait for its end, or stop it")
    fault = export_fault(full=job.train_type == "full", quant_method=request.quant_method, datasets=datasets_of(job))
    if fault is not None:
        field, said = fault
        raise RefusedError(
            ReplyErrorCode.CONFLICT,
            f"job {job.id} is {job.status} and can't be exported like that: {said}",
            (Fault(loc=(field,), message=said, input=getattr(request, field)),),
        )
    return ExportOrder(
        checkpoint=await _checkpoint(ctx, job, request.checkpoint),
        merge_lora=request.merge_lora and job.train_type != "full",
        quant_method=request.quant_method,
        quant_bits=request.quant_bits,
        requested_at=ctx.clock.now(),
    )


async def delete(ctx: Context, request: DeleteRequest, sender: Sender) -> JobDeleted:
    """Remove an ended or pending job, and its run folder where asked."""
    while True:
        job = await ctx.store.get_job(request.job_id)
        if job is None:
            return await _deleted_before(ctx, request.job_id, sender)
        unless_replied(job, sender)
        refusal = _undeletable(job, await ctx.store.dependents(job.id, MOST_NAMED))
        if refusal is not None:
            raise await _noted(ctx, "job.delete", job, sender, refusal)
        if job.internal.outbox:  # who follows it has to hear its last word, and the outbox goes with the document
            await publish_all(ctx, {(Subject.JOB, job.id): None})
            continue
        run_dir = Path(job.run_dir) if request.purge_output and job.run_dir else None
        if run_dir is not None:
            await check_root(ctx, ("purge_output",), run_dir, request.purge_output)
            reserved = await _reserved(ctx, job)
            if reserved is None:
                continue
            job = reserved
            await ctx.files.remove_tree(run_dir)
        await _keep_replies(ctx, job)
        kept = "; its output and its log file are still there"
        message = f"deleted{kept if run_dir is None else f' with its run folder {run_dir}'}"
        await ctx.store.note_deletion(
            job.id, Deletion(revision=job.internal.revision, message_id=sender.message_id, message=message)
        )
        if await _removed(ctx, job):
            return JobDeleted(job_id=job.id, message=message)


def _undeletable(job: TrainingJob, dependents: Sequence[str]) -> RefusedError | None:
    if job.status in WAITS_OR_RUNS:
        return conflict(job, "deleted", "stop it first")
    if job.export_status in EXPORT_UNDER_WAY:
        return exporting(job, "deleted")
    if dependents:
        text = f"job {job.id} can't be deleted while others come after it: {', '.join(dependents)}; stop those first"
        return RefusedError(ReplyErrorCode.CONFLICT, text)
    return None


async def _deleted_before(ctx: Context, job_id: str, sender: Sender) -> JobDeleted:
    """The answer once more where this very command has removed the job and its daemon died before it said so."""
    deletion = await ctx.store.deletion(job_id)
    if deletion is None or sender.message_id is None or deletion.message_id != sender.message_id:
        raise not_found(job_id)
    return JobDeleted(job_id=job_id, message=deletion.message)


async def _reserved(ctx: Context, job: TrainingJob) -> TrainingJob | None:
    """The ended job, holding its run folder once more, so that what is removed is nobody else's. None: somebody wrote
    first. The document is removed after the folder: where this daemon dies in between, the command comes again."""
    locked = with_internal(job, output_lock=job.run_dir)
    try:
        written = await ctx.store.update_job(job, locked)
    except FolderTakenError:
        message = f"the run folder {job.run_dir} is in use by another job; wait for it, or delete without purge_output"
        raise RefusedError(ReplyErrorCode.CONFLICT, message) from None
    return with_internal(locked, revision=job.internal.revision + 1) if written else None


async def _keep_replies(ctx: Context, job: TrainingJob) -> None:
    """Keep the replies that the document remembers beyond it: a late repetition of its `job.create` would else find
    neither reply nor job, and make it once more."""
    for entry in job.internal.replies:
        await ctx.store.remember_reply(entry.message_id, Reply.model_validate(entry.reply).encoded())


async def _removed(ctx: Context, job: TrainingJob) -> bool:
    """Remove the document. Where the answer was lost, look whether it is gone: then this command has removed it."""
    try:
        return await ctx.store.delete_job(job)
    except UnavailableError:
        return await persistently(ctx, "a removal", lambda: ctx.store.get_job(job.id), job_id=job.id) is None


async def _change(ctx: Context, command: str, job_id: str, sender: Sender, step: Step) -> TrainingJob:
    """Change a job by a command, or note that it is refused."""
    refusals: list[RefusedError] = []

    def step_or_note(job: TrainingJob) -> TrainingJob | None:
        refusals.clear()
        try:
            return step(job)
        except RefusedError as refused:
            if sender.message_id is None:
                raise
            refusals.append(refused)
            return with_reply(job, sender.message_id, rejected(command, refused))

    try:
        job = await change_job(ctx, job_id, step_or_note)
    except FolderTakenError as taken:
        raise RefusedError(ReplyErrorCode.CONFLICT, str(taken)) from None
    if job is None:
        raise not_found(job_id)
    if refusals:
        raise refusals[0]
    return job


async def _noted(
    ctx: Context, command: str, job: TrainingJob, sender: Sender, refused: RefusedError
) -> RefusedError | UnavailableError:
    """Note a refusal in the document on which it was decided; what to raise. Somebody wrote first: try again."""
    if sender.message_id is None:
        return refused
    unless_replied(job, sender)
    if await ctx.store.update_job(job, with_reply(job, sender.message_id, rejected(command, refused))):
        return refused
    return UnavailableError(f"job {job.id} was changed meanwhile")


async def _check_quota(ctx: Context, job: TrainingJob, from_: set[TrainingStatus], sender: Sender) -> None:
    """Refuse a start or a resume that the owner's quota has no room for."""
    unless_replied(job, sender)
    if job.status in from_:
        await check_queue_quota(ctx, job.owner)


def _hurried(job: TrainingJob, order: StopOrder) -> TrainingJob | None:
    """A second stop may shorten the grace time; it changes nothing else and makes no event."""
    before = job.internal.stop
    if before is None or order.grace_s >= before.grace_s:
        return None
    shorter = before.model_copy(update={"grace_s": order.grace_s})
    return job.model_copy(update={"internal": job.internal.model_copy(update={"stop": shorter})})


def _stop_result(job: TrainingJob) -> JobAccepted:
    if job.export_status in EXPORT_UNDER_WAY or job.status in {S.COMPLETED, S.FAILED}:
        return _export_stop_result(job)
    done = job.status is S.CANCELLED
    message = "cancelled" if done else "stopping; the status event cancelled tells when nothing of it is left"
    return JobAccepted(job_id=job.id, status=job.status, message=message)


def _export_stop_result(job: TrainingJob) -> JobAccepted:
    if job.export_status in EXPORT_UNDER_WAY:
        message = "stopping its export; the event export.failed tells when nothing of it is left"
        return JobAccepted(job_id=job.id, status=S.STOPPING, message=message)
    return JobAccepted(job_id=job.id, status=S.CANCELLED, message="its export, which waited, is cancelled")


async def _queue_result(ctx: Context, job: TrainingJob) -> JobQueued:
    if job.status is not S.QUEUED:
        return JobQueued(job_id=job.id, status=job.status, message=f"already {job.status}")
    position = await ctx.store.count_waiting(before=job) + 1
    return JobQueued(job_id=job.id, status=job.status, message="queued", queue_position=position)


async def _checkpoint(ctx: Context, job: TrainingJob, asked: str) -> str:
    """The absolute path of the checkpoint to export; refused where it is not there or not this job's."""
    if job.run_dir is None:
        text = f"job {job.id} is {job.status} and has no run folder yet, so nothing to export"
        raise RefusedError(ReplyErrorCode.CONFLICT, text)
    run_dir = await ctx.files.resolve(Path(job.run_dir))
    whole = complete(await ctx.files.checkpoints(run_dir))
    if asked == "last":
        chosen = str(whole[-1].path) if whole else None
    elif asked == "best":
        chosen = job.best_checkpoint_path
    else:
        bases = (run_dir, Path(job.run_dir).parent)  # as `ls` shows it in the one or the other; never another job's
        found = [await ctx.files.resolve(base / asked) for base in bases]
        if not any(path.is_relative_to(run_dir) for path in found):
            message = f"{shortened(asked)} is not below the job's run folder {job.run_dir}"
            fault = Fault(loc=("checkpoint",), message=message, input=echo(asked))
            raise refusal_of(ReplyErrorCode.FORBIDDEN, (fault,))
        chosen = next((str(folder.path) for folder in whole if folder.path in found), None)
    if chosen is None:
        there = ", ".join(folder.path.name for folder in whole) or "none"
        message = f"has no complete checkpoint {shortened(asked)!r} (there: {there})"
        raise RefusedError(
            ReplyErrorCode.CONFLICT,
            f"job {job.id} is {job.status} and {message}",
            (Fault(loc=("checkpoint",), message=message, input=echo(asked)),),
        )
    return chosen
