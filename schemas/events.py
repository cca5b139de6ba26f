"""The events: CloudEvents 1.0 in structured JSON, one data model a type.

Durable events are numbered per subject, 1, 2, 3, ... without a gap, and keep their `id` however often they are sent.
Progress and log events are not numbered: the curve is stored, and the log is a file.
"""

from datetime import datetime
from typing import Literal

from schemas.base import Wire
from schemas.enums import DeviceState, ErrorCode, ExportStatus, NodeState, Phase, TrainingStatus, TrainingType

STATUS_TYPE = "swift.job.status.v1"
CHECKPOINT_TYPE = "swift.job.checkpoint.v1"
EXPORT_TYPE = "swift.job.export.v1"
PROGRESS_TYPE = "swift.job.progress.v1"
LOG_TYPE = "swift.job.log.v1"
GPU_TYPE = "swift.gpu.v1"
NODE_TYPE = "swift.node.v1"

CONTENT_TYPE = "application/cloudevents+json"


class JobData(Wire):
    """What the data of every event of a job carries."""

    job_id: str
    training_type: TrainingType
    owner: str | None = None
    labels: dict[str, str] = {}
    attempt: int = 0


class StatusData(JobData):
    """A job moved: `swift.job.status.v1`, durable."""

    status: TrainingStatus
    previous: TrainingStatus | None = None
    """None when the job was created."""
    reason: str = ""
    """Why, in words for a person."""
    error_code: ErrorCode | None = None
    error_message: str | None = None
    exit_code: int | None = None
    processes_left: int | None = None
    """On `cancelled` after a run: processes of the job that are still there (0)."""
    memory_left_mib: float | None = None
    """On `cancelled` after a run on GPUs: device memory that the job's processes still hold (0), MiB."""


class CheckpointData(JobData):
    """A checkpoint is complete on disk: `swift.job.checkpoint.v1`, durable."""

    path: str
    step: int


class ExportData(JobData):
    """An export moved: `swift.job.export.v1`, durable."""

    export_status: ExportStatus
    export_completed: bool = False
    export_path: str | None = None
    export_time: datetime | None = None
    export_error: str | None = None
    checkpoint: str | None = None


class GpuUse(Wire):
    """Use of one leased device while its job trains."""

    index: int
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    utilization: float | None = None
    """Percent."""
    temperature: float | None = None
    """Degrees Celsius."""
    power: float | None = None
    """Watt."""


class ProgressData(JobData):
    """A step was logged or the phase changed: `swift.job.progress.v1`.

    `loss`, `grad_norm`, `learning_rate` and `token_acc` are the values that ms-swift logged at `step`; they are null
    in an event that only tells of a phase or of an evaluation.
    """

    phase: Phase
    step: int = 0
    total_steps: int | None = None
    percent: float = 0.0
    epoch: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    token_acc: float | None = None
    eval: dict[str, float] = {}
    memory_gib: float | None = None
    seconds_per_step: float | None = None
    elapsed_seconds: float | None = None
    remaining_seconds: float | None = None
    gpus: tuple[GpuUse, ...] = ()


class LogData(JobData):
    """New lines of the log file: `swift.job.log.v1`, at most one per 100 ms a job.

    Where a log grows faster than that, lines are left out and `skipped_bytes` says how many bytes of the range
    `offset` to `next_offset` they took; `job.logs` reads them from the file.
    """

    lines: tuple[str, ...]
    offset: int
    """Byte offset of the first line in the log file."""
    next_offset: int
    """Byte offset behind the last line."""
    skipped_bytes: int = 0


class DeviceProcess(Wire):
    """A process that uses a device."""

    pid: int
    memory_mib: float | None = None
    user: str | None = None
    command: str | None = None


class Device(Wire):
    """One device of a node, as `gpu.list` and `swift.gpu.v1` show it."""

    node_id: str
    index: int
    uuid: str | None = None
    name: str
    memory_total_mib: float | None = None
    memory_used_mib: float | None = None
    memory_free_mib: float | None = None
    utilization: float | None = None
    """Percent."""
    temperature: float | None = None
    """Degrees Celsius."""
    power: float | None = None
    """Watt."""
    state: DeviceState = DeviceState.FREE
    reason: str | None = None
    """Why it is not free, where that is not a job."""
    job_id: str | None = None
    processes: tuple[DeviceProcess, ...] = ()


class NodeData(Wire):
    """A node changed its state: `swift.node.v1`, durable."""

    node_id: str
    state: NodeState
    reason: str = ""


class CloudEvent(Wire):
    """The envelope of every event."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    sequence: int | None = None
    """Position among the durable events of the subject; absent in events that are not durable."""
    data: dict[str, object]


class OutboxEvent(Wire):
    """A durable event as it waits in its document for the broker."""

    sequence: int
    routing_key: str
    event: CloudEvent
