"""The neighbours: looks after the other nodes, and takes over the jobs of one that is lost.

A node is silent for as long as its newest heartbeat stays the same, by this node's own clock that never goes back; so
clocks may differ between hosts, and after an outage of the store every node has the whole time once more. Whoever
finds a node silent for longer than that node itself has promised to let its runs live (`lost_after_seconds`) takes its
lease away, in one write that a heartbeat in the same moment makes fail. From then on its jobs are requeued, by any
daemon, however often one dies on the way; the node can't renew the old lease, and ends what it runs before it takes up
a new one.
"""

from daemon.core.lifecycle import HOLDS_DEVICES
from daemon.core.moves import export_lost, going_on, lost
from daemon.core.nodes import node_lost
from daemon.logs import get_log
from daemon.loops.context import Context, change_job
from daemon.loops.resuming import likely_resumable
from daemon.ports import Subject, UnavailableError
from schemas.enums import ExportStatus
from schemas.jobs import TrainingJob
from schemas.nodes import NodeRecord

log = get_log("neighbours")

LOOKS_PER_LEASE = 3


async def neighbours(ctx: Context) -> None:
    """Look after the others for as long as the daemon runs."""
    while True:
        try:
            await look_around(ctx)
        except UnavailableError as error:
            ctx.sightings.forget()
            log.debug("neighbours_wait", str(error))
        await ctx.clock.sleep(ctx.settings.lease_seconds / LOOKS_PER_LEASE)


async def look_around(ctx: Context) -> None:
    """One look at all other nodes."""
    nodes = [node for node in await ctx.store.nodes() if node.node_id != ctx.node_id]
    now_s = ctx.clock.monotonic()
    ctx.sightings.see(nodes, ctx.clock.now(), now_s)
    for node in nodes:
        promised_s = node.lost_after_seconds
        silent_s = ctx.sightings.watched_s(node, now_s)
        if node.internal.lost or (promised_s and silent_s >= promised_s and await _declare_lost(ctx, node, silent_s)):
            await _take_over(ctx, node)


async def _declare_lost(ctx: Context, node: NodeRecord, silent_s: float) -> bool:
    """Take a silent node's lease away, where it holds anything. False: it holds nothing, or is there after all."""
    if not ctx.lease.holds(ctx.clock.monotonic()) or not await ctx.store.jobs_on(node.node_id):
        return False
    reason = f"lost: silent for {silent_s:.0f} s; its jobs go to other nodes"
    if not await ctx.store.update_node(node, node_lost(node, reason, at=ctx.clock.now(), by=ctx.node_id)):
        return False
    ctx.signals.outbox.give((Subject.NODE, node.node_id))
    log.error("neighbour_lost", reason, node=node.node_id, epoch=node.internal.epoch + 1)
    return True


async def _take_over(ctx: Context, node: NodeRecord) -> None:
    """Requeue all that a lost node held."""
    for job in await ctx.store.jobs_on(node.node_id):
        resume_from = await likely_resumable(ctx, job)
        changed = await change_job(ctx, job.id, lambda now, job=job, at=resume_from: _taken(ctx, node, job, now, at))
        if changed is not None and changed.internal.revision != job.internal.revision:
            log.warning("job_taken_over", f"its node {node.node_id} is lost", job_id=job.id, status=changed.status)
    ctx.signals.scheduling.give()


def _taken(
    ctx: Context, node: NodeRecord, seen: TrainingJob, job: TrainingJob, resume_from: str | None
) -> TrainingJob | None:
    """The job without the lost node. One that was claimed anew since it was seen there is left alone."""
    now, by = ctx.clock.now(), ctx.node_id
    trains = job.status in HOLDS_DEVICES and job.node_id == node.node_id and job.attempt == seen.attempt
    exports = job.export_status is ExportStatus.RUNNING and job.internal.export_node_id == node.node_id
    if trains:
        return lost(job, f"node {node.node_id} is lost; {going_on(resume_from)}", resume_from, at=now, by=by)
    if exports and job.internal.export_attempt == seen.internal.export_attempt:
        return export_lost(job, at=now, by=by)
    return None
