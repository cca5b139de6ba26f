"""The in-memory twins with a window: they tell of every write at once, and show what is in them without a call."""

import re
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from random import Random

from daemon.adapters.memory_bus import Command, MemoryBroker, MemoryBus
from daemon.adapters.memory_files import MemoryFiles
from daemon.adapters.memory_hooks import Hook, no_hook
from daemon.adapters.memory_store import MemoryStore
from daemon.ports import Delivery
from schemas.events import CloudEvent
from schemas.jobs import MetricPoint, TrainingJob
from schemas.nodes import NodeRecord


class SimStore(MemoryStore):
    """The store, seen from outside; its hooks can be set after it was made."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.before_call: Hook = no_hook
        self.after_call: Hook = no_hook
        super().__init__(
            before_call=lambda name: self.before_call(name), after_call=lambda name: self.after_call(name), clock=clock
        )

    on_write: Callable[[TrainingJob | None, TrainingJob], None] | None = None
    """Told of a job's document before and after a guarded write."""
    on_progress: Callable[[TrainingJob], None] | None = None
    on_delete: Callable[[TrainingJob], None] | None = None

    @property
    def jobs(self) -> Mapping[str, TrainingJob]:
        """The documents by id."""
        return self._jobs

    @property
    def node_records(self) -> Mapping[str, NodeRecord]:
        """The nodes by id."""
        return self._nodes

    def curve(self, job_id: str) -> list[MetricPoint]:
        """The stored points of a job, by step."""
        points = self._points.get(job_id, {})
        return [points[step] for step in sorted(points)]

    async def note_progress(self, job_id: str, attempt: int, values: Mapping[str, object]) -> bool:
        """Tell of it, also where the answer is lost."""
        before = self._jobs.get(job_id)
        try:
            return await super().note_progress(job_id, attempt, values)
        finally:
            after = self._jobs.get(job_id)
            if after is not None and after is not before and self.on_progress is not None:
                self.on_progress(after)

    async def delete_job(self, job: TrainingJob) -> bool:
        """Tell of it, also where the answer is lost."""
        there = self._jobs.get(job.id)
        try:
            return await super().delete_job(job)
        finally:
            if there is not None and job.id not in self._jobs and self.on_delete is not None:
                self.on_delete(there)

    def _put_job(self, job: TrainingJob) -> None:
        before = self._jobs.get(job.id)
        super()._put_job(job)
        if self.on_write is not None:
            self.on_write(before, self._jobs[job.id])


class SimBroker(MemoryBroker):
    """A broker whose queue can lose its order, but for the commands about one job."""

    def shuffle(self, dice: Random) -> None:
        """Put the waiting commands into another order."""
        by_job: dict[str, list[Command]] = {}
        turns: list[str] = []
        for command in self._queue:
            turns.append(_job_of(command))
            by_job.setdefault(turns[-1], []).append(command)
        dice.shuffle(turns)
        self._queue = deque(by_job[turn].pop(0) for turn in turns)


def _job_of(command: Command) -> str:
    found = re.search(rb'"job_id": "([^"]*)"', command.body)
    return found[1].decode() if found else str(command.message_id)


class SimBus(MemoryBus):
    """A connection that drops live events, as if nobody listened: they are worth something only now.

    An acknowledgement has no answer. It can be lost only with its connection, and then the command comes again.
    """

    loses_ack: Callable[[], bool] | None = None
    cut_off: Callable[[], bool] | None = None
    """Whether its node reaches the broker no more."""

    @property
    def has_room(self) -> bool:
        """Nothing comes to who is cut off."""
        return super().has_room and not (self.cut_off is not None and self.cut_off())

    async def ack(self, delivery: Delivery) -> None:
        """Acknowledge, or lose the connection just before."""
        if self.loses_ack is not None and self.loses_ack():
            self.reconnect()
        await super().ack(delivery)

    def publish_live(self, routing_key: str, event: CloudEvent) -> None:
        """Drop it."""


class SimFiles(MemoryFiles):
    """The file system, seen from outside."""

    on_remove: Callable[[Path], None] | None = None
    """Told of a path before it is removed with all below it."""

    def holds(self, path: Path) -> bool:
        """Whether something is there."""
        return self._there(path)

    def remove(self, path: Path | str) -> None:
        """Tell of it."""
        if self.on_remove is not None:
            self.on_remove(Path(path))
        super().remove(path)
