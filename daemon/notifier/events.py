"""What rules and wordings may know of an event: its plain facts, taken from the bytes that came from the broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from schemas.enums import ErrorCode, ExportStatus, NodeState, TrainingStatus, TrainingType
from schemas.events import EXPORT_TYPE, NODE_TYPE, STATUS_TYPE, CloudEvent, ExportData, JobData, NodeData, StatusData

MOST_BYTES = 256 * 1024
"""Durable events are a few KB; more than that is none of ours."""
BINDINGS = ("job.*.status.*", "job.*.export.*", "node.*.*")
"""The durable events that somebody may want to be told of."""


class StrangeEventError(Exception):
    """Bytes that are no event of ours; the message says why."""


@dataclass(frozen=True, slots=True)
class Facts:
    """An event as rules and wordings see it; one of `status`, `export_status` and `node_state` is set."""

    event_id: str
    type: str
    subject: str
    """The job's id or the node's."""
    time: datetime
    status: TrainingStatus | None = None
    export_status: ExportStatus | None = None
    node_state: NodeState | None = None
    training_type: TrainingType | None = None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    error_code: ErrorCode | None = None
    values: Mapping[str, object] = field(default_factory=dict[str, object])
    """All members of `data`, for wordings."""


def facts_of(body: bytes) -> Facts | None:
    """The facts of an event; None for a type that nobody is told of. Raises `StrangeEventError`."""
    if len(body) > MOST_BYTES:
        raise StrangeEventError(f"it has {len(body)} bytes, more than {MOST_BYTES}")
    try:
        event = CloudEvent.model_validate_json(body)
        if event.type == STATUS_TYPE:
            data = StatusData.model_validate(event.data)
            return _of_job(event, data, status=data.status, error_code=data.error_code)
        if event.type == EXPORT_TYPE:
            export = ExportData.model_validate(event.data)
            return _of_job(event, export, export_status=export.export_status)
        if event.type == NODE_TYPE:
            node = NodeData.model_validate(event.data)
            return Facts(event.id, event.type, event.subject, event.time, node_state=node.state, values=_values(node))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise StrangeEventError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return None


def _of_job(
    event: CloudEvent,
    data: JobData,
    *,
    status: TrainingStatus | None = None,
    export_status: ExportStatus | None = None,
    error_code: ErrorCode | None = None,
) -> Facts:
    return Facts(
        event.id,
        event.type,
        event.subject,
        event.time,
        status=status,
        export_status=export_status,
        training_type=data.training_type,
        owner=data.owner,
        labels=data.labels,
        error_code=error_code,
        values=_values(data),
    )


def _values(data: JobData | NodeData) -> dict[str, object]:
    return {name: getattr(data, name) for name in type(data).model_fields}
