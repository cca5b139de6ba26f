"""What all parts of a simulation share: the dice, the clock, the agenda, the weather, the trace, and what broke.

All chance comes from the seed, through dice of their own for each part: so what a training does hangs on its name
alone, and not on how many port calls were made before.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.simulation.clock import SimClock


@dataclass(frozen=True, slots=True)
class Weather:
    """How often port calls and hints go wrong, as shares of one."""

    slow: float = 0.0
    """Port calls that take time, before or after their work."""
    refused: float = 0.0
    """Calls of store and bus that fail before their work."""
    lost_answers: float = 0.0
    """Calls of store and bus that do their work, and whose answer never comes."""
    lost_hints: float = 0.0
    unreadable: float = 0.0
    """Looks at the file system that can't tell what is there."""
    failed_spawns: float = 0.0


CALM = Weather()


class Stage:
    """One seed's world of chance and time."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.clock = SimClock()
        self.weather = CALM
        self.store_away = False
        self.cut_off: set[str] = set()
        """Nodes that reach neither store nor broker."""
        self.trace: list[str] = []
        self.broken: list[str] = []
        """Invariants that did not hold, in words."""
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def dice(self, name: str) -> Random:
        """Chance of one's own, the same for the same name."""
        return Random(f"{self.seed}/{name}")

    def note(self, text: str) -> None:
        """Write a line into the trace."""
        self.trace.append(f"{self.clock.passed_s:9.3f}  {text}")

    def breaks(self, text: str) -> None:
        """Something is not as it must be."""
        self.note(f"BROKEN: {text}")
        self.broken.append(text)

    # ------------------------------------------------------------ the agenda

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something when so much time has passed."""
        self._number += 1
        heapq.heappush(self._agenda, (self.clock.passed_s + seconds, self._number, act))

    def play(self, script: Iterator[float]) -> None:
        """Go through a script: it yields the seconds to wait before it goes on."""
        seconds = next(script, None)
        if seconds is not None:
            self.after(seconds, lambda: self.play(script))

    @property
    def due_s(self) -> float | None:
        """When the next thing on the agenda is due."""
        return self._agenda[0][0] if self._agenda else None

    def act(self) -> None:
        """Do the next thing on the agenda."""
        due_s, _, act = heapq.heappop(self._agenda)
        self.clock.move_to(due_s)
        act()
