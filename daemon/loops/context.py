"""What every loop is given: the ports, the settings and the hints. Made once, by `daemon.app`."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from daemon.core.lease import Lease
from daemon.core.moves import with_internal
from daemon.core.sightings import Sightings
from daemon.logs import get_log
from daemon.loops.board import Board
from daemon.loops.hints import Hint, Hints
from daemon.loops.observing import note_change
from daemon.ports import Bus, Clock, Devices, Files, Meters, Runs, Store, Subject, Toolchain, UnavailableError
from daemon.settings import Settings
from schemas.jobs import TrainingJob
from schemas.nodes import NodeRecord

T = TypeVar("T")
Step = Callable[[TrainingJob], TrainingJob | None]
"""A decision about a job: its next document, or None to leave it."""
NodeStep = Callable[[NodeRecord], NodeRecord]
"""A decision about a node: its next document, or the same one to leave it."""

log = get_log("context")
LONGEST_WAIT_S = 15.0


@dataclass(slots=True)
class Signals:
    """The hints between the lanes of one daemon."""

    scheduling: Hint = field(default_factory=Hint)
    devices: Hint = field(default_factory=Hint)
    """Leases of this node changed."""
    outbox: Hints[tuple[Subject, str]] = field(default_factory=Hints[tuple[Subject, str]])
    jobs: dict[str, Hint] = field(default_factory=dict[str, Hint])
    """One per job that is supervised here."""

    def job_changed(self, job_id: str) -> None:
        """A job's document changed: its events wait for the broker, its supervisor may have to act."""
        self.outbox.give((Subject.JOB, job_id))
        hint = self.jobs.get(job_id)
        if hint is not None:
            hint.give()


@dataclass(frozen=True, slots=True)
class Postponed:
    """Why a job can't start on this node for now, and until when (monotonic) that is believed."""

    reason: str
    until_s: float


class Stage(StrEnum):
    """How far the daemon is."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(slots=True)
class Life:
    """How far the daemon is, for who asks whether it is ready."""

    stage: Stage = Stage.STARTING


@dataclass(frozen=True, slots=True)
class Context:
    """The ports, the settings, the hints."""

    settings: Settings
    clock: Clock
    bus: Bus
    store: Store
    devices: Devices
    runs: Runs
    files: Files
    toolchain: Toolchain
    meters: Meters
    environment: Mapping[str, str]
    """The daemon's own environment, which trainings inherit in part."""
    board: Board = field(default_factory=Board)
    """The newest reading of this node's devices."""
    signals: Signals = field(default_factory=Signals)
    postponed: dict[str, Postponed] = field(default_factory=dict[str, "Postponed"])
    """Queued jobs that this node can't start for now, whatever devices are free, by id."""
    lease: Lease = field(default_factory=Lease)
    """This node's hold on what it runs."""
    life: Life = field(default_factory=Life)
    sightings: Sightings = field(default_factory=Sightings)
    """What was seen of the other nodes."""

    @property
    def node_id(self) -> str:
        return self.settings.node_id


async def change_job(ctx: Context, job_id: str, step: Step) -> TrainingJob | None:
    """Read a job, decide, write under its revision; again while somebody else wrote first.

    `step` returns the next document, or None to leave it. The result is the document as it now stands (None: there is
    no such job). What `step` raises comes through, and nothing is written.
    """
    while True:
        job = await ctx.store.get_job(job_id)
        if job is None:
            return None
        changed = step(job)
        if changed is None:
            return job
        if await ctx.store.update_job(job, changed):
            ctx.signals.job_changed(job_id)
            note_change(ctx.meters, job, changed, ctx.clock.now())
            return with_internal(changed, revision=job.internal.revision + 1)


async def change_node(ctx: Context, node_id: str, step: NodeStep) -> NodeRecord | None:
    """As `change_job`, for a node; a step that returns the node as it is leaves it."""
    while True:
        node = await ctx.store.get_node(node_id)
        if node is None:
            return None
        changed = step(node)
        if changed is node:
            return node
        if await ctx.store.update_node(node, changed):
            ctx.signals.outbox.give((Subject.NODE, node_id))
            return changed


async def persistently(
    ctx: Context, what: str, call: Callable[[], Awaitable[T]], *, limit_s: float = math.inf, **fields: object
) -> T:
    """Repeat a call until its outside is there again: an outage is no failure. Waits 0.2 s, doubling to 15 s.

    After the limit the `UnavailableError` comes through.
    """
    return await reached(ctx.clock, what, call, limit_s=limit_s, **fields)


async def reached(
    clock: Clock, what: str, call: Callable[[], Awaitable[T]], *, limit_s: float = math.inf, **fields: object
) -> T:
    """As `persistently`, before there is a context."""
    wait_s = 0.2
    until_s = clock.monotonic() + limit_s
    while True:
        try:
            return await call()
        except UnavailableError as error:
            if clock.monotonic() >= until_s:
                raise
            log.warning("outage_waiting", f"{what} waits: {error}", retry_in_s=wait_s, **fields)
        await clock.sleep(wait_s)
        wait_s = min(LONGEST_WAIT_S, wait_s * 2)
