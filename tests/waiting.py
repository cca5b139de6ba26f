"""Wait for what no event tells, among real parts, where no clock can be turned."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

LIMIT_S = 40.0
"""Long, because machines are shared; whoever waits for something that comes does not wait so long."""
POLL_S = 0.01


async def until(
    holds: Callable[[], object] | Callable[[], Awaitable[object]], limit_s: float = LIMIT_S, poll_s: float = POLL_S
) -> None:
    """Until a call, or what it is awaited for, is true."""
    deadline = time.monotonic() + limit_s
    while True:
        found = holds()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < deadline, "what was waited for never came"
        await asyncio.sleep(poll_s)
