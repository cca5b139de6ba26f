"""The documents, as the loops need them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from daemon.core.work import Held, Waiting
from schemas.enums import TrainingStatus, TrainingType
from schemas.events import CloudEvent, OutboxEvent
from schemas.jobs import Deletion, MetricPoint, TrainingJob
from schemas.nodes import NodeRecord


class FolderTakenError(Exception):
    """Another unfinished job has the same run folder."""


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
        """The curve behind `after_step`, evenly thinned to `max_points`; first and last are kept.

        What an older attempt logged behind the first step of a newer one is left out.
        """
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
        """Write the heartbeat part of a node (devices, versions, last heartbeat); makes it if it is new, and takes up
        one that was forgotten.

        False, and nothing is written: the node's lease has another epoch, so it was declared lost.
        """
        ...

    async def get_node(self, node_id: str) -> NodeRecord | None: ...

    async def update_node(self, before: NodeRecord, after: NodeRecord) -> bool:
        """As `update_job`, for state, reason and the node's outbox; False as well where it has sent a heartbeat since
        `before` was read."""
        ...

    async def nodes(self) -> list[NodeRecord]:
        """All nodes by id, but for those that are forgotten."""
        ...

    async def close(self) -> None: ...
