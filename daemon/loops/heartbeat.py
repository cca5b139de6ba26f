"""The heartbeat: keeps this node's document fresh, and says when the node comes and goes."""

from datetime import datetime

from daemon import __version__
from daemon.core.nodes import node_moved
from daemon.logs import get_log
from daemon.loops.context import Context, persistently
from daemon.ports import Subject, UnavailableError
from schemas.enums import NodeState
from schemas.nodes import NodeRecord

log = get_log("heartbeat")

HEARTBEATS_PER_LEASE = 3


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
    versions = {"swift-trainer": __version__}
    if ctx.toolchain.known is not None:
        versions["ms-swift"] = ctx.toolchain.known.version
    node = NodeRecord(
        node_id=ctx.node_id,
        state=NodeState.ONLINE,
        last_heartbeat=ctx.clock.now(),
        started_at=started_at,
        versions=versions,
        devices=ctx.board.current(),
    )
    await ctx.store.put_node(node)


async def come_online(ctx: Context, started_at: datetime) -> None:
    """Make the node known; one that an operator drained stays drained over a restart."""
    await persistently(ctx, "making the node known", lambda: beat(ctx, started_at))
    await persistently(ctx, "telling that the node is online", lambda: _move(ctx, NodeState.ONLINE, "daemon started"))


async def go_offline(ctx: Context) -> None:
    """Tell that the daemon ends."""
    await _move(ctx, NodeState.OFFLINE, "daemon stopped")


async def _move(ctx: Context, state: NodeState, reason: str) -> None:
    while True:
        node = await ctx.store.get_node(ctx.node_id)
        if node is None or node.state is NodeState.DRAINED:
            return
        moved = node_moved(node, state, reason, at=ctx.clock.now(), by=ctx.node_id)
        if await ctx.store.update_node(node, moved):
            ctx.signals.outbox.give((Subject.NODE, ctx.node_id))
            return
