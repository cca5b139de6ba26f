"""Supervising one training attempt, from the spawn (or its adoption) to the verdict.

Steps: take up the run; follow it; when no process is left, write what was learned; decide how it ended; one write moves
the job to completed, cancelled, failed or back to the queue. The documents decide: a stop is seen by reading the job,
hint or no hint.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

from daemon.core.lifecycle import HOLDS_DEVICES, Cause
from daemon.core.moves import export_ordered, going_on, lost, move, preempted, queued
from daemon.core.outcome import Ending, Verdict, Why, judge
from daemon.core.retry import RetryDecision, decide
from daemon.core.work import WorkKind
from daemon.logs import get_log
from daemon.loops.context import Context, change_job, persistently
from daemon.loops.draining import note_end
from daemon.loops.fleet import memory_left_mib
from daemon.loops.following import LEASE_RAN_OUT, follow, read_job, spawn, spec_of, wait_gone
from daemon.loops.reading import LONGEST_AWAY_S, LogReader
from daemon.loops.recorder import Recorder
from daemon.loops.resuming import likely_resumable
from daemon.loops.tracking import Tracker
from daemon.loops.watching import Watching
from daemon.ports import Run, RunEnd, SpawnError
from daemon.swift.argv import MERGEABLE
from daemon.swift.failures import Failure, classify
from schemas.enums import ErrorCode, TrainingStatus
from schemas.jobs import ExportOrder, StoppedFor, TrainingJob

log = get_log("supervising")


def run_id_of(job: TrainingJob) -> str:
    """Name of an attempt's run record."""
    return f"{job.id}-{job.attempt}"


async def supervise_training(ctx: Context, job: TrainingJob) -> None:
    """Run a claimed attempt to its end, or take up one of an earlier daemon."""
    try:
        run = await _take_up(ctx, job)
    except SpawnError as error:
        verdict = Verdict(Why.FAILED, ErrorCode.SPAWN_FAILED, str(error))
        await _conclude(ctx, job, verdict, RunEnd(exit_code=None, ended_at=ctx.clock.now()))
        return
    if run is None:
        end = RunEnd(None, ctx.clock.now(), note="there is no record of its process on this node")
        verdict = judge(_ending(job, end, job.internal.stopped_for), ErrorCode.KILLED, "", end.note)
        await _conclude(ctx, job, verdict, end)
        return
    recorder = Recorder(ctx, job.id, job.attempt)
    tracker = Tracker(ctx, job, recorder)
    recorder.progress({"process_id": run.pid})
    path = Path(job.log_file_path or ctx.settings.log_path(job.training_type, job.id))
    tracker.begin()
    await tracker.recall(path)
    reader = LogReader(ctx, job, path, job.internal.log_offset, tracker.handle, tell_away=tracker.log_away)
    watch = Watching(ctx, job, run, tracker, recorder)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(recorder.run(), name=f"recorder of {job.id}")
        end = await follow(run, reader, (watch.orders, watch.health, watch.checkpoints))
        await tracker.look_at_last(0.0 if reader.away else LONGEST_AWAY_S)  # the devices have waited long enough
        end = await wait_gone(ctx, job.id, run, end, job.devices)
        recorder.close()
        await writing
    latest = await read_job(ctx, job.id)
    if latest is not None and latest.attempt == job.attempt:
        failure = classify(tracker.evidence, end.exit_code)
        if failure.code is ErrorCode.UNKNOWN and end.disk_full:
            failure = Failure(ErrorCode.DISK_FULL, f"the disk of its log was full, so it could not say why: {path}")
        ending = _ending(latest, end, watch.stopped_for, reader.away)
        verdict = judge(ending, failure.code, failure.message, end.note)
        await _conclude(ctx, latest, verdict, end)
    await ctx.runs.forget(run.run_id)


async def _take_up(ctx: Context, job: TrainingJob) -> Run | None:
    """Adopt the attempt's run, or spawn it where it never was. None: it was there and left nothing."""
    run = await ctx.runs.adopt(run_id_of(job))
    if run is not None:
        log.info("run_adopted", "took up a run of an earlier daemon", job_id=job.id, pid=run.pid)
        return run
    if job.status is not TrainingStatus.STARTING:
        return None
    path = Path(job.log_file_path or ctx.settings.log_path(job.training_type, job.id))
    run = await spawn(ctx, spec_of(ctx, job, run_id_of(job), job.swift_argv, path, job.devices), WorkKind.TRAIN)
    log.info("run_spawned", "started ms-swift", job_id=job.id, pid=run.pid, devices=list(job.devices))
    return run


def _ending(job: TrainingJob, end: RunEnd, stopped_for: StoppedFor | None, unread: str = "") -> Ending:
    return Ending(
        exit_code=end.exit_code,
        step=job.current_step,
        total_steps=job.total_steps,
        stop_asked=job.status is TrainingStatus.STOPPING,
        stopped_for=stopped_for,
        rebooted=end.rebooted,
        unread=unread,
    )


async def _conclude(ctx: Context, job: TrainingJob, verdict: Verdict, end: RunEnd) -> None:
    """Write the end of an attempt: one write, whatever somebody asked meanwhile."""
    resume_from = await likely_resumable(ctx, job)
    left_mib = await memory_left_mib(ctx, job.devices)
    if not end.fenced:
        await note_end(ctx, job, verdict)
    changed = await persistently(
        ctx,
        "the end of the job",
        lambda: change_job(ctx, job.id, lambda now: _ended(ctx, now, job.attempt, verdict, end, resume_from, left_mib)),
        job_id=job.id,
    )
    ctx.signals.scheduling.give()
    ctx.signals.devices.give()
    if changed is not None:
        fields = {"why": verdict.why, "status": changed.status, "exit_code": end.exit_code}
        log.info("job_ended", verdict.error_message or verdict.why, job_id=job.id, **fields)


def _ended(
    ctx: Context,
    job: TrainingJob,
    attempt: int,
    verdict: Verdict,
    end: RunEnd,
    resume_from: str | None,
    left_mib: float | None,
) -> TrainingJob | None:
    if job.status not in HOLDS_DEVICES or job.attempt != attempt:
        return None
    now, by = ctx.clock.now(), ctx.node_id
    duration_s = (end.ended_at - job.started_at).total_seconds() if job.started_at else None
    done = job.model_copy(update={"exit_code": end.exit_code, "training_time": duration_s, "process_id": None})
    done = done.model_copy(update={"estimated_time_remaining": None})
    if end.fenced and job.status is not TrainingStatus.STOPPING:
        return lost(done, f"{LEASE_RAN_OUT}; {going_on(resume_from)}", resume_from, at=now, by=by)
    if job.status is TrainingStatus.STOPPING:
        reached = f" at step {job.current_step}" if job.current_step else ""
        reason = f"stopped{reached}; no process of it is left"
        return move(done, Cause.GONE, at=now, by=by, reason=reason, processes_left=0, memory_left_mib=left_mib)
    whole = job.internal.preemption is None or job.internal.checkpoint_step >= (job.total_steps or 0)
    if verdict.why is Why.REACHED_LAST_STEP and whole and job.status is TrainingStatus.RUNNING:
        finished = move(done, Cause.FINISH, at=now, by=by, reason="reached its last step", progress=100.0)
        return _with_auto_export(ctx, finished)
    if job.internal.preemption is not None and verdict.why is not Why.WATCHDOG:  # also in the midst of its last save
        reason = job.internal.preemption.reason + (f" at step {job.current_step}" if job.current_step else "")
        return preempted(done, at=now, by=by, reason=reason, resume_from=resume_from)
    code = verdict.error_code or ErrorCode.UNKNOWN
    message = verdict.error_message or "ended before it logged any training"
    retry = decide(code, used=job.internal.retries_used, allowed=job.max_retries, devices=job.devices)
    if retry is not None:
        return _retried(ctx, done, code, message, retry, resume_from)
    return move(done, Cause.FAIL, at=now, by=by, reason=message, error_code=code, error_message=message)


def _with_auto_export(ctx: Context, job: TrainingJob) -> TrainingJob:
    """Queue the merge of a LoRA run's last checkpoint."""
    if not job.auto_export or job.train_type not in MERGEABLE or job.checkpoint_path is None:
        return job
    order = ExportOrder(checkpoint=job.checkpoint_path, merge_lora=True, requested_at=ctx.clock.now())
    return export_ordered(job, order, at=ctx.clock.now(), by=ctx.node_id)


def _retried(
    ctx: Context, job: TrainingJob, code: ErrorCode, message: str, retry: RetryDecision, resume_from: str | None
) -> TrainingJob:
    now = ctx.clock.now()
    used = job.internal.retries_used + 1
    return queued(
        job,
        Cause.RETRY,
        at=now,
        by=ctx.node_id,
        reason=f"retry {used} of {job.max_retries} in {retry.wait_s:g} s after {code}: {message}",
        retries_used=used,
        not_before=now + timedelta(seconds=retry.wait_s),
        avoid_devices=retry.avoid,
        avoid_node=ctx.node_id if retry.avoid else None,
        resume_from=resume_from,
    )
