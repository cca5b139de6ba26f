"""The replies: one envelope, the results of each command, and errors that name the field."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import ConfigDict, ValidationError

from schemas.base import Measure, Wire
from schemas.enums import ErrorCode, ExportStatus, NodeState, Phase, ReplyErrorCode, TrainingStatus, TrainingType
from schemas.events import CloudEvent, Device
from schemas.jobs import MetricPoint
from schemas.kinds.common import is_secret_name

MAX_FAULTS = 50
MAX_ECHO = 200
MAX_LOC = 80

Loc = tuple[str | int, ...]


class Fault(Wire):
    """One thing that is wrong with a request."""

    loc: tuple[str | int, ...]
    """Where: the field's name, and positions below it."""
    message: str
    """What is wrong, in words for a person."""
    input: object = None
    """What was sent there, shortened to 200 characters."""


class ReplyError(Wire):
    """Why a command was refused."""

    code: ReplyErrorCode
    """For a program."""
    message: str
    """For a person; names the first fault, the job's status, or what is away."""
    details: tuple[Fault, ...] = ()
    """One entry a fault, at most 50."""


class Reply(Wire):
    """The answer to a command: `result` where it was carried out, `error` where it was refused."""

    ok: bool
    """Whether it was carried out."""
    command: str
    """The command's name."""
    result: dict[str, object] | None = None
    """Only where `ok`; its model is that of the command."""
    error: ReplyError | None = None
    """Only where not `ok`."""

    def encoded(self) -> bytes:
        """As it goes over the wire: `result` or `error`, whichever it has."""
        part = {"result"} if self.error is not None else {"error"}
        return self.model_dump_json(exclude=part).encode()


class JobAccepted(Wire):
    """Result of `job.create`, `job.stop` and `job.export`."""

    job_id: str
    """The job's id."""
    status: str
    """The job's status; `exporting` after `job.export`."""
    message: str
    """What happens now, in words for a person."""


class JobQueued(Wire):
    """Result of `job.start` and `job.resume`."""

    job_id: str
    """The job's id."""
    status: str
    """The job's status."""
    message: str
    """What happens now, in words for a person."""
    queue_position: int | None = None
    """By priority and age, 1 is next; `queue.list` has the turns of all owners. Null when the job does not wait."""


class JobDeleted(Wire):
    """Result of `job.delete`."""

    job_id: str
    """The job's id."""
    message: str
    """What was removed, in words for a person."""


class GpuMemory(Wire):
    """Use of one device, as `job.status` shows it."""

    memory_used: float | None = None
    """MiB."""
    memory_total: float | None = None
    """MiB."""
    utilization: float | None = None
    """Percent."""


class JobStatus(Wire):
    """Result of `job.status`."""

    job_id: str
    """The job's id."""
    training_type: TrainingType
    """The kind of training."""
    status: TrainingStatus
    """Where the job stands."""
    attempt: int
    """1 for the first start, one more with every resume or retry; 0 before."""
    wait_reason: str | None = None
    """Why a queued job waits."""
    phase: Phase | None = None
    """What the newest attempt does."""
    warnings: tuple[str, ...] = ()
    """What is wrong with the running attempt and has not ended it."""
    progress: float
    """Percent, 0 to 100."""
    current_step: int
    """Optimizer steps done."""
    total_steps: int | None = None
    """Null until the training has begun."""
    current_epoch: Measure | None = None
    """Passes over the data done, with fractions."""
    loss: Measure | None = None
    """Newest logged training loss; null also where it was not a number."""
    learning_rate: Measure | None = None
    """Learning rate of the newest logged step."""
    gpu_memory_usage: dict[str, GpuMemory] = {}
    """By device index, while the job runs."""
    estimated_time_remaining: Measure | None = None
    """Seconds, as ms-swift reports it, else steps left x seconds per step."""
    created_at: datetime
    """UTC, as all times here."""
    queued_at: datetime | None = None
    """When the job was last put into the queue."""
    started_at: datetime | None = None
    """Start of the newest attempt."""
    completed_at: datetime | None = None
    """When the job became completed, failed or cancelled."""
    export_status: ExportStatus
    """Where the newest export stands, beside the job's own status."""
    export_completed: bool = False
    """Whether the newest export has ended well."""
    export_path: str | None = None
    """Absolute path of the exported model."""
    export_time: datetime | None = None
    """When the newest export ended."""
    export_error: str | None = None
    """Why the newest export failed."""
    error_code: ErrorCode | None = None
    """Why the job failed, for a program."""
    error_message: str | None = None
    """The line of the log that a person would look for."""
    exit_code: int | None = None
    """Exit code of the newest attempt; negative: the signal that ended it."""


class JobList(Wire):
    """Result of `job.list`."""

    jobs: tuple[dict[str, object], ...]
    """Job documents as `job.get` answers each, newest first."""
    total: int
    """Jobs that the filter lets through, on all pages."""
    page: int
    """1 is the first."""
    size: int
    """Jobs on a page at most, as asked."""
    total_llm: int
    """Text jobs that the other filters let through."""
    total_vlm: int
    """Vision-language jobs that the other filters let through."""


class JobLogs(Wire):
    """Result of `job.logs`."""

    job_id: str
    """The job's id."""
    lines: tuple[str, ...]
    """Whole lines without their ends, secrets masked; a redrawn progress bar counts once."""
    offset: int
    """Byte offset of the first line in the log file."""
    next_offset: int
    """Byte offset behind the last line; give it as `offset` to read on."""
    eof: bool
    """No more bytes in the file now; a running job will write more."""


class JobEvents(Wire):
    """Result of `job.events`."""

    job_id: str
    """The job's id."""
    events: tuple[CloudEvent, ...]
    """The job's durable events by sequence."""


class JobMetrics(Wire):
    """Result of `job.metrics`."""

    job_id: str
    """The job's id."""
    points: tuple[MetricPoint, ...]
    """By step, thinned to the number asked for."""


class ParamDefaults(Wire):
    """Result of `params.default`: each field of the create request that has a default, with it."""

    model_config = ConfigDict(extra="allow")

    training_type: TrainingType
    """The kind of training."""


class GpuList(Wire):
    """Result of `gpu.list`."""

    gpus: tuple[Device, ...]
    """The devices of every node."""
    total: int
    """How many."""


class QueuedJob(Wire):
    """One line of `queue.list`."""

    job_id: str
    """The job's id."""
    training_type: TrainingType
    """The kind of training."""
    owner: str | None = None
    """The AMQP user that created the job."""
    work: str
    """`train` or `export`."""
    priority: int
    """0 to 10; higher starts first."""
    position: int
    """1 is next."""
    devices_needed: int
    """How many devices it waits for."""
    gpu_id: str | None = None
    """The device indices that it must have; null where any will do."""
    gpu_memory_mib: int | None = None
    """Total memory that each device must have, MiB."""
    gpu_name: str | None = None
    """What each device's name must match."""
    queued_at: datetime | None = None
    """UTC."""
    not_before: datetime | None = None
    """Earliest start (UTC), by the request or after a failure."""
    after: tuple[str, ...] = ()
    """Jobs that must have ended before."""
    wait_reason: str
    """Why it waits, in words for a person."""
    node_id: str | None = None
    """The node that devices are kept for it on, or that it starts on now."""
    expected_start: datetime | None = None
    """When enough devices are free for it at the latest (UTC), if what it waits for has time limits; else null."""


class QueueList(Wire):
    """Result of `queue.list`."""

    jobs: tuple[QueuedJob, ...]
    """In the order of their turns (priority, fair share, age): who can start, or keeps devices, before the ones behind;
    the first 1,000 of a longer queue, or the page that was asked for."""
    total: int
    """How many wait in all."""


class Disk(Wire):
    """Room for what a node's daemon and its trainings write."""

    path: str
    """A folder of the node: the daemon's state, or its work folder."""
    free_mib: float
    """Space that is free there, MiB."""


class Node(Wire):
    """One daemon's node."""

    node_id: str
    """The node's id."""
    state: NodeState
    """What it does with new work."""
    reason: str = ""
    """Why it is in that state."""
    last_heartbeat: datetime
    """When its daemon last wrote (UTC)."""
    started_at: datetime
    """When its daemon started (UTC)."""
    lost_after_seconds: float | None = None
    """Silent for so long, it is lost and its jobs go to other nodes; absent: they stay with it."""
    clock_skew_seconds: float | None = None
    """How far its clock is behind that of the node that answers, as far as is known; null for that node itself."""
    store_skew_seconds: float | None = None
    """How far the store's clock is behind its own, by its newest heartbeat; null where that took too long to tell."""
    versions: dict[str, str] = {}
    """By program: `swift-trainer`, `ms-swift`."""
    devices: tuple[Device, ...] = ()
    """As last read."""
    disks: tuple[Disk, ...] = ()
    """Its folders, as far as their room can be told; trainings' output folders may lie elsewhere."""


class NodeList(Wire):
    """Result of `node.list`."""

    nodes: tuple[Node, ...]
    """All that were ever seen, but for those that were forgotten and have sent no heartbeat since."""
    total: int
    """How many."""


class NodeAccepted(Wire):
    """Result of `node.drain`, `node.resume` and `node.forget`."""

    node_id: str
    """The node's id."""
    state: NodeState
    """What it does with new work."""
    message: str
    """What happens now, in words for a person."""


class SystemStatus(Wire):
    """Result of `system.status`: `ok` or what is wrong, a part each."""

    status: str
    """`ok`, or `degraded` where a part is not."""
    broker: str
    """RabbitMQ: `ok`, or what is wrong."""
    store: str
    """MongoDB: `ok`, or what is wrong."""
    devices: str
    """The devices: `ok`, or what is wrong."""
    swift: str
    """The installed ms-swift: `ok`, or what is wrong."""
    node_id: str
    """The node that answers."""
    versions: dict[str, str]
    """By program: `swift-trainer`, `ms-swift`."""
    counts: dict[str, int]
    """Jobs by status."""
    time: datetime | None = None
    """The clock of the node that answers (UTC)."""
    store_skew_seconds: float | None = None
    """How far the store's clock is behind that; null where it took too long to tell."""


def faults_of(error: ValidationError, *, skip: int = 0) -> tuple[Fault, ...]:
    """The faults of a failed validation, one entry each, at most 50.

    `skip` drops that many leading parts of each location: a union's tag is no field of the sender's.
    """
    faults: list[Fault] = []
    for item in error.errors(include_url=False)[:MAX_FAULTS]:
        loc, message, given = tuple(item["loc"][skip:]), item["msg"].removeprefix("Value error, "), item["input"]
        if item["type"].startswith("union_tag_"):  # pydantic puts it at the object; the sender knows it as a field
            loc, message, given = _wrong_tag(loc, given, item.get("ctx") or {})
        elif item["type"] == "extra_forbidden":
            message = "is not a field here"
        secret = any(isinstance(part, str) and is_secret_name(part) for part in loc)
        faults.append(Fault(loc=tuple(map(_short, loc)), message=message, input="***" if secret else echo(given)))
    return tuple(faults)


def first_of(faults: Sequence[Fault]) -> str:
    """The message of a refusal: its first fault, with its place."""
    where = ".".join(map(str, faults[0].loc)) or "the body"
    return f"{where}: {faults[0].message}"


def _wrong_tag(loc: Loc, given: object, context: Mapping[str, object]) -> tuple[Loc, str, object]:
    """Location, message and input of a union whose tag is missing or unknown: those of the tag's own field."""
    name = str(context.get("discriminator", "")).strip("'")
    value = given.get(name) if isinstance(given, Mapping) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    expected = ", ".join(repr(tag) for tag in re.findall(r"'([^']*)'", str(context.get("expected_tags", ""))))
    message = f"must be one of {expected}" if expected else "Field required"
    return (*loc, name), message, value  # pyright: ignore[reportUnknownVariableType]


def _short(part: str | int) -> str | int:
    """A part of a location; an unknown field's name is the sender's, and may be of any length."""
    return part[:MAX_LOC] + "..." if isinstance(part, str) and len(part) > MAX_LOC else part


def echo(value: object) -> object:
    """What was sent, short enough for a reply."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, dict):
        return "{...}"
    return shortened(value if isinstance(value, str) else repr(value))


def shortened(text: str) -> str:
    """A text of the sender's, short enough for a reply."""
    return text if len(text) <= MAX_ECHO else text[:MAX_ECHO] + "..."
