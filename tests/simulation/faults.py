"""The faults of the ports: calls that are slow, fail, or lose their answer; a crash at the boundary of any call; hints
that never come.

Everything that a daemon does to the world, it does by port calls. So a crash just before or just after the work of any
of them leaves every state behind that a crash at any instruction can leave.
"""

import asyncio
from collections.abc import Callable
from random import Random

from daemon.loops.context import Signals
from daemon.loops.hints import Hint, Hints
from daemon.ports import SpawnError, Subject, UnavailableError
from tests.simulation.lives import LIFE, Life
from tests.simulation.stage import Stage

DELAYS_S = (0.0, 0.001, 0.01, 0.05, 0.3, 1.5)
REMOTE = frozenset({"store", "bus"})
"""Ports with a network between."""
ANSWERED = frozenset(
    {
        "insert_job", "update_job", "note_progress", "delete_job", "outbox_done", "add_points", "remember_reply",
        "put_node", "update_node", "publish", "reply", "dead_letter", "note_deletion",
    }
)  # fmt: skip
"""Calls that change something behind a network, so that a lost answer is another fault than a call that failed."""
LOOKS = frozenset({"read", "size", "exists", "checkpoints"})
"""Calls of the file system that may not be able to tell."""
WORTH_A_CRASH = (
    "insert_job", "update_job", "update_job", "update_job", "delete_job", "note_progress", "add_points", "outbox_done",
    "outbox_done", "publish", "publish", "reply", "ack", "remember_reply", "dead_letter", "spawn", "spawn", "adopt",
    "forget", "stop", "wait", "checkpoints", "remove_tree", "note_deletion",
)  # fmt: skip
"""Calls at which a crash finds things half done; the others are mostly looks at them."""


class PortFaults:
    """The hooks of one port's twin. Calls of the simulation itself pass untouched."""

    def __init__(self, stage: Stage, port: str, crash: Callable[[Life, str], None]) -> None:
        self._stage = stage
        self._port = port
        self._crash = crash
        self._dice = stage.dice(f"faults of {port}")
        self._disk = stage.dice("looks at the disk")

    async def before(self, call: str) -> None:
        """What happens before the work."""
        life = LIFE.get()
        if life is None:
            return
        self._boundary(life, "before", call)
        await self._dawdle(life)
        weather = self._stage.weather
        if call == "ack":
            return
        if self._port == "store" and self._stage.store_away:
            raise UnavailableError("the store is away")
        if self._port in REMOTE and life.node_id in self._stage.cut_off:
            raise UnavailableError(f"{life.node_id} is cut off")
        if self._port in REMOTE and self._dice.random() < weather.refused:
            raise UnavailableError(f"the {self._port} did not take {call}")
        if self._port == "files" and call in LOOKS and self._disk.random() < weather.unreadable:
            raise UnavailableError(f"the disk can't tell what there is to {call}")
        if call == "spawn" and self._dice.random() < weather.failed_spawns:
            self._stage.note(f"{life.name}: a spawn fails")
            raise SpawnError("no more processes")

    async def after(self, call: str) -> None:
        """What happens after the work."""
        life = LIFE.get()
        if life is None:
            return
        self._boundary(life, "after", call)
        if self._port in REMOTE and life.node_id in self._stage.cut_off:
            raise UnavailableError(f"{life.node_id} was cut off before the answer to {call}")
        if call in ANSWERED and self._dice.random() < self._stage.weather.lost_answers:
            self._stage.note(f"{life.name}: the answer of {self._port}.{call} is lost")
            raise UnavailableError(f"the answer of the {self._port} to {call} was lost")
        await self._dawdle(life)

    def _boundary(self, life: Life, side: str, call: str) -> None:
        life.check()
        if life.doom is not None and life.doom.strikes(call):
            self._crash(life, f"{side} {self._port}.{call}")
            raise asyncio.CancelledError

    async def _dawdle(self, life: Life) -> None:
        if self._dice.random() < self._stage.weather.slow:
            await self._stage.clock.sleep(self._dice.choice(DELAYS_S))
            life.check()


class _LossyHint(Hint):
    """A hint that may not come."""

    def __init__(self, lost: Callable[[], bool]) -> None:
        super().__init__()
        self._lost = lost

    def give(self) -> None:
        """Wake, perhaps."""
        if not self._lost():
            super().give()


class _LossyHints(Hints[tuple[Subject, str]]):
    """Keyed hints that may not come."""

    def __init__(self, lost: Callable[[], bool]) -> None:
        super().__init__()
        self._lost = lost

    def give(self, key: tuple[Subject, str]) -> None:
        """Wake, perhaps."""
        if not self._lost():
            super().give(key)


class LossySignals(Signals):
    """The hints between the lanes of a daemon, some of which are lost."""

    def __init__(self, stage: Stage, dice: Random) -> None:
        def lost() -> bool:
            return dice.random() < stage.weather.lost_hints

        self._lost = lost
        super().__init__(scheduling=_LossyHint(lost), devices=_LossyHint(lost), outbox=_LossyHints(lost))

    def job_changed(self, job_id: str) -> None:
        """A job's document changed; its supervisor hears of it, perhaps."""
        if not self._lost():
            super().job_changed(job_id)
