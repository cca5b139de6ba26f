"""Wake-ups inside the process. A hint says "look", never what is there: the document is the truth, and a slow poll
stands behind every wait, so a lost hint costs seconds and nothing else.
"""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

from daemon.ports import Clock

K = TypeVar("K", bound=Hashable)


class Hint:
    """Wakes one waiting loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def give(self) -> None:
        """Wake it, now or at its next wait."""
        self._event.set()

    async def wait(self, clock: Clock, timeout_s: float) -> bool:
        """Wait for a hint, at most so long; whether one came."""
        came = await clock.wait(self._event, timeout_s)
        self._event.clear()
        return came


class Hints(Generic[K]):
    """Wakes one waiting loop and says which keys to look at; a key is there once however often it was given."""

    def __init__(self) -> None:
        self._keys: dict[K, None] = {}
        self._hint = Hint()

    def give(self, key: K) -> None:
        """Have this key looked at."""
        self._keys[key] = None
        self._hint.give()

    async def take(self, clock: Clock, timeout_s: float) -> list[K]:
        """The keys given since the last call, oldest first; empty after `timeout_s`."""
        await self._hint.wait(clock, timeout_s)
        keys, self._keys = list(self._keys), {}
        return keys
