"""What every port and loop shares: the one error of an outage, time, and what is counted."""

import asyncio
from datetime import datetime
from typing import Protocol

from daemon.metrics import Metric


class UnavailableError(Exception):
    """The broker, the store or another outside part is away; try again later."""


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def now(self) -> datetime:
        """UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Wait for an event; False: `timeout_s` passed first."""
        ...


class Meters(Protocol):
    """What is counted and timed for who watches the daemon. Never waits, never fails."""

    def add(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """Count `amount` more, under these labels."""
        ...

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Note one value of a histogram, under these labels."""
        ...
