"""Time in the simulation: moved by hand, also for `asyncio.timeout`, and set forward as an administrator might."""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from datetime import timedelta
from typing import Any, TypeVar

from daemon.adapters.manual_clock import ManualClock
from tests.simulation.lives import LIFE

T = TypeVar("T")


class SimClock(ManualClock):
    """The clock of all hosts."""

    @property
    def passed_s(self) -> float:
        """Seconds since the begin."""
        return self._passed_s

    @property
    def next_s(self) -> float | None:
        """When the next sleeper wakes; None: nobody sleeps."""
        in_s = self.next_in_s
        return None if in_s is None else self._passed_s + in_s

    def wake_next(self) -> None:
        """Move to the next sleeper."""
        self._wake_next()

    def move_to(self, passed_s: float) -> None:
        """Move, where nobody has to be woken before."""
        self._passed_s = max(self._passed_s, passed_s)

    def jump(self, seconds: float) -> None:
        """The wall clock is set forward; no more time has passed by that."""
        self._start += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait; a dead daemon never goes on."""
        _check()
        await super().sleep(seconds)
        _check()

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Wait; a dead daemon never goes on."""
        _check()
        came = await super().wait(event, timeout_s)
        _check()
        return came


def _check() -> None:
    life = LIFE.get()
    if life is not None:
        life.check()


class SimLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers go by the simulation's clock, so that a budget of 10 s is 10 s of that; and that notes
    each task with the life that it belongs to."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        super().__init__()

    def time(self) -> float:
        """Seconds of the simulation."""
        return self._clock.monotonic()

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Begin a task, as part of the life that its context names."""
        task = super().create_task(coro, name=name, context=context)
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is not None:
            tasks = life.tasks
            tasks[task] = None
            task.add_done_callback(lambda done: tasks.pop(done, None))
        return task
