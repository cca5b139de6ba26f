"""The heartbeat: keeps this node's document fresh, and with it the node's lease of all that it runs.

Where another node may take over the jobs of a silent one (`node_lost_seconds`), a heartbeat also renews the host's
lease, which the runners look at: a node that is cut off has ended all its runs, by its own clock and without its
daemon, when three quarters of the time have passed; the last quarter is the margin for killing and for clocks that run
unevenly. A heartbeat that meets another epoch comes too late: the node was declared lost. Then it makes sure that
nothing of its runs is left before it takes up the new epoch. Nobody is promised a time by which the host's lease was
not written before.
"""

from datetime import datetime
from math import inf

from daemon import __version__
from daemon.core.nodes import node_back, node_moved
from daemon.logs import get_log
from daemon.loops.clocks import store_skew_s
from daemon.loops.context import Context, change_node, persistently
from daemon.loops.disks import look_at_disks
from daemon.loops.lease import end_all_runs
from daemon.ports import UnavailableError
from schemas.enums import NodeState
from schemas.nodes import NodeInternal, NodeRecord

log = get_log("heartbeat")

HEARTBEATS_PER_LEASE = 3
FENCED_AFTER = 0.75
"""Share of `node_lost_seconds` after which a silent node ends its runs itself."""


async def heartbeat(ctx: Context, started_at: datetime) -> None:
    """Renew for as long as the daemon runs, three times a lease."""
    while True:
        await ctx.clock.sleep(ctx.settings.lease_seconds / HEARTBEATS_PER_LEASE)
        try:
            await beat(ctx, started_at)
        except UnavailableError as error:
            log.warning("heartbeat_waits", str(error))


async def beat(ctx: Context, started_at: datetime) -> None:
    """Write the node's present state once. The version of ms-swift is in it as soon as it is known."""
    await _beat(ctx, started_at, _promise(ctx))


async def _beat(ctx: Context, started_at: datetime, promise_s: float | None) -> None:
    began_s = ctx.clock.monotonic()
    while not await ctx.store.put_node(await _record(ctx, started_at, promise_s)):
        await _come_back(ctx)
        began_s = ctx.clock.monotonic()
    await _renew(ctx, began_s)


def _promise(ctx: Context) -> float | None:
    """After how long a silence others may take this node's jobs over, by the settings; None: never."""
    return ctx.settings.node_lost_seconds or None


async def _record(ctx: Context, started_at: datetime, promise_s: float | None) -> NodeRecord:
    skew_s = await store_skew_s(ctx)
    versions = {"swift-trainer": __version__}
    if ctx.toolchain.known is not None:
        versions["ms-swift"] = ctx.toolchain.known.version
    return NodeRecord(
        node_id=ctx.node_id,
        state=NodeState.ONLINE,
        last_heartbeat=ctx.clock.now(),
        started_at=started_at,
        lost_after_seconds=promise_s,
        store_skew_seconds=skew_s,
        versions=versions,
        devices=ctx.board.current(),
        disks=await look_at_disks(ctx),
        internal=NodeInternal(epoch=ctx.lease.epoch),
    )


async def _renew(ctx: Context, began_s: float) -> None:
    """The lease counts from before the heartbeat was sent: whoever sees it, sees it later."""
    lost_s = ctx.settings.node_lost_seconds
    until_s = began_s + lost_s * FENCED_AFTER if lost_s else None
    await ctx.runs.lease(None if until_s is None else until_s - ctx.clock.monotonic())
    ctx.lease.until_s = until_s


async def _come_back(ctx: Context) -> None:
    """This node was declared lost: what is left of its runs is ended before it takes up the new epoch."""
    ctx.lease.until_s = ctx.clock.monotonic()
    log.error("node_lost", "declared lost by another node: ending what is left of its runs, then it begins anew")
    await end_all_runs(ctx)

    def back(node: NodeRecord) -> NodeRecord:
        lost = node.internal.lost
        return node_back(node, "back after it was lost", at=ctx.clock.now(), by=ctx.node_id) if lost else node

    node = await change_node(ctx, ctx.node_id, back)
    ctx.lease.epoch = node.internal.epoch if node is not None else 0


async def come_online(ctx: Context, started_at: datetime) -> None:
    """Make the node known; one that an operator drained stays drained over a restart."""
    await persistently(ctx, "making the node known", lambda: _first_beat(ctx, started_at))
    await persistently(ctx, "telling that the node is online", lambda: _move(ctx, NodeState.ONLINE, "daemon started"))


async def _first_beat(ctx: Context, started_at: datetime) -> None:
    """Take up the node's lease where the last daemon left it, or, where that was lost, a new one.

    A promise that is new, or shorter than before, is told by a second beat, when the runners that an earlier daemon
    left have a lease that keeps it.
    """
    node = await ctx.store.get_node(ctx.node_id)
    if node is not None and not node.internal.lost:
        ctx.lease.epoch = node.internal.epoch
    before_s = node.lost_after_seconds if node is not None else None
    if (_promise(ctx) or inf) < (before_s or inf):
        await _beat(ctx, started_at, before_s)
    await beat(ctx, started_at)


async def go_offline(ctx: Context) -> None:
    """Tell that the daemon ends."""
    await _move(ctx, NodeState.OFFLINE, "daemon stopped")


async def _move(ctx: Context, state: NodeState, reason: str) -> None:
    def step(node: NodeRecord) -> NodeRecord:
        if node.internal.lost or node.state is NodeState.DRAINED:
            return node
        return node_moved(node, state, reason, at=ctx.clock.now(), by=ctx.node_id)

    await change_node(ctx, ctx.node_id, step)
