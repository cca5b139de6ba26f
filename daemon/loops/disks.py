"""Room in the daemon's own folders, for who looks at the node.

A file system may hang for as long as it likes (a server of shared storage is away): what is told then is what was last
known of it, and nothing waits for it longer than a moment. There is one look at a folder at a time.
"""

import asyncio
from pathlib import Path

from daemon.logs import get_log
from daemon.loops.context import Context
from schemas.replies import Disk

log = get_log("disks")

LOOK_S = 2.0


async def look_at_disks(ctx: Context) -> tuple[Disk, ...]:
    """The folders' room, as it is or as it was last known."""
    folders = tuple(dict.fromkeys((ctx.settings.state_path, ctx.settings.work_path)))
    await asyncio.gather(*(_look(ctx, folder) for folder in folders))
    rooms = ((folder, ctx.board.rooms.get(folder)) for folder in folders)
    return tuple(Disk(path=str(folder), free_mib=free) for folder, free in rooms if free is not None)


async def _look(ctx: Context, folder: Path) -> None:
    """Look anew, unless the last look has not come back yet."""
    if folder in ctx.board.looks:
        return
    done = asyncio.Event()
    ctx.board.looks[folder] = asyncio.create_task(_measure(ctx, folder, done), name=f"room below {folder}")
    if not await ctx.clock.wait(done, LOOK_S):
        log.warning("disk_hangs", f"{folder} does not answer within {LOOK_S:g} s; its last known room is told")


async def _measure(ctx: Context, folder: Path, done: asyncio.Event) -> None:
    try:
        ctx.board.rooms[folder] = await ctx.files.free_mib(folder)
    finally:
        del ctx.board.looks[folder]
        done.set()
