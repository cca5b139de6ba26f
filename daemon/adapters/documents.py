"""What stands in the database, as pure functions between the models and plain documents.

A model becomes a document of strings, numbers, lists, dictionaries and UTC datetimes, which BSON has as they are; times
keep their milliseconds, because BSON has no more. `changes` is the heart of a guarded write: it says which fields of a
document have to be set and which list entries appended, so that what others write meanwhile (the outbox loop takes
events out, progress sets numbers) is left alone.

The job's labels stand a second time below `internal.label_terms`, as `name` and `name=value`: a label's name may have
dots, which a query path can't.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import cast

from daemon.core.clocks import whole_ms
from daemon.core.lifecycle import HOLDS_DEVICES
from daemon.core.turns import order
from daemon.core.work import Held, Work, WorkKind, end_of
from daemon.ports import JobQuery
from schemas.enums import ExportStatus, TrainingStatus
from schemas.events import OutboxEvent
from schemas.jobs import TRAINING_JOB, Internal, JobFields, TrainingJob
from schemas.nodes import NodeRecord

Document = dict[str, object]

MAX_REPLIES = 20
"""Replies that a job's document remembers; older ones are dropped."""

NOT_STARTED = frozenset({TrainingStatus.PENDING, TrainingStatus.QUEUED})
"""Where a job stands that may still wait for another."""

HEARTBEAT_FIELDS = (
    "devices",
    "disks",
    "versions",
    "last_heartbeat",
    "started_at",
    "lost_after_seconds",
    "store_skew_seconds",
)

_GUARDED = frozenset({"id", "status", "attempt", "internal", "export_status"})
_GUARDED_INTERNAL = frozenset({"revision", "sequence", "outbox", "replies", "output_lock"})
_PLAIN = frozenset({str, int, float, bool, type(None)})
_QUEUED = TrainingStatus.QUEUED.value
_STOPPING = TrainingStatus.STOPPING.value
_EXPORT_QUEUED = ExportStatus.QUEUED.value
_EXPORT_RUNNING = ExportStatus.RUNNING.value
_HOLDS = frozenset(status.value for status in HOLDS_DEVICES)


def plain(value: object) -> object:
    """The value as BSON has it: enums as their values, sequences as lists, times cut to milliseconds."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in cast("Iterable[object]", value)]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return whole_ms(value)
    return value


def plain_document(values: Mapping[str, object]) -> Document:
    """`plain` of every value."""
    return {name: plain(value) for name, value in values.items()}


def section(document: Mapping[str, object], name: str) -> Document:
    """A sub-document; empty where there is none."""
    return cast("Document | None", document.get(name)) or {}


# ---------------------------------------------------------------- jobs and nodes


def job_document(job: TrainingJob) -> Document:
    """The whole document of a job, `_id` included."""
    document = plain_document(job.model_dump())
    section(document, "internal")["label_terms"] = label_terms(job.labels)
    return {"_id": job.id, **document}


def read_job(document: Mapping[str, object]) -> TrainingJob:
    """The job of a document. Raises pydantic's `ValidationError` where it is none."""
    return TRAINING_JOB.validate_python(document)


def label_terms(labels: Mapping[str, str]) -> list[str]:
    """What a query for a label looks for: every name alone, and with its value."""
    return sorted([*labels, *(f"{name}={value}" for name, value in labels.items())])


def label_term(label: tuple[str, str | None]) -> str:
    """The term that a job with this label has; value None: any."""
    name, value = label
    return name if value is None else f"{name}={value}"


def job_filter(query: JobQuery) -> Document:
    """The filter of a query of jobs, without its training type."""
    chosen: Document = {}
    if query.statuses:
        chosen["status"] = {"$in": [status.value for status in query.statuses]}
    if query.owner is not None:
        chosen["owner"] = query.owner
    if query.label is not None:
        chosen["internal.label_terms"] = label_term(query.label)
    return chosen


def node_document(node: NodeRecord) -> Document:
    """The whole document of a node, `_id` included."""
    return {"_id": node.node_id, **plain_document(node.model_dump())}


def read_node(document: Mapping[str, object]) -> NodeRecord:
    """The node of a document. Raises pydantic's `ValidationError` where it is none."""
    return NodeRecord.model_validate(document)


def read_outbox(document: Mapping[str, object]) -> tuple[OutboxEvent, ...]:
    """The unpublished events of a job's or a node's document, by sequence."""
    waiting = cast("Sequence[object]", section(document, "internal").get("outbox") or ())
    return tuple(sorted(map(OutboxEvent.model_validate, waiting), key=lambda event: event.sequence))


def history_documents(kind: str, subject_id: str, events: Iterable[OutboxEvent]) -> list[Document]:
    """The documents that keep published events, under the events' own ids."""
    return [
        {
            "_id": item.event.id,
            "kind": kind,
            "subject": subject_id,
            "sequence": item.sequence,
            "event": plain_document(item.event.model_dump()),
        }
        for item in events
    ]


# ---------------------------------------------------------------- writes


def changes(before: Document, after: Document) -> dict[str, Document]:
    """The update that turns the document `before` into `after`, by operator (`$set`, `$push`).

    Only what differs is set, one level deep in `internal`; the revision becomes `before`'s plus one. Outbox events
    behind `before`'s sequence and replies to new message ids are appended; what stands in those lists is not touched.
    """
    old, new = section(before, "internal"), section(after, "internal")
    values = {name: value for name, value in after.items() if name != "internal" and value != before.get(name)}
    for name, value in new.items():
        if name not in ("outbox", "replies") and value != old.get(name):
            values[f"internal.{name}"] = value
    values["internal.revision"] = cast("int", old["revision"]) + 1
    pushes: Document = {}
    events = _newer(new, cast("int", old["sequence"]))
    if events:
        pushes["internal.outbox"] = {"$each": events}
    replies = _unknown(old, new)
    if replies:
        pushes["internal.replies"] = {"$each": replies, "$slice": -MAX_REPLIES}
    return {"$set": values, "$push": pushes} if pushes else {"$set": values}


def _newer(internal: Document, sequence: int) -> list[Document]:
    events = cast("list[Document]", internal["outbox"])
    return [event for event in events if cast("int", event["sequence"]) > sequence]


def _unknown(old: Document, new: Document) -> list[Document]:
    known = {reply["message_id"] for reply in cast("list[Document]", old.get("replies") or [])}
    return [reply for reply in cast("list[Document]", new.get("replies") or []) if reply["message_id"] not in known]


def progress_values(values: Mapping[str, object]) -> Document:
    """The plain values of an unguarded write. Raises `ValueError` for a name that is no field or needs the guard."""
    for name in values:
        top, dot, below = name.partition(".")
        if dot:
            allowed = top == "internal" and below in Internal.model_fields and below not in _GUARDED_INTERNAL
        else:
            allowed = top in JobFields.model_fields and top not in _GUARDED
        if not allowed:
            raise ValueError(f"{name!r} is no job field that may be written without the revision; use update_job")
    return plain_document(values)


# ---------------------------------------------------------------- what the scheduler sees

WORK_FIELDS = (
    "training_type",
    "owner",
    "priority",
    "gpu_id",
    "gpu_count",
    "status",
    "queued_at",
    "created_at",
    "export_status",
    "wait_reason",
    "gpu_memory_mib",
    "gpu_name",
    "timeout_seconds",
    "after",
    "after_policy",
    "not_before",
    "internal.not_before",
    "internal.avoid_devices",
    "internal.avoid_node",
    "node_id",
    "internal.export_order.requested_at",
)
"""What `read_work` needs of a job's document."""

HELD_FIELDS = (
    "owner",
    "priority",
    "status",
    "node_id",
    "devices",
    "started_at",
    "timeout_seconds",
    "internal.stop",
    "internal.preemption",
    "export_status",
    "internal.export_node_id",
    "internal.export_devices",
)
"""What `read_held` needs of a job's document."""


def read_work(documents: Iterable[Mapping[str, object]]) -> list[Work]:
    """Trainings and exports that wait, by priority, then age."""
    return order(work for document in documents for work in _work(document))


def _work(document: Mapping[str, object]) -> Iterable[Work]:
    if document["status"] == _QUEUED:
        yield _training(document)
    if document["export_status"] == _EXPORT_QUEUED:
        yield _export(document)


def _training(document: Mapping[str, object]) -> Work:
    internal = section(document, "internal")
    gpu_id = cast("str | None", document["gpu_id"])
    pinned = tuple(int(part) for part in gpu_id.split(",")) if gpu_id else ()
    avoid_node = str(internal.get("avoid_node") or document.get("node_id"))
    return Work(
        job_id=str(document["_id"]),
        kind=WorkKind.TRAIN,
        priority=cast("int", document["priority"]),
        queued_at=cast("datetime", document["queued_at"] or document["created_at"]),
        count=len(pinned) or cast("int", document["gpu_count"]),
        pinned=pinned,
        not_before=_later(document.get("not_before"), internal.get("not_before")),
        avoid=tuple((avoid_node, index) for index in _indices(internal.get("avoid_devices"))),
        training_type=str(document["training_type"]),
        owner=cast("str | None", document["owner"]),
        wait_reason=cast("str | None", document["wait_reason"]),
        memory_mib=cast("int | None", document.get("gpu_memory_mib")),
        device_name=cast("str | None", document.get("gpu_name")),
        timeout_s=cast("float | None", document.get("timeout_seconds")),
        after=tuple(cast("Sequence[str]", document.get("after") or ())),
        after_always=document.get("after_policy") == "always",
    )


def _later(*times: object) -> datetime | None:
    """The latest of these times, where there is any."""
    return max((time for time in times if isinstance(time, datetime)), default=None)


def _export(document: Mapping[str, object]) -> Work:
    requested_at = section(section(document, "internal"), "export_order").get("requested_at")
    return Work(
        job_id=str(document["_id"]),
        kind=WorkKind.EXPORT,
        priority=cast("int", document["priority"]),
        queued_at=cast("datetime", requested_at or document["created_at"]),
        count=1,
        training_type=str(document["training_type"]),
        owner=cast("str | None", document["owner"]),
        wait_reason=cast("str | None", document["wait_reason"]),
    )


def waiting_before(job: TrainingJob) -> tuple[Document, Document]:
    """The filters of the trainings and of the exports that are in order before a queued training."""
    return _ahead("queued_at", job), _ahead("internal.export_order.requested_at", job)


def _ahead(time_field: str, job: TrainingJob) -> Document:
    at = plain(job.queued_at or job.created_at)
    return {
        "$or": [
            {"priority": {"$gt": job.priority}},
            {"priority": job.priority, time_field: {"$lt": at}},
            {"priority": job.priority, time_field: at, "_id": {"$lt": job.id}},
        ]
    }


def read_held(documents: Iterable[Mapping[str, object]]) -> list[Held]:
    """Devices given to trainings and exports, by job id."""
    return sorted(
        (held for document in documents for held in _held(document)), key=lambda held: (held.job_id, held.kind)
    )


def _held(document: Mapping[str, object]) -> Iterable[Held]:
    job_id, internal = str(document["_id"]), section(document, "internal")
    owner = cast("str | None", document["owner"])
    node_id, export_node_id = document["node_id"], internal.get("export_node_id")
    if document["status"] in _HOLDS and node_id is not None:
        order = section(internal, "stop") or section(internal, "preemption")
        yield Held(
            job_id,
            WorkKind.TRAIN,
            str(node_id),
            _indices(document["devices"]),
            owner,
            until=_end_of_stop(order) if order else _until(document),
            yields_to=None if order or document["status"] == _STOPPING else cast("int", document["priority"]),
            since=cast("datetime | None", document["started_at"]),
        )
    if document["export_status"] == _EXPORT_RUNNING and export_node_id is not None:
        yield Held(job_id, WorkKind.EXPORT, str(export_node_id), _indices(internal.get("export_devices")), owner)


def _end_of_stop(order: Mapping[str, object]) -> datetime | None:
    return end_of(cast("datetime", order["requested_at"]), cast("float", order["grace_s"]))


def _until(document: Mapping[str, object]) -> datetime | None:
    started_at = cast("datetime | None", document["started_at"])
    return end_of(started_at, cast("float | None", document["timeout_seconds"])) if started_at else None


def _indices(value: object) -> tuple[int, ...]:
    return tuple(cast("Sequence[int]", value or ()))
