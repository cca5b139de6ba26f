"""The commands: their names, their bodies and their results.

`COMMANDS` and `RESULTS` are the whole lists (each adapter has a type of its own, hence `Any`); a new command is one
request model, one result model and one line in each.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from schemas.base import JobId, Request, Word, refuse_below
from schemas.enums import TrainingStatus, TrainingType
from schemas.jobs import TRAINING_JOB
from schemas.kinds import CREATE_REQUEST
from schemas.kinds.common import AS_SENT, LABEL_NAME
from schemas.replies import (
    GpuList,
    JobAccepted,
    JobDeleted,
    JobEvents,
    JobList,
    JobLogs,
    JobMetrics,
    JobQueued,
    JobStatus,
    NodeAccepted,
    NodeList,
    ParamDefaults,
    QueueList,
    SystemStatus,
)

COMMANDS_EXCHANGE = "swift.commands"
COMMANDS_QUEUE = "swift.commands"
DEAD_EXCHANGE = "swift.commands.dead"
DEAD_QUEUE = "swift.commands.dead"
EVENTS_EXCHANGE = "swift.events"
ERROR_HEADER = "x-swift-error"
USER_HEADER = "x-swift-user"
"""Who sent a command that the daemon puts elsewhere: as a property the broker would check it against the daemon."""
COMMAND_HEADER = "x-swift-command"
"""The name of a query that one daemon sends on to another."""
MAX_BODY_BYTES = 1024 * 1024
MAX_STATUSES = 64
MAX_DEVICES = 1024

Offset = Annotated[int, Field(ge=0, le=2**62)]
NodeId = Annotated[Word, Field(max_length=255)]
DeviceIndex = Annotated[int, Field(ge=0, le=9999)]


class Empty(Request):
    """A command without fields."""


class JobRef(Request):
    """A command about one job."""

    job_id: JobId
    """The job's id, from the result of `job.create`."""


class StopRequest(JobRef):
    """`job.stop`."""

    grace_seconds: Annotated[float, Field(ge=0, le=86_400), AS_SENT] | None = None
    """Seconds between SIGTERM and SIGKILL; absent: the daemon's setting."""
    save: bool = False
    """Ask for a checkpoint first, within the grace time."""


def _whole_number(value: object) -> object:
    if type(value) is not int:  # to a literal of 1, true and 1.0 are equal
        raise ValueError("must be a whole number")
    return value


class ExportRequest(JobRef):
    """`job.export`."""

    checkpoint: Word = "last"
    """`last` (the newest complete one), `best`, or a path below the job's run folder: absolute, or relative to that
    folder or to the one that it lies in (`v0-20261201-220000/checkpoint-16`)."""
    merge_lora: bool = True
    """Merge the adapter into the model."""
    quant_method: Literal["bnb", "hqq", "eetq", "quanto", "fp8", "awq", "gptq", "gptq_v2"] | None = None
    """Quantize by this method; absent: not at all."""
    quant_bits: Annotated[Literal[1, 2, 3, 4, 8], BeforeValidator(_whole_number)] | None = None
    """Bits per weight, with `quant_method`."""

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        method, bits = self.quant_method, self.quant_bits
        if method is None and bits is not None:
            refuse_below("export", [("quant_bits", "needs a quant_method", bits)])
        if method is None and not self.merge_lora:
            said = "there is nothing to export: neither merge_lora nor quant_method is asked for"
            refuse_below("export", [("merge_lora", said, self.merge_lora)])
        if method not in (None, "fp8") and bits is None:
            refuse_below("export", [("quant_bits", f"is needed with the quant_method {method!r}", bits)])
        return self


class DeleteRequest(JobRef):
    """`job.delete`."""

    purge_output: bool = False
    """Also remove the run folder."""


_LABEL_FILTER = re.compile(LABEL_NAME.pattern.rstrip("$") + r"(=[\s\S]{0,256})?$")


def _label_filter(value: str) -> str:
    if not _LABEL_FILTER.fullmatch(value):
        raise ValueError("must be a label's name, or name=value")
    return value


def _one_fault(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """One fault for the field, and not one for each form that it may have."""
    try:
        return handler(value)
    except ValidationError:
        raise ValueError(f"must be one of {', '.join(TrainingStatus)}, or a list of these") from None


class ListRequest(Request):
    """`job.list`: newest first."""

    training_type: TrainingType | None = None
    """Only this kind; absent: all."""
    status: (
        Annotated[
            TrainingStatus | Annotated[list[TrainingStatus], Field(max_length=MAX_STATUSES)], WrapValidator(_one_fault)
        ]
        | None
    ) = None
    """One status or several; absent or an empty list: all."""
    owner: Annotated[str, Field(max_length=255)] | None = None
    """Only jobs of this AMQP user."""
    label: (
        Annotated[str, AfterValidator(_label_filter), Field(json_schema_extra={"pattern": _LABEL_FILTER.pattern})]
        | None
    ) = None
    """`name` (any value) or `name=value`."""
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """1 is the first."""
    size: Annotated[int, Field(ge=1, le=100)] = 10
    """Jobs on a page."""


MOST_LISTED = 10_000
"""How far into the queue `queue.list` looks: all that is before an entry has to be planned, to know its turn."""


class QueueRequest(Request):
    """`queue.list`: without fields the front of the queue, as far as the scheduler looks first."""

    page: Annotated[int, Field(ge=1, le=MOST_LISTED)] | None = None
    """1 is the first, which it is where only a size is given."""
    size: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Entries on a page; 1,000 where only a page is given. `page` x `size` is at most 10,000: `job.list` has what waits
    further behind."""

    @property
    def stretch(self) -> tuple[int, int] | None:
        """Where the page begins and ends in the queue; None: no page was asked for."""
        if self.page is None and self.size is None:
            return None
        size = self.size or 1000
        end = (self.page or 1) * size
        return end - size, end

    @model_validator(mode="after")
    def _not_too_far(self) -> Self:
        if self.stretch is not None and self.stretch[1] > MOST_LISTED:
            raise ValueError(f"page x size is {self.stretch[1]}, at most {MOST_LISTED} can be looked at; use job.list")
        return self


class LogsRequest(JobRef):
    """`job.logs`: the tail, or, with `offset`, a byte range cut at whole lines."""

    tail: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Number of last lines."""
    offset: Offset | None = None
    """Byte offset to read from; a `next_offset` of an earlier answer. One inside a line means the whole line."""
    limit: Annotated[int, Field(ge=1, le=1024 * 1024)] = 65_536
    """Bytes at most, with `offset`; a line that is longer comes alone."""
    max_lines: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Lines at most, with `offset`; the answer's `next_offset` is behind the last of them."""


class EventsRequest(JobRef):
    """`job.events`: the durable events by sequence."""

    after: Offset = 0
    """Only events with a higher sequence number."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    """Events at most."""


class MetricsRequest(JobRef):
    """`job.metrics`: the training curve, thinned to `max_points`."""

    after_step: Annotated[int, Field(ge=-1, le=2**62)] | None = None
    """Only points of later steps."""
    max_points: Annotated[int, Field(ge=2, le=10_000)] = 1000
    """Points at most; first and last are kept."""


class ParamsRequest(Request):
    """`params.default`."""

    training_type: TrainingType
    """The kind whose defaults are asked for."""


class NodeRef(Request):
    """A command about one node, or about some of its devices."""

    node_id: NodeId
    """The node's id, as `node.list` shows it."""
    devices: Annotated[tuple[DeviceIndex, ...], Field(min_length=1, max_length=MAX_DEVICES)] | None = None
    """Only these devices, by index; absent: the node (`node.resume`: and all its drained devices)."""


class ForgetRequest(Request):
    """`node.forget`: a node that is gone for good, and that no job is on any more."""

    node_id: NodeId
    """The node's id, as `node.list` shows it."""


class DrainRequest(NodeRef):
    """`node.drain`."""

    deadline_seconds: Annotated[float, Field(ge=0, le=30 * 86_400)] | None = None
    """Of a whole node: what still runs after so long saves a checkpoint, waits in the queue again and goes on
    elsewhere; absent: its jobs finish, however long that takes."""

    @model_validator(mode="after")
    def _of_a_whole_node(self) -> Self:
        if self.deadline_seconds is not None and self.devices is not None:
            raise ValueError("deadline_seconds goes with a whole node; leave devices out")
        return self


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
    "queue.list": TypeAdapter(QueueRequest),
    "node.list": TypeAdapter(Empty),
    "node.drain": TypeAdapter(DrainRequest),
    "node.resume": TypeAdapter(NodeRef),
    "node.forget": TypeAdapter(ForgetRequest),
    "system.status": TypeAdapter(Empty),
}

QUERIES = frozenset(
    {
        "job.get",
        "job.status",
        "job.list",
        "job.logs",
        "job.events",
        "job.metrics",
        "params.default",
        "gpu.list",
        "queue.list",
        "node.list",
        "system.status",
    }
)
"""The commands that change nothing."""

RESULTS: dict[str, TypeAdapter[Any]] = {
    "job.create": TypeAdapter(JobAccepted),
    "job.start": TypeAdapter(JobQueued),
    "job.stop": TypeAdapter(JobAccepted),
    "job.resume": TypeAdapter(JobQueued),
    "job.export": TypeAdapter(JobAccepted),
    "job.delete": TypeAdapter(JobDeleted),
    "job.get": TRAINING_JOB,
    "job.status": TypeAdapter(JobStatus),
    "job.list": TypeAdapter(JobList),
    "job.logs": TypeAdapter(JobLogs),
    "job.events": TypeAdapter(JobEvents),
    "job.metrics": TypeAdapter(JobMetrics),
    "params.default": TypeAdapter(ParamDefaults),
    "gpu.list": TypeAdapter(GpuList),
    "queue.list": TypeAdapter(QueueList),
    "node.list": TypeAdapter(NodeList),
    "node.drain": TypeAdapter(NodeAccepted),
    "node.resume": TypeAdapter(NodeAccepted),
    "node.forget": TypeAdapter(NodeAccepted),
    "system.status": TypeAdapter(SystemStatus),
}
"""What each command answers in a reply's `result`."""
