"""The commands: their names, their bodies and their results.

`COMMANDS` is the whole list (each adapter has a type of its own, hence `Any`); a new command is one request model, one
result model and one line there.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from schemas.base import JobId, Request, Word
from schemas.enums import TrainingStatus, TrainingType
from schemas.kinds import CREATE_REQUEST
from schemas.kinds.common import Number

COMMANDS_EXCHANGE = "swift.commands"
COMMANDS_QUEUE = "swift.commands"
DEAD_EXCHANGE = "swift.commands.dead"
DEAD_QUEUE = "swift.commands.dead"
EVENTS_EXCHANGE = "swift.events"
ERROR_HEADER = "x-swift-error"
MAX_BODY_BYTES = 1024 * 1024

Offset = Annotated[int, Field(ge=0, le=2**62)]
NodeId = Annotated[Word, Field(max_length=255)]


class Empty(Request):
    """A command without fields."""


class JobRef(Request):
    """A command about one job."""

    job_id: JobId


class StopRequest(JobRef):
    """`job.stop`."""

    grace_seconds: Annotated[Number, Field(ge=0, le=86_400)] | None = None
    """Seconds between SIGTERM and SIGKILL; absent: the daemon's setting."""
    save: bool = False
    """Ask for a checkpoint first, within the grace time."""


class ExportRequest(JobRef):
    """`job.export`."""

    checkpoint: Word = "last"
    """`last`, `best`, or a path below the job's run folder."""
    merge_lora: bool = True
    """Merge the adapter into the model."""
    quant_method: Literal["bnb", "hqq", "eetq", "quanto", "fp8", "awq", "gptq", "gptq_v2"] | None = None
    quant_bits: Literal[1, 2, 3, 4, 8] | None = None


class DeleteRequest(JobRef):
    """`job.delete`."""

    purge_output: bool = False
    """Also remove the run folder."""


def _label_filter(value: str) -> str:
    if not re.match(r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}(=.{0,256})?$", value):
        raise ValueError("must be a label's name, or name=value")
    return value


class ListRequest(Request):
    """`job.list`: newest first."""

    training_type: TrainingType | None = None
    status: TrainingStatus | list[TrainingStatus] | None = None
    owner: Annotated[str, Field(max_length=255)] | None = None
    label: Annotated[str, AfterValidator(_label_filter)] | None = None
    """`name` (any value) or `name=value`."""
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Field(ge=1, le=100)] = 10


class LogsRequest(JobRef):
    """`job.logs`: the tail, or, with `offset`, a byte range cut at whole lines."""

    tail: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Number of last lines."""
    offset: Offset | None = None
    """Byte offset to read from; a `next_offset` of an earlier answer."""
    limit: Annotated[int, Field(ge=1, le=1024 * 1024)] = 65_536
    """Bytes at most, with `offset`."""


class EventsRequest(JobRef):
    """`job.events`: the durable events by sequence."""

    after: Offset = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class MetricsRequest(JobRef):
    """`job.metrics`: the training curve, thinned to `max_points`."""

    after_step: Annotated[int, Field(ge=-1)] | None = None
    max_points: Annotated[int, Field(ge=2, le=10_000)] = 1000


class ParamsRequest(Request):
    """`params.default`."""

    training_type: TrainingType


class NodeRef(Request):
    """A command about one node."""

    node_id: NodeId


COMMANDS: dict[str, TypeAdapter[Any]] = {
    "job.create": CREATE_REQUEST,
    "job.start": TypeAdapter(JobRef),
    "job.stop": TypeAdapter(StopRequest),
    "job.resume": TypeAdapter(JobRef),
    "job.export": TypeAdapter(ExportRequest),
    "job.delete": TypeAdapter(DeleteRequest),
    "job.get": TypeAdapter(JobRef),
    "job.status": TypeAdapter(JobRef),
    "job.list": TypeAdapter(ListRequest),
    "job.logs": TypeAdapter(LogsRequest),
    "job.events": TypeAdapter(EventsRequest),
    "job.metrics": TypeAdapter(MetricsRequest),
    "params.default": TypeAdapter(ParamsRequest),
    "gpu.list": TypeAdapter(Empty),
    "queue.list": TypeAdapter(Empty),
    "node.list": TypeAdapter(Empty),
    "node.drain": TypeAdapter(NodeRef),
    "node.resume": TypeAdapter(NodeRef),
    "system.status": TypeAdapter(Empty),
}
