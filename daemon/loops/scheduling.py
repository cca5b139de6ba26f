"""The scheduling loop: asks the pure `plan()` what starts, and applies it under each document's revision.

It wakes on a hint (a job was queued, devices became free) and slowly without one. Every daemon makes the same plan from
the same documents and applies only the starts of its own node; a start that somebody else applied first is dropped.
"""

from collections.abc import Callable
from pathlib import Path

from daemon.core.devices import not_together
from daemon.core.lifecycle import HOLDS_DEVICES
from daemon.core.moves import claimed, export_moved, failed_before_start, interrupted, with_internal
from daemon.core.watchdog import short_of_disk
from daemon.core.work import Interruption, Plan, Start, WorkKind
from daemon.logs import get_log
from daemon.loops.context import Context, Postponed, Step, change_job, persistently
from daemon.loops.fleet import MOST_WAITING, plan_now
from daemon.loops.resuming import Saved, find_saved
from daemon.metrics import SCHEDULE
from daemon.ports import ToolchainError, UnavailableError
from daemon.swift.argv import datasets_of, export_argv, export_output, sft_argv
from daemon.swift.installed import Installed
from daemon.swift.options import check_extra_args
from schemas.enums import ErrorCode, ExportStatus, TrainingStatus
from schemas.jobs import TrainingJob

log = get_log("scheduling")

LOOK_AGAIN_S = 30.0
QUICK_ROUND_S = 0.05
PAUSE_SHARE = 2.0
LONGEST_PAUSE_S = 1.0

Begin = Callable[[str, WorkKind], None]


async def scheduling(ctx: Context, begin: Begin) -> None:
    """Start work for as long as the daemon runs.

    Every change at any node is a hint, so rounds over a long queue are kept apart: they take a part of the time alone.
    """
    while True:
        began_s = ctx.clock.monotonic()
        try:
            await schedule_once(ctx, begin)
            ctx.meters.observe(SCHEDULE, ctx.clock.monotonic() - began_s)
        except UnavailableError as error:
            log.warning("scheduling_waits", str(error))
        took_s = ctx.clock.monotonic() - began_s
        if took_s > QUICK_ROUND_S:
            await ctx.clock.sleep(min(LONGEST_PAUSE_S, PAUSE_SHARE * took_s))
        await ctx.signals.scheduling.wait(ctx.clock, ctx.settings.poll_seconds)


async def schedule_once(ctx: Context, begin: Begin) -> Plan:
    """One round: plan, start what starts here, note why the rest waits."""
    decided = await plan_now(ctx)
    for start in decided.starts if ctx.lease.holds(ctx.clock.monotonic()) else ():
        if start.node_id == ctx.node_id and await _apply(ctx, start):
            begin(start.work.job_id, start.work.kind)
    for each in decided.interruptions:
        if each.node_id == ctx.node_id:
            await change_job(ctx, each.job_id, lambda job, each=each: _interrupted(ctx, job, each))
    for work, reason in decided.hopeless[:MOST_WAITING]:
        await change_job(ctx, work.job_id, lambda job, why=reason: _never(ctx, job, why))
    reasons = {
        work.job_id: reason
        for work, reason in decided.waits[:MOST_WAITING]
        if work.kind is WorkKind.TRAIN and reason != work.wait_reason
    }
    if reasons:
        await ctx.store.note_wait_reasons(reasons)
    return decided


async def _apply(ctx: Context, start: Start) -> bool:
    """Claim the work for its devices. False: it is no longer there to claim, or can never start."""
    job_id = start.work.job_id
    job = await ctx.store.get_job(job_id)
    if job is None:
        return False
    try:
        installed = await ctx.toolchain.installed()
    except ToolchainError as missing:
        problem = str(missing)
        await change_job(ctx, job_id, lambda now: _unstartable(ctx, now, start.work.kind, problem))
        return False
    if start.work.kind is WorkKind.EXPORT:
        changed = await _claim(ctx, job_id, lambda now: _claim_export(ctx, now, start, installed))
        if changed is None or changed.export_status is not ExportStatus.RUNNING:
            return False
        return changed.internal.export_node_id == ctx.node_id
    faults = check_extra_args(
        job,
        installed,
        allow_external_plugins=ctx.settings.allow_external_plugins,
        confined=bool(ctx.settings.root_paths),
    )
    if faults:
        text = "; ".join(f"extra_args.{name}: {message}" for name, message in faults)
        await change_job(ctx, job_id, lambda now: _refused(ctx, now, text))
        return False
    log_path = ctx.settings.log_path(job.training_type, job_id)
    try:
        log_size = await ctx.files.size(log_path)
        metrics_size = await ctx.files.size(Path(job.run_dir or job.output_dir) / "logging.jsonl")
        # looked for again, here: what it was queued with may be gone by now, or lie on another node's disk
        saved = await find_saved(ctx, job) if job.attempt else Saved()
    except UnavailableError as away:  # begun anew, it would write over what it has saved
        await _postpone(ctx, job, str(away))
        return False
    if await _disk_is_short(ctx, job, saved.newest_mib) or await _are_not_together(ctx, job, start.devices):
        return False
    resume_from = saved.resume_from
    port = await ctx.runs.free_port() if len(start.devices) > 1 else None

    def claim(now: TrainingJob) -> TrainingJob | None:
        if now.status is not TrainingStatus.QUEUED:
            return None
        argv = (
            *ctx.toolchain.command,
            *sft_argv(
                now,
                installed,
                run_dir=now.run_dir or now.output_dir,
                resume_from=resume_from,
                use_cpu=not ctx.devices.uses_cuda,
            ),
        )
        return claimed(
            with_internal(now, master_port=port, resume_from=resume_from),
            at=ctx.clock.now(),
            by=ctx.node_id,
            devices=start.devices,
            log_file_path=str(log_path),
            argv=argv,
            log_size=log_size,
            metrics_size=metrics_size,
        )

    changed = await _claim(ctx, job_id, claim)
    # not only STARTING: where the answer to the claim was lost, a stop may have come before it was asked for again
    won = changed is not None and changed.status in HOLDS_DEVICES and changed.node_id == ctx.node_id
    if won:
        ctx.signals.devices.give()
        log.info("job_claimed", "devices leased", job_id=job_id, devices=list(start.devices))
    return won


async def _disk_is_short(ctx: Context, job: TrainingJob, checkpoint_mib: float) -> bool:
    """Whether a job must wait for disk space; said as its reason, and looked at again after a while."""
    folder = Path(job.run_dir or job.output_dir)
    free = await ctx.files.free_mib(folder)
    short = None if free is None else short_of_disk(free, checkpoint_mib, ctx.settings.limits)
    if short is None:
        return False
    await _postpone(ctx, job, f"{short} ({folder})")
    return True


async def _are_not_together(ctx: Context, job: TrainingJob, devices: tuple[int, ...]) -> bool:
    """Whether a job must wait for other devices: one process can't use two MIG instances."""
    reason = not_together(ctx.board.devices, devices)
    if reason is None:
        return False
    await _postpone(ctx, job, reason)
    return True


async def _postpone(ctx: Context, job: TrainingJob, reason: str) -> None:
    log.warning("job_postponed", reason, job_id=job.id)
    ctx.postponed[job.id] = Postponed(reason, ctx.clock.monotonic() + LOOK_AGAIN_S)
    await ctx.store.note_wait_reasons({job.id: reason})


async def _claim(ctx: Context, job_id: str, step: Step) -> TrainingJob | None:
    """Write a claim, however long the store is away: one whose answer was lost is made, and has to be carried on."""
    return await persistently(ctx, "a claim", lambda: change_job(ctx, job_id, step), job_id=job_id)


def _claim_export(ctx: Context, job: TrainingJob, start: Start, installed: Installed) -> TrainingJob | None:
    order = job.internal.export_order
    if job.export_status is not ExportStatus.QUEUED or order is None:
        return None
    argv = export_argv(
        checkpoint=order.checkpoint,
        full=job.train_type == "full",
        merge_lora=order.merge_lora,
        quant_method=order.quant_method,
        quant_bits=order.quant_bits,
        output_dir=export_output(order.checkpoint, order.merge_lora, order.quant_method, order.quant_bits),
        installed=installed,
        datasets=datasets_of(job),
    )
    return export_moved(
        job,
        ExportStatus.RUNNING,
        at=ctx.clock.now(),
        by=ctx.node_id,
        changes={},
        export_node_id=ctx.node_id,
        export_devices=start.devices,
        export_attempt=job.internal.export_attempt + 1,
        export_started_at=ctx.clock.now(),
        export_argv=(*ctx.toolchain.command, *argv),
    )


def _unstartable(ctx: Context, job: TrainingJob, kind: WorkKind, message: str) -> TrainingJob | None:
    """ms-swift itself is not there: say so on the job instead of leaving it in the queue for ever."""
    now, by = ctx.clock.now(), ctx.node_id
    if kind is WorkKind.EXPORT:
        if job.export_status is not ExportStatus.QUEUED:
            return None
        return export_moved(job, ExportStatus.FAILED, at=now, by=by, changes={"export_error": message})
    if job.status is not TrainingStatus.QUEUED:
        return None
    return failed_before_start(job, at=now, by=by, code=ErrorCode.SPAWN_FAILED, message=message)


def _interrupted(ctx: Context, job: TrainingJob, interruption: Interruption) -> TrainingJob | None:
    """Have a training give way to work of a higher priority."""
    work = interruption.work
    if job.priority >= work.priority:
        return None
    reason = f"interrupted for job {work.job_id} of priority {work.priority}"
    grace_s = ctx.settings.preemption_grace_seconds
    changed = interrupted(job, reason, grace_s=grace_s, at=ctx.clock.now(), by=ctx.node_id)
    if changed is not None:
        log.info("run_preempted", "interrupted for a higher priority", job_id=job.id, by=work.job_id)
    return changed


def _never(ctx: Context, job: TrainingJob, message: str) -> TrainingJob | None:
    """A job that it comes after has not completed, so it never starts."""
    if job.status is not TrainingStatus.QUEUED:
        return None
    code = ErrorCode.DEPENDENCY_FAILED
    return failed_before_start(job, at=ctx.clock.now(), by=ctx.node_id, code=code, message=message)


def _refused(ctx: Context, job: TrainingJob, message: str) -> TrainingJob | None:
    if job.status is not TrainingStatus.QUEUED:
        return None
    return failed_before_start(job, at=ctx.clock.now(), by=ctx.node_id, code=ErrorCode.BAD_ARGUMENT, message=message)
