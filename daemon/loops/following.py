"""Following one run, training or export: spawn it or take it up again, read its log, carry out stops, tell its end.

A supervisor that is cancelled (the daemon stops) leaves the run alone: the runner holds it, and the next daemon adopts
it from its record.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from daemon.core.devices import cuda_names
from daemon.core.work import WorkKind
from daemon.logs import get_log
from daemon.loops.context import Context, persistently
from daemon.loops.reading import LogReader
from daemon.metrics import SPAWN
from daemon.ports import Run, RunEnd, RunSpec
from daemon.swift.environment import training_env
from schemas.jobs import TrainingJob

log = get_log("supervising")

KILL_AGAIN_S = 10.0
LEASE_RAN_OUT = "its node was cut off from the store for too long, and ended it"


class Deadline:
    """When an attempt has run too long, by the clock that never goes back."""

    def __init__(self, ctx: Context, timeout_s: float | None, already_s: float) -> None:
        self._clock = ctx.clock
        self._at = None if timeout_s is None else ctx.clock.monotonic() + timeout_s - already_s

    @property
    def passed(self) -> bool:
        return self._at is not None and self._clock.monotonic() >= self._at

    def wait_s(self, at_most: float) -> float:
        """Seconds to wait for it, or `at_most`."""
        return at_most if self._at is None else max(0.0, min(at_most, self._at - self._clock.monotonic()))


def spec_of(
    ctx: Context, job: TrainingJob, run_id: str, argv: tuple[str, ...], log_path: Path, devices: tuple[int, ...]
) -> RunSpec:
    """What to start for a claimed training or export."""
    env = training_env(
        ctx.environment,
        job_id=job.id,
        attempt=job.attempt,
        devices=devices,
        cuda_names=cuda_names(ctx.board.devices, devices) if ctx.devices.uses_cuda else (),
        master_port=job.internal.master_port if len(devices) > 1 else None,
        max_pixels=getattr(job, "max_pixels", None),
        request_env=job.env,
    )
    return RunSpec(run_id=run_id, argv=argv, env=env, cwd=ctx.settings.work_path, log_path=log_path)


async def spawn(ctx: Context, spec: RunSpec, kind: WorkKind) -> Run:
    """Start a run. Raises `SpawnError`."""
    began_s = ctx.clock.monotonic()
    run = await ctx.runs.spawn(spec)
    ctx.meters.observe(SPAWN, ctx.clock.monotonic() - began_s, kind=kind)
    return run


async def follow(run: Run, reader: LogReader, beside: tuple[Callable[[], Awaitable[None]], ...]) -> RunEnd:
    """Read the run's log until its end is known and everything is read.

    `beside` runs meanwhile (stop orders, deadlines, checkpoints) and is cancelled at the run's end.
    """
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(reader.run(), name=f"log of {run.run_id}")
        others = [group.create_task(_run(work), name=f"watch of {run.run_id}") for work in beside]
        end = await run.wait()
        for other in others:
            other.cancel()
        reader.run_ended()
        await reading
    return end


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def wait_gone(ctx: Context, job_id: str, run: Run, end: RunEnd, devices: tuple[int, ...]) -> RunEnd:
    """Insist until no process of the run is left. Meanwhile its devices are out of use, and say why."""
    while end.processes_left:
        reason = f"{end.processes_left} processes of job {job_id} can't be ended: {end.note}"
        ctx.board.quarantine.update(dict.fromkeys(devices, reason))
        log.error("processes_left", reason, job_id=job_id, devices=list(devices))
        await ctx.clock.sleep(KILL_AGAIN_S)
        await run.stop(grace_s=0, save=False)
        end = await run.wait()
    for index in devices:
        ctx.board.quarantine.pop(index, None)
    return end


async def end_run(ctx: Context, run: Run) -> None:
    """Have a run ended at once that has no supervisor; insists for as long as processes of it are left."""
    await run.stop(grace_s=0, save=False)
    await wait_gone(ctx, job_of(run.run_id), run, await run.wait(), ())


def job_of(run_id: str) -> str:
    """The job that a run record belongs to."""
    return run_id.partition("-export-")[0] if "-export-" in run_id else run_id.rpartition("-")[0]


async def read_job(ctx: Context, job_id: str) -> TrainingJob | None:
    """The document as it stands, however long the store is away."""
    return await persistently(ctx, "reading the job", lambda: ctx.store.get_job(job_id), job_id=job_id)
