"""The replies: one envelope, the results of each command, and errors that name the field."""

from datetime import datetime

from pydantic import ValidationError

from schemas.base import Wire
from schemas.enums import ExportStatus, NodeState, Phase, ReplyErrorCode, TrainingStatus, TrainingType
from schemas.events import CloudEvent, Device
from schemas.jobs import MetricPoint
from schemas.kinds.common import is_secret_name

MAX_FAULTS = 50
MAX_ECHO = 200


class Fault(Wire):
    """One thing that is wrong with a request."""

    loc: tuple[str | int, ...]
    """Where: the field's name, and positions below it."""
    message: str
    input: object = None
    """What was sent there, shortened to 200 characters."""


class ReplyError(Wire):
    """Why a command was refused."""

    code: ReplyErrorCode
    message: str
    details: tuple[Fault, ...] = ()


class Reply(Wire):
    """The answer to a command: `result` where it was carried out, `error` where it was refused."""

    ok: bool
    command: str
    result: dict[str, object] | None = None
    error: ReplyError | None = None


class JobAccepted(Wire):
    """Result of the commands that change a job."""

    job_id: str
    status: str
    message: str
    queue_position: int | None = None
    """1 is next; null when the job does not wait."""


class JobDeleted(Wire):
    """Result of `job.delete`."""

    job_id: str
    message: str


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
    training_type: TrainingType
    status: TrainingStatus
    attempt: int
    wait_reason: str | None = None
    phase: Phase | None = None
    progress: float
    current_step: int
    total_steps: int | None = None
    current_epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    """Learning rate of the newest logged step."""
    gpu_memory_usage: dict[str, GpuMemory] = {}
    """By device index."""
    estimated_time_remaining: float | None = None
    """Seconds."""
    created_at: datetime
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    export_status: ExportStatus
    export_completed: bool = False
    export_path: str | None = None
    export_time: datetime | None = None
    export_error: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    exit_code: int | None = None


class JobList(Wire):
    """Result of `job.list`."""

    jobs: tuple[dict[str, object], ...]
    """Job documents, newest first."""
    total: int
    page: int
    size: int
    total_llm: int
    total_vlm: int


class JobLogs(Wire):
    """Result of `job.logs`."""

    job_id: str
    lines: tuple[str, ...]
    offset: int
    next_offset: int
    eof: bool
    """No more bytes in the file now; a running job will write more."""


class JobEvents(Wire):
    """Result of `job.events`."""

    job_id: str
    events: tuple[CloudEvent, ...]


class JobMetrics(Wire):
    """Result of `job.metrics`."""

    job_id: str
    points: tuple[MetricPoint, ...]


class GpuList(Wire):
    """Result of `gpu.list`."""

    gpus: tuple[Device, ...]
    total: int


class QueuedJob(Wire):
    """One line of `queue.list`."""

    job_id: str
    training_type: TrainingType
    owner: str | None = None
    work: str
    """`train` or `export`."""
    priority: int
    position: int
    """1 is next."""
    devices_needed: int
    gpu_id: str | None = None
    queued_at: datetime | None = None
    wait_reason: str


class QueueList(Wire):
    """Result of `queue.list`."""

    jobs: tuple[QueuedJob, ...]
    total: int


class Node(Wire):
    """One daemon's node."""

    node_id: str
    state: NodeState
    reason: str = ""
    last_heartbeat: datetime
    started_at: datetime
    versions: dict[str, str] = {}
    devices: tuple[Device, ...] = ()


class NodeList(Wire):
    """Result of `node.list`."""

    nodes: tuple[Node, ...]
    total: int


class NodeAccepted(Wire):
    """Result of `node.drain` and `node.resume`."""

    node_id: str
    state: NodeState
    message: str


class SystemStatus(Wire):
    """Result of `system.status`: `ok` or what is wrong, a part each."""

    status: str
    broker: str
    store: str
    devices: str
    swift: str
    node_id: str
    versions: dict[str, str]
    counts: dict[str, int]
    """Jobs by status."""


def faults_of(error: ValidationError, *, skip: int = 0) -> tuple[Fault, ...]:
    """The faults of a failed validation, one entry each, at most 50.

    `skip` drops that many leading parts of each location: a union's tag is no field of the sender's.
    """
    faults: list[Fault] = []
    for item in error.errors(include_url=False, include_context=False)[:MAX_FAULTS]:
        loc = tuple(item["loc"][skip:])
        message = item["msg"].removeprefix("Value error, ")
        secret = any(isinstance(part, str) and is_secret_name(part) for part in loc)
        faults.append(Fault(loc=loc, message=message, input="***" if secret else _echo(item["input"])))
    return tuple(faults)


def _echo(value: object) -> object:
    """What was sent, short enough for a reply."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return "{...}"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_ECHO else text[:MAX_ECHO] + "..."
