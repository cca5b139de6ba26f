"""The lease of this node: what it runs is its own for as long as its heartbeat comes through.

A node that lost its lease ends what it runs before it does anything else, so that no job ever runs twice at once.
"""

import asyncio

from daemon.loops.context import Context
from daemon.loops.following import end_run

WAIT_S = 1.0


async def lease_held(ctx: Context) -> None:
    """Wait until this node may start something."""
    while not ctx.lease.holds(ctx.clock.monotonic()):
        await ctx.clock.sleep(WAIT_S)


async def end_all_runs(ctx: Context) -> None:
    """End every run of this host, and return when no process of any is left."""
    async with asyncio.TaskGroup() as group:
        for run_id in await ctx.runs.known():
            run = await ctx.runs.adopt(run_id)
            if run is not None:
                group.create_task(end_run(ctx, run), name=f"ending {run_id}")
