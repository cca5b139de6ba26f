"""This node's clock against the store's."""

from daemon.core.clocks import behind_s
from daemon.loops.context import Context


async def store_skew_s(ctx: Context) -> float | None:
    """How far the store's clock is behind ours; None where it took too long to answer."""
    asked = ctx.clock.now()
    there = await ctx.store.now()
    return behind_s(asked, there, ctx.clock.now())
