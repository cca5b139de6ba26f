"""Supervising one export: a run of its own, on a device of its own, beside the job's status."""

from collections.abc import Callable
from pathlib import Path

from daemon.core.moves import export_lost, export_moved
from daemon.core.work import WorkKind
from daemon.logs import get_log
from daemon.loops.context import Context, change_job, persistently
from daemon.loops.following import LEASE_RAN_OUT, follow, spawn, spec_of, wait_gone
from daemon.loops.reading import LONGEST_AWAY_S, LogReader
from daemon.ports import RunEnd, SpawnError, UnavailableError
from daemon.swift.argv import export_output
from daemon.swift.failures import Evidence, classify
from daemon.swift.lines import Line
from schemas.enums import ExportStatus
from schemas.jobs import TrainingJob

log = get_log("supervising")


def export_run_id(job: TrainingJob) -> str:
    """Name of an export's run record."""
    return f"{job.id}-export-{job.internal.export_attempt}"


async def supervise_export(ctx: Context, job: TrainingJob) -> None:
    """Run a claimed export to its end, or take up one of an earlier daemon."""
    run_id = export_run_id(job)
    path = ctx.settings.export_log_path(job.id, job.internal.export_attempt)
    devices = job.internal.export_devices
    try:
        run = await ctx.runs.adopt(run_id)
        if run is None:
            await _clear(ctx, job)
            run = await spawn(ctx, spec_of(ctx, job, run_id, job.internal.export_argv, path, devices), WorkKind.EXPORT)
            log.info("export_spawned", "started the export", job_id=job.id, pid=run.pid, devices=list(devices))
    except SpawnError as error:
        await _conclude(ctx, job, None, str(error))
        return
    evidence = Evidence()

    async def collect(lines: list[Line]) -> None:
        for line in lines:
            evidence.feed(line.text)

    end = await follow(run, LogReader(ctx, job, path, 0, collect, live=False), ())
    end = await wait_gone(ctx, job.id, run, end, devices)
    if end.fenced:
        await _requeue(ctx, job)
        await ctx.runs.forget(run_id)
        return
    path_made, problem = await _result(ctx, job, end, evidence)
    await _conclude(ctx, job, path_made, problem)
    await ctx.runs.forget(run_id)


async def _clear(ctx: Context, job: TrainingJob) -> None:
    """Remove what an earlier export of this checkpoint made: ms-swift would take it for done, torn as it may be."""
    order = job.internal.export_order
    if order is not None:
        for quant_method in {None, order.quant_method}:
            output = export_output(order.checkpoint, True, quant_method, order.quant_bits)
            await ctx.files.remove_tree(Path(output))


async def _result(ctx: Context, job: TrainingJob, end: RunEnd, evidence: Evidence) -> tuple[str | None, str | None]:
    """The exported folder, or why there is none."""
    order = job.internal.export_order
    if order is None:
        return None, "its order is gone"
    if end.exit_code != 0:
        failure = classify(evidence, end.exit_code)
        return None, failure.message if end.exit_code is not None else f"lost without an exit status: {end.note}"
    output = export_output(order.checkpoint, order.merge_lora, order.quant_method, order.quant_bits)
    try:
        there = await persistently(
            ctx, "the look at the export", lambda: ctx.files.exists(Path(output)), limit_s=LONGEST_AWAY_S, job_id=job.id
        )
    except UnavailableError as error:
        return None, f"ms-swift ended with code 0, but what it made can't be looked at: {error}"
    if not there:
        return None, f"ms-swift ended with code 0, but {output} is not there"
    return output, None


async def _requeue(ctx: Context, job: TrainingJob) -> None:
    """Queue an export again that was ended because the node's lease had run out."""
    await _write_end(ctx, job, lambda now: export_lost(now, at=ctx.clock.now(), by=ctx.node_id))
    log.warning("export_requeued", LEASE_RAN_OUT, job_id=job.id)


async def _conclude(ctx: Context, job: TrainingJob, path: str | None, problem: str | None) -> None:
    status = ExportStatus.FAILED if path is None else ExportStatus.COMPLETED
    changes: dict[str, object] = {"export_path": path, "export_error": problem}
    await _write_end(
        ctx,
        job,
        lambda now: export_moved(now, status, at=ctx.clock.now(), by=ctx.node_id, changes=changes, export_devices=()),
    )
    log.info("export_ended", problem or "exported", job_id=job.id, status=status, path=path)


async def _write_end(ctx: Context, job: TrainingJob, move: Callable[[TrainingJob], TrainingJob]) -> None:
    """Write the end of this export, unless it has one already."""

    def step(now: TrainingJob) -> TrainingJob | None:
        if now.export_status is not ExportStatus.RUNNING or now.internal.export_attempt != job.internal.export_attempt:
            return None
        return move(now)

    await persistently(ctx, "the end of the export", lambda: change_job(ctx, job.id, step), job_id=job.id)
    ctx.signals.scheduling.give()
