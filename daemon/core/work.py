"""What the scheduler is asked about and what it answers: plain values, made by the stores and read by the loops."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from schemas.enums import NodeState
from schemas.events import Device

LONGEST_S = 10 * 365 * 86_400.0
"""A limit above this is none: nobody waits for its end."""


class WorkKind(StrEnum):
    """What is to run."""

    TRAIN = "train"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class Work:
    """A training or an export that waits for devices."""

    job_id: str
    kind: WorkKind
    priority: int
    queued_at: datetime
    count: int
    """Devices needed."""
    pinned: tuple[int, ...] = ()
    """Exactly these indices, where not empty."""
    not_before: datetime | None = None
    avoid: tuple[tuple[str, int], ...] = ()
    """Devices to leave alone while others would do, by node and index."""
    training_type: str = "llm"
    owner: str | None = None
    wait_reason: str | None = None
    """The reason that is stored now."""
    memory_mib: int | None = None
    """Total memory that each device must have, MiB."""
    device_name: str | None = None
    """What each device's name must match: `*` is anything, `?` one character, in any case."""
    timeout_s: float | None = None
    """Seconds after which it is ended, however far it is."""
    after: tuple[str, ...] = ()
    """Jobs that must have ended before."""
    after_always: bool = False
    """However they ended; else they must have completed."""


@dataclass(frozen=True, slots=True)
class Held:
    """Devices that are given away."""

    job_id: str
    kind: WorkKind
    node_id: str
    devices: tuple[int, ...]
    owner: str | None = None
    until: datetime | None = None
    """When they are free again at the latest, because the work is ended then; None: nobody knows."""
    yields_to: int | None = None
    """The priority of a training that may be interrupted for a higher one; None: it is ending, or may not."""
    since: datetime | None = None
    """When it started."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """What the scheduler knows of a node."""

    node_id: str
    state: NodeState
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Shares:
    """What each owner may have. The name `*` stands for owners that are not named; who has no entry has no limit."""

    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """An owner of weight 2 gets twice the devices of one of weight 1 while both have work that waits; else 1."""
    devices: Mapping[str, int] = field(default_factory=dict[str, int])
    """Devices at once, over all nodes."""
    queued: Mapping[str, int] = field(default_factory=dict[str, int])
    """Trainings in the queue."""

    def weight(self, owner: str | None) -> float:
        """The owner's weight."""
        return self.weights.get(owner or "", self.weights.get(ANYBODY, 1.0))

    def most_devices(self, owner: str | None) -> int | None:
        """Devices that the owner may have at once; None: any number."""
        return self.devices.get(owner or "", self.devices.get(ANYBODY))

    def most_queued(self, owner: str | None) -> int | None:
        """Trainings that the owner may have in the queue; None: any number."""
        return self.queued.get(owner or "", self.queued.get(ANYBODY))


ANYBODY = "*"
EQUAL = Shares()
"""No weights, no quotas."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The front of the queue."""

    work: tuple[Work, ...] = ()
    """By priority, then age; of each owner what comes first of theirs."""
    cut: frozenset[str | None] = frozenset()
    """The owners who have more than is here."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start this work on these devices."""

    work: Work
    node_id: str
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """Devices that are kept for work that needs more than are free."""

    work: Work
    node_id: str
    devices: tuple[int, ...]
    """Those that were free."""
    starts_at: datetime | None
    """When the others are free as well, at the latest; None: nobody knows."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """A running training that has to give way."""

    job_id: str
    node_id: str
    work: Work
    """What gets its devices."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What starts now, and what waits, in order, each with its reason."""

    starts: tuple[Start, ...]
    waits: tuple[tuple[Work, str], ...]
    turns: tuple[Work, ...] = ()
    """All of it, in the order in which it was, or will be, looked at for devices."""
    reservations: tuple[Reservation, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    hopeless: tuple[tuple[Work, str], ...] = ()
    """Of what waits, the work that can never start, because a job that it comes after has not completed."""
    left: int = 0
    """Devices that were free and kept for nobody when the known work of an owner who has more of it ran out: what was
    not read could have them, or had a better right to what started after that."""


def end_of(started_at: datetime, timeout_s: float | None) -> datetime | None:
    """When work that started then has ended at the latest; None: it has no limit."""
    if timeout_s is None or timeout_s > LONGEST_S:
        return None
    return started_at + timedelta(seconds=timeout_s)
