"""The store's in-memory twin: the same contract in plain dictionaries, for simulations and for trying things out.

Every model passes through its document on the way in, so that it comes out as it would from MongoDB (times cut to
milliseconds, lists as tuples) and shares nothing with the caller.

`before_call` and `after_call` are told the name of each method around its work and may wait or raise: an
`UnavailableError` from the first is an outage, one from the second is an answer that was lost after the write.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import product

from daemon.adapters.curves import Newest, merged, thin
from daemon.adapters.documents import (
    HEARTBEAT_FIELDS,
    MAX_REPLIES,
    NOT_STARTED,
    history_documents,
    job_document,
    label_term,
    label_terms,
    node_document,
    plain,
    progress_values,
    read_held,
    read_job,
    read_node,
    read_work,
)
from daemon.core.lifecycle import HOLDS_DEVICES
from daemon.core.turns import front
from daemon.core.work import Held, Waiting, Work
from daemon.ports import FolderTakenError, JobPage, JobQuery, Subject
from schemas.enums import ExportStatus, TrainingStatus, TrainingType
from schemas.events import CloudEvent, OutboxEvent
from schemas.jobs import Deletion, MetricPoint, TrainingJob
from schemas.nodes import NodeRecord

Hook = Callable[[str], Awaitable[None]]
Now = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


async def _no_hook(name: str) -> None:
    """Nothing happens around this call."""


class MemoryStore:
    """`ports.Store` in this process; gone with it."""

    def __init__(self, *, before_call: Hook = _no_hook, after_call: Hook = _no_hook, clock: Now = _now) -> None:
        self._clock = clock
        self._before_call = before_call
        self._after_call = after_call
        self._jobs: dict[str, TrainingJob] = {}
        self._nodes: dict[str, NodeRecord] = {}
        self._history: dict[tuple[Subject, str], dict[int, CloudEvent]] = {}
        self._points: dict[str, dict[int, MetricPoint]] = {}
        self._replies: dict[str, bytes] = {}
        self._deletions: dict[str, Deletion] = {}

    @asynccontextmanager
    async def _call(self, name: str) -> AsyncGenerator[None]:
        await self._before_call(name)
        yield
        await self._after_call(name)

    # ------------------------------------------------------------ the whole

    async def prepare(self) -> None:
        async with self._call("prepare"):
            pass

    async def check(self) -> str:
        async with self._call("check"):
            return "ok"

    async def now(self) -> datetime:
        async with self._call("now"):
            return self._clock()

    async def close(self) -> None:
        async with self._call("close"):
            pass

    # ------------------------------------------------------------ jobs

    async def insert_job(self, job: TrainingJob) -> bool:
        async with self._call("insert_job"):
            if job.id in self._jobs:
                return False
            self._put_job(job)
            return True

    async def get_job(self, job_id: str) -> TrainingJob | None:
        async with self._call("get_job"):
            return self._jobs.get(job_id)

    async def update_job(self, before: TrainingJob, after: TrainingJob) -> bool:
        async with self._call("update_job"):
            now = self._jobs.get(before.id)
            if now is None or now.internal.revision != before.internal.revision:
                return False
            known = {reply.message_id for reply in before.internal.replies}
            replies = [reply for reply in after.internal.replies if reply.message_id not in known]
            internal = {
                **_differing(before.internal, after.internal),
                "revision": before.internal.revision + 1,
                "outbox": _appended(now.internal.outbox, after.internal.outbox, before.internal.sequence),
                "replies": (*now.internal.replies, *replies)[-MAX_REPLIES:] if replies else now.internal.replies,
            }
            changed = {**_differing(before, after), "internal": now.internal.model_copy(update=internal)}
            self._put_job(now.model_copy(update=changed))
            return True

    async def note_progress(self, job_id: str, attempt: int, values: Mapping[str, object]) -> bool:
        async with self._call("note_progress"):
            fields = progress_values(values)
            job = self._jobs.get(job_id)
            if job is None or job.attempt != attempt:
                return False
            document = job_document(job)
            internal = job.internal.model_dump()
            for name, value in fields.items():
                top, dot, below = name.partition(".")
                (internal if dot else document)[below if dot else top] = value
            self._jobs[job_id] = read_job({**document, "internal": internal})
            return True

    async def delete_job(self, job: TrainingJob) -> bool:
        async with self._call("delete_job"):
            now = self._jobs.get(job.id)
            if now is not None and now.internal.revision != job.internal.revision:
                return False
            self._history.pop((Subject.JOB, job.id), None)
            self._points.pop(job.id, None)
            return self._jobs.pop(job.id, None) is not None

    async def list_jobs(self, query: JobQuery) -> JobPage:
        async with self._call("list_jobs"):
            chosen = [job for job in self._jobs.values() if _is_asked_for(job, query)]
            typed = [job for job in chosen if query.training_type in (None, job.training_type)]
            typed.sort(key=lambda job: (job.created_at, job.id), reverse=True)
            start = (query.page - 1) * query.size
            return JobPage(
                jobs=tuple(typed[start : start + query.size]),
                total=len(typed),
                total_llm=sum(job.training_type is TrainingType.LLM for job in chosen),
                total_vlm=sum(job.training_type is TrainingType.VLM for job in chosen),
            )

    async def counts(self) -> dict[str, int]:
        async with self._call("counts"):
            statuses = [job.status for job in self._jobs.values()]
            return {status.value: statuses.count(status) for status in TrainingStatus}

    async def census(self) -> dict[tuple[TrainingType, TrainingStatus], int]:
        async with self._call("census"):
            found = [(job.training_type, job.status) for job in self._jobs.values()]
            return {pair: found.count(pair) for pair in product(TrainingType, TrainingStatus)}

    # ------------------------------------------------------------ scheduling

    async def waiting(self, limit: int) -> Waiting:
        async with self._call("waiting"):
            return front(self._work(), limit) if limit > 0 else Waiting()

    async def count_queued(self, owner: str | None) -> int:
        async with self._call("count_queued"):
            return sum(job.status is TrainingStatus.QUEUED and job.owner == owner for job in self._jobs.values())

    async def statuses(self, job_ids: Iterable[str]) -> dict[str, TrainingStatus]:
        async with self._call("statuses"):
            return {job_id: self._jobs[job_id].status for job_id in job_ids if job_id in self._jobs}

    async def dependents(self, job_id: str, limit: int) -> list[str]:
        async with self._call("dependents"):
            found = [job.id for job in self._jobs.values() if job_id in job.after and job.status in NOT_STARTED]
            return sorted(found)[: max(limit, 0)]

    async def count_waiting(self, before: TrainingJob | None = None) -> int:
        async with self._call("count_waiting"):
            work = self._work()
            if before is None:
                return len(work)
            key = (-before.priority, plain(before.queued_at or before.created_at), before.id)
            return sum((-item.priority, item.queued_at, item.job_id) < key for item in work)

    async def held(self) -> list[Held]:
        async with self._call("held"):
            return read_held(map(job_document, filter(_holds, self._jobs.values())))

    async def jobs_on(self, node_id: str) -> list[TrainingJob]:
        async with self._call("jobs_on"):
            holding = read_held(map(job_document, filter(_holds, self._jobs.values())))
            return [self._jobs[job_id] for job_id in sorted({h.job_id for h in holding if h.node_id == node_id})]

    async def note_wait_reasons(self, reasons: Mapping[str, str]) -> None:
        async with self._call("note_wait_reasons"):
            for job_id, reason in reasons.items():
                job = self._jobs.get(job_id)
                if job is not None and _waits(job):
                    self._jobs[job_id] = job.model_copy(update={"wait_reason": reason})

    # ------------------------------------------------------------ events

    async def outbox_subjects(self, limit: int) -> list[tuple[Subject, str]]:
        async with self._call("outbox_subjects"):
            found = [
                (record.internal.outbox[0].event.time, subject, subject_id)
                for subject, records in ((Subject.JOB, self._jobs), (Subject.NODE, self._nodes))
                for subject_id, record in records.items()
                if record.internal.outbox
            ]
            return [(subject, subject_id) for _, subject, subject_id in sorted(found)[: max(limit, 0)]]

    async def outbox(self, subject: Subject, subject_id: str) -> tuple[OutboxEvent, ...]:
        async with self._call("outbox"):
            return self._outbox(subject, subject_id)

    async def outbox_done(self, subject: Subject, subject_id: str, events: Sequence[OutboxEvent]) -> None:
        async with self._call("outbox_done"):
            record = self._record(subject, subject_id)
            if record is None or not events:
                return
            kept = self._history.setdefault((subject, subject_id), {})
            for document in history_documents(subject, subject_id, events):
                event = CloudEvent.model_validate(document["event"])
                if all(event.id != other.id for other in kept.values()):
                    kept[int(str(document["sequence"]))] = event
            last = max(event.sequence for event in events)
            left = tuple(event for event in record.internal.outbox if event.sequence > last)
            if isinstance(record, NodeRecord):
                internal = record.internal.model_copy(update={"outbox": left})
                self._nodes[subject_id] = record.model_copy(update={"internal": internal})
            else:
                internal = record.internal.model_copy(update={"outbox": left})
                self._jobs[subject_id] = record.model_copy(update={"internal": internal})

    async def events(self, job_id: str, after: int, limit: int) -> list[CloudEvent]:
        async with self._call("events"):
            found = {item.sequence: item.event for item in self._outbox(Subject.JOB, job_id)}
            found |= self._history.get((Subject.JOB, job_id), {})
            return [found[sequence] for sequence in sorted(found) if sequence > after][: max(limit, 0)]

    # ------------------------------------------------------------ curves

    async def add_points(self, job_id: str, points: Sequence[MetricPoint]) -> None:
        async with self._call("add_points"):
            curve = self._points.setdefault(job_id, {})
            for point in points:
                curve[point.step] = merged(curve.get(point.step), point)

    async def points(self, job_id: str, after_step: int, max_points: int) -> list[MetricPoint]:
        async with self._call("points"):
            curve = self._points.get(job_id, {})
            standing = Newest().of(curve[step] for step in sorted(curve))
            return thin([point for point in standing if point.step > after_step], max_points)

    # ------------------------------------------------------------ replies

    async def find_reply(self, message_id: str) -> bytes | None:
        async with self._call("find_reply"):
            return self._replies.get(message_id)

    async def remember_reply(self, message_id: str, reply: bytes) -> bool:
        async with self._call("remember_reply"):
            first = message_id not in self._replies
            if first:
                self._replies[message_id] = reply
            return first

    async def note_deletion(self, job_id: str, deletion: Deletion) -> None:
        async with self._call("note_deletion"):
            self._deletions[job_id] = deletion

    async def deletion(self, job_id: str) -> Deletion | None:
        async with self._call("deletion"):
            return self._deletions.get(job_id)

    # ------------------------------------------------------------ nodes

    async def put_node(self, node: NodeRecord) -> bool:
        async with self._call("put_node"):
            now = self._nodes.get(node.node_id, node)
            if now.internal.epoch != node.internal.epoch:
                return False
            heartbeat = {name: getattr(node, name) for name in HEARTBEAT_FIELDS}
            internal = now.internal.model_copy(update={"forgotten": False})
            self._put_node(now.model_copy(update={**heartbeat, "internal": internal}))
            return True

    async def get_node(self, node_id: str) -> NodeRecord | None:
        async with self._call("get_node"):
            return self._nodes.get(node_id)

    async def update_node(self, before: NodeRecord, after: NodeRecord) -> bool:
        async with self._call("update_node"):
            now = self._nodes.get(before.node_id)
            if now is None or now.internal.revision != before.internal.revision:
                return False
            if now.last_heartbeat != before.last_heartbeat:
                return False
            internal = {
                **_differing(before.internal, after.internal),
                "revision": before.internal.revision + 1,
                "outbox": _appended(now.internal.outbox, after.internal.outbox, before.internal.sequence),
            }
            changed = {**_differing(before, after), "internal": now.internal.model_copy(update=internal)}
            self._put_node(now.model_copy(update=changed))
            return True

    async def nodes(self) -> list[NodeRecord]:
        async with self._call("nodes"):
            known = [self._nodes[node_id] for node_id in sorted(self._nodes)]
            return [node for node in known if not node.internal.forgotten]

    # ------------------------------------------------------------ the dictionaries

    def _work(self) -> list[Work]:
        return read_work(map(job_document, filter(_waits, self._jobs.values())))

    def _put_job(self, job: TrainingJob) -> None:
        lock = job.internal.output_lock
        if lock is not None and any(
            other.internal.output_lock == lock for other in self._jobs.values() if other.id != job.id
        ):
            raise FolderTakenError(f"another unfinished job has the run folder {lock}; wait for it or choose another")
        self._jobs[job.id] = read_job(job_document(job))

    def _put_node(self, node: NodeRecord) -> None:
        self._nodes[node.node_id] = read_node(node_document(node))

    def _record(self, subject: Subject, subject_id: str) -> TrainingJob | NodeRecord | None:
        return self._jobs.get(subject_id) if subject is Subject.JOB else self._nodes.get(subject_id)

    def _outbox(self, subject: Subject, subject_id: str) -> tuple[OutboxEvent, ...]:
        record = self._record(subject, subject_id)
        return () if record is None else record.internal.outbox


def _differing(before: object, after: TrainingJob | NodeRecord | object) -> dict[str, object]:
    """The fields of `after` that are not as in `before`, `internal` aside."""
    old, new = vars(before), vars(after)
    return {name: value for name, value in new.items() if name != "internal" and value != old[name]}


def _appended(now: tuple[OutboxEvent, ...], wanted: Iterable[OutboxEvent], sequence: int) -> tuple[OutboxEvent, ...]:
    """The outbox with the events behind `sequence` at its end."""
    return (*now, *(event for event in wanted if event.sequence > sequence))


def _is_asked_for(job: TrainingJob, query: JobQuery) -> bool:
    return (
        (not query.statuses or job.status in query.statuses)
        and query.owner in (None, job.owner)
        and (query.label is None or label_term(query.label) in label_terms(job.labels))
    )


def _waits(job: TrainingJob) -> bool:
    return job.status is TrainingStatus.QUEUED or job.export_status is ExportStatus.QUEUED


def _holds(job: TrainingJob) -> bool:
    return job.status in HOLDS_DEVICES or job.export_status is ExportStatus.RUNNING
