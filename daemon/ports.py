"""What the loops need of the outside, as protocols. The adapters implement them; nothing here does anything.

Every port method that talks to the outside may raise `UnavailableError`: the outside is away, nothing is known to be
wrong, try again later. An outage is never reported as a job's failure.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from daemon.core.devices import DeviceFault
from daemon.core.work import Held, Waiting
from daemon.metrics import Metric
from daemon.swift.checkpoints import Folder
from daemon.swift.installed import Installed
from schemas.enums import TrainingStatus, TrainingType
from schemas.events import CloudEvent, Device, OutboxEvent
from schemas.jobs import Deletion, MetricPoint, TrainingJob
from schemas.nodes import NodeRecord
from schemas.tracing import TraceContext


class UnavailableError(Exception):
    """The broker, the store or another outside part is away; try again later."""


class FolderTakenError(Exception):
    """Another unfinished job has the same run folder."""


# ---------------------------------------------------------------- clock


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


# ---------------------------------------------------------------- meters


class Meters(Protocol):
    """What is counted and timed for who watches the daemon. Never waits, never fails."""

    def add(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """Count `amount` more, under these labels."""
        ...

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Note one value of a histogram, under these labels."""
        ...


# ---------------------------------------------------------------- bus


@dataclass(frozen=True, slots=True)
class Delivery:
    """One command as it came from the broker."""

    routing_key: str
    body: bytes
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    user_id: str | None = None
    redelivered: bool = False
    sent_on: bool = False
    """Another daemon consumed it and sent it on, because it can be answered here alone."""
    trace: TraceContext | None = None
    """The sender's span, where it sent one."""
    token: object = field(default=None, compare=False, repr=False)
    """The adapter's own handle, needed to acknowledge."""


@dataclass(frozen=True, slots=True)
class LiveStatistics:
    """A snapshot of the live events on their way."""

    waiting: int
    waiting_bytes: int
    dropped: int
    """Since the start."""


class Bus(Protocol):
    """The broker: commands in, replies and events out."""

    def commands(self) -> AsyncIterator[Delivery]:
        """Deliveries, over reconnections, until `stop_consuming`; at most the adapter's prefetch unacknowledged."""
        ...

    async def stop_consuming(self) -> None:
        """End `commands()`; deliveries already handed out may still be acknowledged."""
        ...

    async def ack(self, delivery: Delivery) -> None:
        """The command's effect is stored. A delivery whose channel is gone is ignored: the broker sends it again."""
        ...

    async def dead_letter(self, delivery: Delivery, error: str) -> None:
        """Put it into the dead-letter queue with `error` in the header `x-swift-error`, confirmed, then acknowledge."""
        ...

    async def reply(self, delivery: Delivery, body: bytes) -> None:
        """Answer to `reply_to`, where there is one. A requester that is gone is no error."""
        ...

    async def send_on(self, delivery: Delivery, node_id: str) -> bool:
        """Hand a query on to another node's daemon, which replies. False: that is not there."""
        ...

    def wakeups(self) -> AsyncIterator[str]:
        """Routing keys of the durable events of other nodes, as they come; some may be lost."""
        ...

    async def publish(self, event: OutboxEvent) -> None:
        """Publish a durable event; returns when the broker has confirmed it."""
        ...

    def publish_live(self, routing_key: str, event: CloudEvent) -> None:
        """Publish an event that is worth something only now. Never waits; bounded; dropped while the broker is away."""
        ...

    def statistics(self) -> LiveStatistics:
        """What became of the live events."""
        ...

    async def check(self) -> str:
        """`ok`, or what is wrong: no connection, no consumer of ours on the command queue, a memory alarm."""
        ...


# ---------------------------------------------------------------- store


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A page of jobs, newest first."""

    training_type: TrainingType | None = None
    statuses: tuple[TrainingStatus, ...] = ()
    owner: str | None = None
    label: tuple[str, str | None] | None = None
    """Name and value; value None: any."""
    page: int = 1
    size: int = 10


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page and the totals of its filter; `total_llm` and `total_vlm` ignore the filter's training type."""

    jobs: tuple[TrainingJob, ...]
    total: int
    total_llm: int
    total_vlm: int


class Subject(StrEnum):
    """Kinds of documents that have an outbox."""

    JOB = "job"
    NODE = "node"


class Store(Protocol):
    """The documents. A guarded write changes one document if its revision is still the one that was read."""

    async def prepare(self) -> None:
        """Make the indexes; safe to call again."""
        ...

    async def check(self) -> str:
        """`ok`, or what is wrong."""
        ...

    async def now(self) -> datetime:
        """The store's own clock (UTC)."""
        ...

    async def insert_job(self, job: TrainingJob) -> bool:
        """Store a new job. False: a job of this id exists (an answer was lost). Raises `FolderTakenError`."""
        ...

    async def get_job(self, job_id: str) -> TrainingJob | None: ...

    async def update_job(self, before: TrainingJob, after: TrainingJob) -> bool:
        """Write what differs between the two, in one guarded write. False: somebody else wrote first; read again.

        The revision is `before`'s plus one afterwards. New outbox events and remembered replies are appended, never
        replaced, so that the outbox and progress writes can go on beside it. Raises `FolderTakenError`.
        """
        ...

    async def note_progress(self, job_id: str, attempt: int, values: Mapping[str, object]) -> bool:
        """Set plain fields (dotted below `internal.`) of a job that is in this attempt; unguarded, no revision."""
        ...

    async def delete_job(self, job: TrainingJob) -> bool:
        """Remove the job, its events and its curve, if its revision is still this one. False: it is not."""
        ...

    async def list_jobs(self, query: JobQuery) -> JobPage: ...

    async def counts(self) -> dict[str, int]:
        """Jobs by status, every status present."""
        ...

    async def census(self) -> dict[tuple[TrainingType, TrainingStatus], int]:
        """Jobs by type and status, every pair present."""
        ...

    async def waiting(self, limit: int) -> Waiting:
        """The front of the queue of trainings and exports, about `limit`: of a longer one, each owner's first ones."""
        ...

    async def count_queued(self, owner: str | None) -> int:
        """How many trainings of this owner are queued."""
        ...

    async def statuses(self, job_ids: Iterable[str]) -> dict[str, TrainingStatus]:
        """Where these jobs stand, by id; a job that is not there is left out."""
        ...

    async def dependents(self, job_id: str, limit: int) -> list[str]:
        """Pending and queued jobs that come after this one (`after`), by id; at most `limit`."""
        ...

    async def count_waiting(self, before: TrainingJob | None = None) -> int:
        """How many queued trainings and exports there are; or, of these, how many before a queued training."""
        ...

    async def held(self) -> list[Held]:
        """What holds devices now, on all nodes: trainings and exports."""
        ...

    async def jobs_on(self, node_id: str) -> list[TrainingJob]:
        """Jobs whose training or export holds devices of this node, or ran there and is not ended."""
        ...

    async def note_wait_reasons(self, reasons: Mapping[str, str]) -> None:
        """Set `wait_reason` of jobs that are still queued, by job id."""
        ...

    async def outbox_subjects(self, limit: int) -> list[tuple[Subject, str]]:
        """Documents with unpublished events, oldest first."""
        ...

    async def outbox(self, subject: Subject, subject_id: str) -> tuple[OutboxEvent, ...]:
        """The unpublished events of one document, by sequence."""
        ...

    async def outbox_done(self, subject: Subject, subject_id: str, events: Sequence[OutboxEvent]) -> None:
        """These are published: keep them in the history, then take them out of the outbox. Safe to repeat."""
        ...

    async def events(self, job_id: str, after: int, limit: int) -> list[CloudEvent]:
        """Durable events of a job with `sequence` > `after`, published or not, by sequence."""
        ...

    async def add_points(self, job_id: str, points: Sequence[MetricPoint]) -> None:
        """Write points of the curve; one written twice is there once, values of one step are merged."""
        ...

    async def points(self, job_id: str, after_step: int, max_points: int) -> list[MetricPoint]:
        """The curve behind `after_step`, evenly thinned to `max_points`; first and last are kept."""
        ...

    async def find_reply(self, message_id: str) -> bytes | None:
        """The reply that this `message_id` got, kept for at least 24 h."""
        ...

    async def remember_reply(self, message_id: str, reply: bytes) -> bool:
        """Keep the first reply to this `message_id`. False: one is kept already, and stays."""
        ...

    async def note_deletion(self, job_id: str, deletion: Deletion) -> None:
        """Keep for at least 24 h that a job was deleted, or is about to be, and how; the newest word counts."""
        ...

    async def deletion(self, job_id: str) -> Deletion | None:
        """How a job was deleted, where it was."""
        ...

    async def put_node(self, node: NodeRecord) -> bool:
        """Write the heartbeat part of a node (devices, versions, last heartbeat); makes it if it is new.

        False, and nothing is written: the node's lease has another epoch, so it was declared lost.
        """
        ...

    async def get_node(self, node_id: str) -> NodeRecord | None: ...

    async def update_node(self, before: NodeRecord, after: NodeRecord) -> bool:
        """As `update_job`, for state, reason and the node's outbox; False as well where it has sent a heartbeat since
        `before` was read."""
        ...

    async def nodes(self) -> list[NodeRecord]:
        """All nodes by id."""
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- devices


class Devices(Protocol):
    """The devices of this host. Indices are stable while the daemon runs."""

    @property
    def uses_cuda(self) -> bool:
        """Whether a lease means `CUDA_VISIBLE_DEVICES`."""
        ...

    async def read(self) -> tuple[Device, ...]:
        """All devices with their present use; `state` is FREE, FOREIGN or UNHEALTHY (leases are not known here)."""
        ...

    async def faults(self) -> tuple[DeviceFault, ...]:
        """Wait for signs that devices are sick; those that were noticed since the last call, each once."""
        ...

    async def check(self) -> str:
        """`ok`, or what is wrong."""
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- processes


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A process to start: one attempt of a training, or an export."""

    run_id: str
    """Name of the run record's folder: `{job_id}-{attempt}` or `{job_id}-export-{n}`."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment of the process."""
    cwd: Path
    log_path: Path
    """Both output streams are appended here."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended."""

    exit_code: int | None
    """As `subprocess` has it: negative is the signal. None: neither process nor exit file, the run is lost."""
    ended_at: datetime
    processes_left: int = 0
    """Processes of the run that could not be ended."""
    note: str = ""
    """What else is known, for a person."""
    rebooted: bool = False
    """The host was started anew since the run began."""
    disk_full: bool = False
    """The disk of its log and its record was full when it ended."""
    fenced: bool = False
    """It was ended because the host's lease had run out."""


class Run(Protocol):
    """One run that this daemon follows, started by it or re-adopted."""

    @property
    def run_id(self) -> str: ...

    @property
    def pid(self) -> int | None:
        """Process id of the leader; None where it never started."""
        ...

    @property
    def started_at(self) -> datetime: ...

    async def wait(self) -> RunEnd:
        """Wait until no process of the run is left and its end is known. May be called again."""
        ...

    async def stop(self, *, grace_s: float, save: bool) -> None:
        """Have the run ended: with `save`, SIGTERM to the trainer alone, so that it saves; else to every process;
        SIGKILL to what is left after `grace_s`. Returns when ordered, and goes on without the daemon; `wait` tells
        the end. A second call shortens the grace, never lengthens it."""
        ...


class Runs(Protocol):
    """The processes of this host."""

    async def spawn(self, spec: RunSpec) -> Run:
        """Start it, detached from the daemon. Raises `SpawnError`. A `run_id` that exists is adopted, not started
        twice."""
        ...

    async def adopt(self, run_id: str) -> Run | None:
        """Take up a run of an earlier daemon, living or ended. None: there is no record of it."""
        ...

    async def forget(self, run_id: str) -> None:
        """Remove the record of an ended run."""
        ...

    async def lease(self, seconds: float | None) -> None:
        """From now on every run of this host is ended by its own runner so long from now, unless the lease is renewed
        before; None: never. Holds without the daemon."""
        ...

    async def known(self) -> tuple[str, ...]:
        """The ids of all runs that there is a record of, living or ended."""
        ...

    async def free_port(self) -> int:
        """A TCP port that nobody listens on and that was not handed out lately."""
        ...


class SpawnError(Exception):
    """The process could not be started; the message says why."""


# ---------------------------------------------------------------- files


class Watch(Protocol):
    """Tells of writes to one file."""

    async def changed(self, timeout_s: float) -> bool:
        """Wait until the file was written to or made since the last call; False: the timeout passed first."""
        ...

    def notify(self) -> None:
        """Have `changed` return, as if something was written."""
        ...


class Files(Protocol):
    """The file system, off the event loop's thread."""

    async def read(self, path: Path, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`; empty at the end or where there is no file."""
        ...

    async def size(self, path: Path) -> int:
        """Bytes; 0 where there is no file."""
        ...

    def watch(self, path: Path) -> AbstractAsyncContextManager[Watch]:
        """Be told of writes to a file that may not exist yet (its folder does)."""
        ...

    async def exists(self, path: Path) -> bool: ...

    async def resolve(self, path: Path) -> Path:
        """Absolute, symlinks followed as far as the path exists."""
        ...

    async def names(self, path: Path) -> tuple[str, ...]:
        """Names in a folder; empty where there is none."""
        ...

    async def checkpoints(self, run_dir: Path) -> tuple[Folder, ...]:
        """The `checkpoint-N` folders below a run folder with what is needed to judge them."""
        ...

    async def free_mib(self, path: Path) -> float | None:
        """Space that is free for us where a path lies or would lie, MiB; None: it can't be told."""
        ...

    async def remove_tree(self, path: Path) -> None:
        """Remove a folder and all below it; no error where there is none. Symlinks are removed, not followed."""
        ...


# ---------------------------------------------------------------- ms-swift


class Toolchain(Protocol):
    """The installed ms-swift."""

    async def installed(self) -> Installed:
        """Version and options, read once and cached. Raises `ToolchainError`."""
        ...

    @property
    def known(self) -> Installed | None:
        """What `installed` found, where it was asked already; never waits."""
        ...

    @property
    def command(self) -> tuple[str, ...]:
        """The argument vector's prefix, ending before the subcommand."""
        ...


class ToolchainError(Exception):
    """ms-swift can't be found or asked; the message says what to do."""
