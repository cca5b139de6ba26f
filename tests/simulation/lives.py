"""One life of a daemon, from its start to its crash or stop, and how the simulation knows what belongs to it.

Every task of a life carries it in a context variable, so the ports, which outlive daemons, know who calls. A crash
marks the life as dead and cancels all its tasks: whatever their `finally` blocks still try, no port does anything for a
dead life, and no clock wakes it. So nothing cleans up behind a crash, as with `kill -9`.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Doom:
    """When a daemon crashes by itself: at so many boundaries of port calls, of all or of those with this name."""

    boundaries: int
    call: str | None = None

    def strikes(self, call: str) -> bool:
        """Whether this boundary is the one."""
        if self.call in (None, call):
            self.boundaries -= 1
            return self.boundaries == 0
        return False


class Life:
    """A daemon from start to end."""

    def __init__(self, name: str, doom: Doom | None) -> None:
        self.name = name
        self.doom = doom
        self.dead = False
        self.stopping = asyncio.Event()
        self.ready = asyncio.Event()
        self.tasks: dict[asyncio.Task[Any], None] = {}
        """Those that have not ended, oldest first."""

    @property
    def node_id(self) -> str:
        """The host on which it lives."""
        return self.name.partition("#")[0]

    def check(self) -> None:
        """Nothing goes on in a dead daemon."""
        if self.dead:
            raise asyncio.CancelledError

    def kill(self) -> None:
        """End it where it stands."""
        self.dead = True
        for task in list(self.tasks):
            task.cancel()

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something as this daemon."""
        context = copy_context()
        context.run(LIFE.set, self)
        return asyncio.get_running_loop().create_task(work, name=self.name, context=context)


LIFE: ContextVar[Life | None] = ContextVar("LIFE", default=None)
"""Whose task this is; None: the simulation's own."""
