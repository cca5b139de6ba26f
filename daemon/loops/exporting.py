"""Supervising one export: a run of its own, on a device of its own, beside the job's status."""

from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path

from daemon.core.moves import export_lost, export_moved
from daemon.core.work import WorkKind
from daemon.logs import get_log
from daemon.loops.context import Context, change_job, persistently
from daemon.loops.following import LEASE_RAN_OUT, follow, spawn, spec_of, wait_gone
from daemon.loops.hints import Hint
from daemon.loops.reading import LONGEST_AWAY_S, LogReader
from daemon.ports import Run, RunEnd, SpawnError, UnavailableError
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

    orders = partial(_orders, ctx, job, run)
    end = await follow(run, LogReader(ctx, job, path, 0, collect, live=False), (orders,))
    end = await wait_gone(ctx, job.id, run, end, devices)
    if end.fenced:
        await _requeue(ctx, job)
        await ctx.runs.forget(run_id)
        return
    path_made, problem = await _result(ctx, job, end, evidence)
    await _conclude(ctx, job, path_made, problem)
    await ctx.runs.forget(run_id)


async def _orders(ctx: Context, job: TrainingJob, run: Run) -> None:
    """End the export as soon as the document asks for it."""
    hint = ctx.signals.jobs.setdefault(job.id, Hint())
    ordered_s = inf
    while True:
        try:
            now = await ctx.store.get_job(job.id)
        except UnavailableError as error:
            log.debug("orders_wait", str(error), job_id=job.id)
            now = None
        order = now.internal.export_stop if now is not None else None
        if order is not None and order.grace_s < ordered_s:
            ordered_s = order.grace_s
            log.info("export_stopping", order.reason, job_id=job.id, grace_s=order.grace_s)
            await run.stop(grace_s=order.grace_s, save=False)
        await hint.wait(ctx.clock, ctx.settings.poll_seconds)


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
    """Write how it ended. One that was told to end, and did not make it, says so, or is queued again."""
    status = ExportStatus.FAILED if path is None else ExportStatus.COMPLETED

    def ended(now: TrainingJob) -> TrainingJob:
        at, by, stop = ctx.clock.now(), ctx.node_id, now.internal.export_stop
        if path is None and stop is not None and stop.again:
            return export_lost(now, at=at, by=by)
        said = stop.reason if path is None and stop is not None else problem
        changes: dict[str, object] = {"export_path": path, "export_error": said}
        return export_moved(now, status, at=at, by=by, changes=changes, export_devices=())

    await _write_end(ctx, job, ended)
    log.info("export_ended", problem or "exported", job_id=job.id, status=status, path=path)


async def _write_end(ctx: Context, job: TrainingJob, move: Callable[[TrainingJob], TrainingJob]) -> None:
    """Write the end of this export, unless it has one already."""

    def step(now: TrainingJob) -> TrainingJob | None:
        if now.export_status is not ExportStatus.RUNNING or now.internal.export_attempt != job.internal.export_attempt:
            return None
        return move(now)

    await persistently(ctx, "the end of the export", lambda: change_job(ctx, job.id, step), job_id=job.id)
    ctx.signals.scheduling.give()
