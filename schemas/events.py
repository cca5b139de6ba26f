"""The events: CloudEvents 1.0 in structured JSON, one data model a type.

Durable events are numbered per subject, 1, 2, 3, ... without a gap, and keep their `id` however often they are sent.
Progress and log events are not numbered: the curve is stored, and the log is a file. `EVENTS` is the whole list.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas.base import Measure, Measures, Wire
from schemas.enums import DeviceState, ErrorCode, ExportStatus, NodeState, Phase, TrainingStatus, TrainingType
from schemas.tracing import TraceContext

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
    """The job's id."""
    training_type: TrainingType
    """The job's kind."""
    owner: str | None = None
    """The AMQP user that created the job."""
    labels: dict[str, str] = {}
    """The request's labels."""
    attempt: int = 0
    """1 for the first start, one more from each time it is queued again (a retry, a resume, a lost node); 0 before."""


class StatusData(JobData):
    """A job moved: `swift.job.status.v1`, durable."""

    status: TrainingStatus
    """Where the job stands now."""
    previous: TrainingStatus | None = None
    """None when the job was created."""
    reason: str = ""
    """Why, in words for a person."""
    error_code: ErrorCode | None = None
    """On `failed`: why, for a program."""
    error_message: str | None = None
    """On `failed`: the line of the log that a person would look for."""
    exit_code: int | None = None
    """On an end: exit code of the attempt; negative: the signal that ended it."""
    processes_left: int | None = None
    """On `cancelled` after a run: processes of the job that are still there (0); null where nobody could look."""
    memory_left_mib: float | None = None
    """On `cancelled` after a run on GPUs: memory that is still held on its devices (0), MiB; null where not known."""


class CheckpointData(JobData):
    """A checkpoint is complete on disk: `swift.job.checkpoint.v1`, durable."""

    path: str
    """Absolute path on the node."""
    step: int
    """Optimizer step that it was saved at."""


class ExportData(JobData):
    """An export moved: `swift.job.export.v1`, durable."""

    export_status: ExportStatus
    """Where the export stands now."""
    export_completed: bool = False
    """Whether the newest export has ended well."""
    export_path: str | None = None
    """Absolute path of the exported model on the node."""
    export_time: datetime | None = None
    """When the newest export ended (UTC)."""
    export_error: str | None = None
    """Why it failed."""
    checkpoint: str | None = None
    """Absolute path of the checkpoint that is exported."""


class GpuUse(Wire):
    """Use of one leased device while its job trains."""

    index: int
    """The device's index on its node."""
    memory_used_mib: float | None = None
    """MiB in use on the whole device."""
    memory_total_mib: float | None = None
    """MiB."""
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
    """What the training does now."""
    step: int = 0
    """Optimizer steps done."""
    total_steps: int | None = None
    """Null until the training has begun."""
    percent: float = 0.0
    """100 x step / total steps, 0 to 100, never falling within an attempt."""
    epoch: Measure | None = None
    """Passes over the data done, with fractions."""
    loss: Measure | None = None
    """Training loss; null also where it was not a number."""
    grad_norm: Measure | None = None
    """Norm of the gradient before clipping."""
    learning_rate: Measure | None = None
    """Learning rate in use."""
    token_acc: Measure | None = None
    """Share of tokens predicted right, 0 to 1."""
    eval: Measures = {}
    """Values of the newest evaluation by ms-swift's own names (`eval_loss`, ...)."""
    memory_gib: Measure | None = None
    """Device memory as ms-swift reports it, GiB."""
    seconds_per_step: Measure | None = None
    """Mean over the attempt, as ms-swift reports it."""
    elapsed_seconds: Measure | None = None
    """Since the training began, as ms-swift reports it."""
    remaining_seconds: Measure | None = None
    """As ms-swift reports it, else steps left x seconds per step."""
    gpus: tuple[GpuUse, ...] = ()
    """The leased devices; empty on CPU slots."""
    warnings: tuple[str, ...] = ()
    """What is wrong with the attempt and has not ended it: silence, too little disk. Empty when all is well."""


class LogData(JobData):
    """New lines of the log file: `swift.job.log.v1`, at most one per 100 ms a job.

    Where a log grows faster than that, lines are left out and `skipped_bytes` says how many bytes of the range
    `offset` to `next_offset` they took; `job.logs` reads them from the file.
    """

    lines: tuple[str, ...]
    """Whole lines without their ends, secrets masked; a redrawn progress bar counts once."""
    offset: int
    """Byte offset of the first line in the log file."""
    next_offset: int
    """Byte offset behind the last line."""
    skipped_bytes: int = 0
    """Bytes of the range whose lines were left out."""


class DeviceProcess(Wire):
    """A process that uses a device."""

    pid: int
    """Its process id on the node."""
    memory_mib: float | None = None
    """MiB that it holds on the device."""
    user: str | None = None
    """Its user on the node."""
    command: str | None = None
    """Its program's name."""


class Device(Wire):
    """One device of a node, as `gpu.list` and `swift.gpu.v1` show it."""

    node_id: str
    """The node that it is in."""
    index: int
    """NVML's index, or the number of a CPU slot; what `gpu_id` names."""
    uuid: str | None = None
    """NVML's id of the device; null for a CPU slot."""
    name: str
    """Product name."""
    memory_total_mib: float | None = None
    """MiB; null for a CPU slot, as are the other readings."""
    memory_used_mib: float | None = None
    """MiB."""
    memory_free_mib: float | None = None
    """MiB."""
    utilization: float | None = None
    """Percent."""
    temperature: float | None = None
    """Degrees Celsius."""
    power: float | None = None
    """Watt."""
    state: DeviceState = DeviceState.FREE
    """Whether it can be given to a job."""
    reason: str | None = None
    """Why it is not free, where that is not a job."""
    job_id: str | None = None
    """The job that it is leased to."""
    processes: tuple[DeviceProcess, ...] = ()
    """What runs on it now."""
    peers: dict[str, int] = {}
    """Closeness to the node's other devices by index, as NVML tells it: 0 across sockets, 10 within a NUMA node, 20 the
    same host bridge, 30 several PCIe switches, 40 one PCIe switch, 50 the same board, 100 plus the number of links with
    NVLink; absent where unknown."""


class NodeData(Wire):
    """A node, or some of its devices, changed: `swift.node.v1`, durable."""

    node_id: str
    """The node's id."""
    state: NodeState
    """What it does with new work now."""
    reason: str = ""
    """Why, in words for a person."""
    devices: tuple[int, ...] = ()
    """The devices that were drained or brought back, by index; empty where the node itself changed."""


class CloudEvent(Wire):
    """The envelope of every event: CloudEvents 1.0, structured JSON."""

    specversion: Literal["1.0"] = "1.0"
    """Version of CloudEvents."""
    id: str
    """The same however often the event is sent: drop ids that were seen."""
    source: str
    """`/swift-trainer/nodes/{node_id}` of the node that tells."""
    type: str
    """What `data` is; see the table of events."""
    subject: str
    """The job's id, the node's id, or `{node_id}/{index}` of a device."""
    time: datetime
    """When it happened (UTC)."""
    datacontenttype: Literal["application/json"] = "application/json"
    """Type of `data`."""
    sequence: int | None = None
    """Position among the durable events of the subject; absent in events that are not durable."""
    data: dict[str, object]
    """What happened; its model is that of `type`."""


class OutboxEvent(Wire):
    """A durable event as it waits in its document for the broker."""

    sequence: int
    """As in the event."""
    routing_key: str
    event: CloudEvent
    trace: TraceContext | None = None
    """The span of the command that it comes from; in the message's headers."""


@dataclass(frozen=True, slots=True)
class EventKind:
    """One type of event: what it carries and where it is published."""

    data: type[Wire]
    routing_key: str
    """On the exchange `swift.events`; names in braces stand for one word each."""
    durable: bool
    """Numbered, kept and sent again until the broker has it; else it is sent once, or never."""


EVENTS: dict[str, EventKind] = {
    STATUS_TYPE: EventKind(StatusData, "job.{job_id}.status.{status}", durable=True),
    CHECKPOINT_TYPE: EventKind(CheckpointData, "job.{job_id}.checkpoint", durable=True),
    EXPORT_TYPE: EventKind(ExportData, "job.{job_id}.export.{status}", durable=True),
    PROGRESS_TYPE: EventKind(ProgressData, "job.{job_id}.progress", durable=False),
    LOG_TYPE: EventKind(LogData, "job.{job_id}.log", durable=False),
    GPU_TYPE: EventKind(Device, "gpu.{node_id}.{index}", durable=False),
    NODE_TYPE: EventKind(NodeData, "node.{node_id}.{state}", durable=True),
}
