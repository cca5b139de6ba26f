"""The job document: the request's fields, and what became of it.

It lives in the collection `jobs` under `_id` = `id`, and is what `job.get` answers. What the daemon alone needs (the
revision that guards writes, the events that wait for the broker, replies to repeat) is in the sub-document `internal`,
which no reply shows.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.base import Wire
from schemas.enums import ErrorCode, ExportStatus, Phase, TrainingStatus
from schemas.events import OutboxEvent
from schemas.kinds.llm import LLMFields
from schemas.kinds.vlm import VLMFields


class StopOrder(Wire):
    """A stop that was accepted and is not finished."""

    grace_s: float
    """Seconds between SIGTERM and SIGKILL."""
    save: bool
    """Ask for a checkpoint first."""
    requested_at: datetime
    """UTC."""


class ExportOrder(Wire):
    """What an export was asked to do."""

    checkpoint: str
    """Absolute path of the checkpoint."""
    merge_lora: bool
    quant_method: str | None = None
    quant_bits: int | None = None
    requested_at: datetime
    """UTC; the export's age among what waits for devices."""
    stop: bool = False
    """The daemon was told to end this export (its job is being deleted)."""


class RememberedReply(Wire):
    """The reply to a command that changed this document, so that the same `message_id` gets it again."""

    message_id: str
    reply: dict[str, object]


class Internal(Wire):
    """The daemon's own part of a job document."""

    revision: int = 0
    """Goes up by one with every guarded write."""
    sequence: int = 0
    """Number of the newest durable event."""
    outbox: tuple[OutboxEvent, ...] = ()
    """Durable events that are not yet published, by sequence."""
    replies: tuple[RememberedReply, ...] = ()
    """The newest replies to commands that changed this document."""
    output_lock: str | None = None
    """The run folder while the job is not finished; unique over all jobs."""
    stop: StopOrder | None = None
    export_order: ExportOrder | None = None
    export_node_id: str | None = None
    export_devices: tuple[int, ...] = ()
    export_attempt: int = 0
    """Number of exports started; names the export's run."""
    retries_used: int = 0
    not_before: datetime | None = None
    """A retry's earliest start (UTC)."""
    avoid_devices: tuple[int, ...] = ()
    """Devices that the next attempt should not get, because the last one failed on them."""
    resume_from: str | None = None
    """Checkpoint that the next attempt starts from."""
    log_offset: int = 0
    """Bytes of the log file that are fully accounted for in this document."""
    metrics_offset: int = 0
    """Bytes of `logging.jsonl` that are fully accounted for."""
    attempt_offset: int = 0
    """Size of the log file when the attempt began: where a failure's evidence starts."""
    last_log_at: datetime | None = None
    checkpoint_step: int = 0
    """Step of the newest checkpoint that was told of in this attempt."""
    export_argv: tuple[str, ...] = ()
    """The exact command line of the newest export."""
    master_port: int | None = None
    """Rendezvous port of a multi-device attempt; part of its lease."""


class JobFields(BaseModel):
    """What the daemon adds to a request: where the job stands and what it has reached."""

    id: str
    """The job's id."""
    status: TrainingStatus = TrainingStatus.PENDING
    owner: str | None = None
    """The AMQP user that created the job, as RabbitMQ checked it."""
    node_id: str | None = None
    """The node that runs it or ran it last."""
    devices: tuple[int, ...] = ()
    """Indices of the devices leased to it, or leased last."""
    attempt: int = 0
    """1 for the first start, one more with every resume or retry; 0 before."""
    wait_reason: str | None = None
    """Why a queued job waits."""
    created_at: datetime
    """UTC, as all times here."""
    queued_at: datetime | None = None
    started_at: datetime | None = None
    """Start of the newest attempt."""
    completed_at: datetime | None = None
    """When the job became completed, failed or cancelled."""
    process_id: int | None = None
    """Process id of the newest attempt's `swift` process on its node."""
    log_file_path: str | None = None
    progress: float = 0.0
    """Percent, 0 to 100."""
    phase: Phase | None = None
    current_step: int = 0
    total_steps: int | None = None
    current_epoch: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    current_learning_rate: float | None = None
    """Learning rate of the newest logged step (`learning_rate` is the request's)."""
    token_acc: float | None = None
    memory_gib: float | None = None
    """Device memory as ms-swift reports it, GiB."""
    seconds_per_step: float | None = None
    estimated_time_remaining: float | None = None
    """Seconds."""
    eval_metrics: dict[str, float] = {}
    """Values of the newest evaluation."""
    final_loss: float | None = None
    """The newest logged training loss, set when the job ends."""
    training_time: float | None = None
    """Seconds of the newest attempt, from spawn to exit."""
    checkpoint_path: str | None = None
    """Newest complete checkpoint."""
    best_checkpoint_path: str | None = None
    run_dir: str | None = None
    """ms-swift's versioned folder below `output_dir`; the same after a resume or a retry."""
    export_status: ExportStatus = ExportStatus.NONE
    export_completed: bool = False
    export_path: str | None = None
    export_time: datetime | None = None
    """When the newest export ended."""
    export_error: str | None = None
    error_code: ErrorCode | None = None
    error_message: str | None = None
    exit_code: int | None = None
    """Exit code of the newest attempt; negative: the signal that ended it."""
    swift_argv: tuple[str, ...] = ()
    """The exact command line of the newest attempt."""
    internal: Internal = Internal()


_DOCUMENT = ConfigDict(extra="ignore", strict=False, frozen=True, protected_namespaces=(), allow_inf_nan=True)


class LLMTrainingJob(LLMFields, JobFields):
    """The document of a text model's job."""

    model_config = _DOCUMENT


class VLMTrainingJob(VLMFields, JobFields):
    """The document of a vision-language model's job."""

    model_config = _DOCUMENT


TrainingJob = LLMTrainingJob | VLMTrainingJob
TRAINING_JOB: TypeAdapter[LLMTrainingJob | VLMTrainingJob] = TypeAdapter(
    Annotated[TrainingJob, Field(discriminator="training_type")]
)


class MetricPoint(Wire):
    """One logged step of the training curve."""

    step: int
    epoch: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    token_acc: float | None = None
    memory_gib: float | None = None
    seconds_per_step: float | None = None
    eval: dict[str, float] = {}
    """Values of an evaluation at this step (`eval_loss`, ...)."""
    attempt: int = 1
    time: datetime
    """UTC, when the daemon read it."""
