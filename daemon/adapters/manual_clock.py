"""A clock whose time moves only when it is told to: hours of a daemon's life in milliseconds, the same every time.

`advance` goes from sleeper to sleeper in the order of their times, and lets everything that can run do so in between;
so what would happen at second 5 has happened before second 10 comes. A loop that spins without waiting is found by
that: it never comes to rest, and `settle` says so.

Only what asks this clock is moved by it. `asyncio.sleep`, `asyncio.timeout`, threads and sockets live in real time.
"""

import asyncio
import heapq
from collections.abc import Callable, Sized
from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, tzinfo=UTC)
MOST_ROUNDS = 100_000
BLIND_ROUNDS = 200
"""Rounds on an event loop that can't be asked whether something is ready."""


class ManualClock:
    """`ports.Clock` by hand."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._passed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0

    def now(self) -> datetime:
        """UTC."""
        return self._start + timedelta(seconds=self._passed_s)

    def monotonic(self) -> float:
        """Seconds; the clock was not made at zero, because no host's is."""
        return 1000.0 + self._passed_s

    async def sleep(self, seconds: float) -> None:
        """Wait until the time was advanced so far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._timer(seconds)

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Wait for an event; False: the time was advanced so far first."""
        if event.is_set():
            return True
        if timeout_s <= 0:
            await asyncio.sleep(0)
            return event.is_set()
        timer = self._timer(timeout_s)
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({timer, waiter}, return_when=asyncio.FIRST_COMPLETED)
            return waiter.done()
        finally:
            timer.cancel()
            waiter.cancel()

    # ------------------------------------------------------------ the hand on it

    @property
    def sleepers(self) -> int:
        """How many wait for a time to come."""
        return sum(not future.done() for _, _, future in self._sleepers)

    @property
    def next_in_s(self) -> float | None:
        """Seconds until the next sleeper wakes; None: nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return max(0.0, self._sleepers[0][0] - self._passed_s) if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Let so much time pass; returns when everything that had to happen in it has happened."""
        end_s = self._passed_s + seconds
        await self.settle()
        while (next_in_s := self.next_in_s) is not None and self._passed_s + next_in_s <= end_s:
            self._wake_next()
            await self.settle()
        self._passed_s = max(self._passed_s, end_s)
        await self.settle()

    async def until(self, condition: Callable[[], object], limit_s: float = 3600.0) -> None:
        """Let time pass, sleeper by sleeper, until a condition holds. Raises `TimeoutError` after `limit_s`."""
        end_s = self._passed_s + limit_s
        await self.settle()
        while not condition():
            next_in_s = self.next_in_s
            if next_in_s is None or self._passed_s + next_in_s > end_s:
                why = "nobody sleeps" if next_in_s is None else f"not within {limit_s:g} s"
                raise TimeoutError(f"what was waited for did not come: {why}")
            self._wake_next()
            await self.settle()

    async def settle(self) -> None:
        """Let everything run that can run without the time moving. Raises `RuntimeError` where that has no end."""
        ready: Sized | None = getattr(asyncio.get_running_loop(), "_ready", None)
        for _ in range(MOST_ROUNDS if ready is not None else BLIND_ROUNDS):
            await asyncio.sleep(0)
            if ready is not None and not len(ready):
                return
        if ready is not None:
            raise RuntimeError(f"no rest after {MOST_ROUNDS} rounds of the event loop: something spins without waiting")

    def _timer(self, seconds: float) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._sleepers, (self._passed_s + seconds, self._number, future))
        return future

    def _wake_next(self) -> None:
        due_s, _, future = heapq.heappop(self._sleepers)
        self._passed_s = max(self._passed_s, due_s)
        if not future.done():
            future.set_result(None)
