"""What the in-memory twins share: a word to the test around every call, so that it can make faults.

`before_call` and `after_call` are told the name of each method around its work and may wait or raise: an
`UnavailableError` from the first is an outage, one from the second is an answer that was lost after the work.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

Hook = Callable[[str], Awaitable[None]]


async def no_hook(name: str) -> None:
    """Nothing happens around this call."""


class Hooked:
    """A twin whose calls can be made to wait or to fail; the hooks may be changed at any time."""

    def __init__(self, before_call: Hook = no_hook, after_call: Hook = no_hook) -> None:
        self.before_call = before_call
        self.after_call = after_call

    @asynccontextmanager
    async def calling(self, name: str) -> AsyncGenerator[None]:
        """Around the work of one call."""
        await self.before_call(name)
        yield
        await self.after_call(name)
