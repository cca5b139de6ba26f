"""Draining: takes sick devices out, on what the devices' adapter notices and on how attempts end.

What is noticed stands on the board at once, so that nothing starts there; telemetry writes it into the node's document,
again and again while the store is away. From there it holds over restarts and for all daemons.
"""

from functools import partial
from math import inf

from daemon.core.drains import drained, new_drain
from daemon.core.moves import export_stopped, interrupted
from daemon.core.outcome import Verdict, Why
from daemon.core.sickness import FailedAttempt, proven, struck
from daemon.logs import get_log
from daemon.loops.context import Context, change_job, change_node, persistently
from daemon.ports import UnavailableError
from daemon.swift.failures import blames_devices
from schemas.enums import NodeState
from schemas.jobs import TrainingJob
from schemas.nodes import NodeRecord

log = get_log("draining")


async def draining(ctx: Context) -> None:
    """Drain what turns out to be sick, for as long as the daemon runs."""
    while True:
        for fault in await ctx.devices.faults():
            log.error("device_sick", fault.evidence, device=fault.device.index, uuid=fault.device.uuid)
            ctx.board.drains += (new_drain(fault.device, fault.evidence, ctx.clock.now()),)
        ctx.signals.devices.give()


async def store_drains(ctx: Context) -> None:
    """Write what was noticed into the node's document; left for the next time where that can't be reached."""
    drains = ctx.board.drains
    if not drains:
        return
    try:
        node = await change_node(
            ctx, ctx.node_id, lambda node: drained(node, drains, at=ctx.clock.now(), by=ctx.node_id)
        )
    except UnavailableError as error:
        log.warning("draining_waits", str(error))
        return
    if node is None:  # somebody removed it; the next heartbeat makes it again
        return
    ctx.board.drains = ctx.board.drains[len(drains) :]


async def give_way(ctx: Context, node: NodeRecord) -> float:
    """Interrupt what still runs here when the deadline of the node's drain has passed; seconds until then, else inf."""
    vacates_at = node.internal.vacates_at
    if vacates_at is None or node.state is not NodeState.DRAINED:
        return inf
    left_s = (vacates_at - ctx.clock.now()).total_seconds()
    if left_s > 0:
        return left_s
    for job in await ctx.store.jobs_on(ctx.node_id):
        await change_job(ctx, job.id, lambda now: _interrupted(ctx, now))
    return inf


def _interrupted(ctx: Context, job: TrainingJob) -> TrainingJob | None:
    reason = f"interrupted because node {ctx.node_id} is drained"
    grace_s = ctx.settings.preemption_grace_seconds
    at, by = ctx.clock.now(), ctx.node_id
    changed = interrupted(job, reason, grace_s=grace_s, at=at, by=by)
    if changed is None and job.internal.export_node_id == by:
        changed = export_stopped(job, reason, grace_s=grace_s, at=at, by=by, again=True)
    if changed is not None:
        log.info("run_interrupted", "its node is drained, and the deadline has passed", job_id=job.id)
    return changed


async def note_end(ctx: Context, job: TrainingJob, verdict: Verdict) -> None:
    """Learn of its devices from how an attempt ended, while they are still its own.

    One that completed clears them; the second in a row that failed in a way that devices cause drains them.
    """
    devices = tuple(device for device in ctx.board.current() if device.index in job.devices)
    code, message = verdict.error_code, verdict.error_message or ""
    if verdict.why is Why.REACHED_LAST_STEP:
        learn = partial(proven, devices=devices)
    elif code is not None and blames_devices(code, message):
        failed = FailedAttempt(job.id, job.attempt, code, message)
        learn = partial(struck, devices=devices, failed=failed, at=ctx.clock.now(), by=ctx.node_id)
    else:
        return
    await persistently(ctx, "what a job's end tells of its devices", lambda: change_node(ctx, ctx.node_id, learn))
