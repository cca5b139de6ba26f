"""The job document: the request's fields, and what became of it.

It lives in the collection `jobs` under `_id` = `id`, and is what `job.get` answers. What the daemon alone needs (the
revision that guards writes, the events that wait for the broker, replies to repeat) is in the sub-document `internal`,
which no reply shows.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.json_schema import SkipJsonSchema

from schemas.base import Measure, Measures, Wire
from schemas.enums import ErrorCode, ExportStatus, Phase, TrainingStatus
from schemas.events import OutboxEvent
from schemas.kinds.llm import LLMFields
from schemas.kinds.vlm import VLMFields
from schemas.tracing import TraceContext


class StopOrder(Wire):
    """A stop that was accepted and is not finished."""

    grace_s: float
    """Seconds between SIGTERM and SIGKILL."""
    save: bool
    """Ask for a checkpoint first."""
    requested_at: datetime
    """UTC."""


class Preemption(Wire):
    """The training has to give way: it saves, ends, and waits in the queue again."""

    grace_s: float
    """Seconds between SIGTERM and SIGKILL."""
    requested_at: datetime
    """UTC."""
    reason: str
    """For what, in words for a person."""


class StoppedFor(Wire):
    """Why the daemon itself ended a run: a deadline, silence, a loss that is no number."""

    error_code: ErrorCode
    """The class of the failure that it becomes."""
    message: str
    """What was seen, in words for a person."""


class ExportOrder(Wire):
    """What an export was asked to do."""

    checkpoint: str
    """Absolute path of the checkpoint."""
    merge_lora: bool
    quant_method: str | None = None
    quant_bits: int | None = None
    requested_at: datetime
    """UTC; the export's age among what waits for devices."""
    trace: TraceContext | None = None
    """The span of the command that asked for it."""


class ExportStop(Wire):
    """An order to end an export that runs."""

    grace_s: float
    """Seconds between SIGTERM and SIGKILL."""
    reason: str
    """Who wants it ended, for a person."""
    again: bool
    """It is queued again at its end, for another node or a later start of this one."""


class RememberedReply(Wire):
    """The reply to a command that changed this document, so that the same `message_id` gets it again."""

    message_id: str
    reply: dict[str, object]


class Deletion(Wire):
    """What is kept of a deleted job, so that it stays deleted, and the same command gets the same answer."""

    revision: int
    """Of the document that was deleted."""
    message_id: str | None
    """Of the command that deleted it."""
    message: str
    """The answer's words."""


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
    """The run folder, unique over all jobs: until the job is deleted, or, where it is `output_dir` itself, finished."""
    stop: StopOrder | None = None
    stopped_for: StoppedFor | None = None
    """Set before the daemon itself ends this attempt, so that the next daemon knows why."""
    preemption: Preemption | None = None
    export_order: ExportOrder | None = None
    export_stop: ExportStop | None = None
    export_node_id: str | None = None
    export_devices: tuple[int, ...] = ()
    export_attempt: int = 0
    """Number of exports started; names the export's run."""
    retries_used: int = 0
    not_before: datetime | None = None
    """A retry's earliest start (UTC)."""
    avoid_devices: tuple[int, ...] = ()
    """Devices that the next attempt should not get, because the last one failed on them."""
    avoid_node: str | None = None
    """The node of `avoid_devices`; null in older documents: the node that ran it last."""
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
    export_started_at: datetime | None = None
    """Start of the newest export (UTC)."""
    export_argv: tuple[str, ...] = ()
    """The exact command line of the newest export."""
    master_port: int | None = None
    """Rendezvous port of a multi-device attempt; part of its lease."""
    trace: TraceContext | None = None
    """The span of the command that made or last queued the job; what comes of it belongs to that trace."""


class JobFields(BaseModel):
    """What the daemon adds to a request: where the job stands and what it has reached."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())

    id: str
    """The job's id."""
    status: TrainingStatus = TrainingStatus.PENDING
    """Where the job stands."""
    owner: str | None = None
    """The AMQP user that created the job, as RabbitMQ checked it."""
    node_id: str | None = None
    """The node that runs it or ran it last."""
    devices: tuple[int, ...] = ()
    """Indices of the devices leased to it, or leased last."""
    attempt: int = 0
    """1 for the first start, one more from each time it is queued again (a retry, a resume, a lost node); 0 before."""
    wait_reason: str | None = None
    """Why a queued job waits."""
    created_at: datetime
    """UTC, as all times here."""
    queued_at: datetime | None = None
    """When the job was last put into the queue."""
    started_at: datetime | None = None
    """Start of the newest attempt."""
    completed_at: datetime | None = None
    """When the job became completed, failed or cancelled."""
    process_id: int | None = None
    """Process id of the newest attempt's `swift` process on its node."""
    log_file_path: str | None = None
    """The log file of all attempts, on its node."""
    progress: float = 0.0
    """Percent: 100 x current_step / total_steps; never falling within an attempt, and 100 exactly when completed."""
    phase: Phase | None = None
    """What the newest attempt does, as told by its own output."""
    current_step: int = 0
    """Optimizer steps done."""
    total_steps: int | None = None
    """Null until the training has begun."""
    current_epoch: Measure | None = None
    """Passes over the data done, with fractions."""
    loss: Measure | None = None
    """Newest logged training loss; the store keeps NaN, JSON shows it as null."""
    grad_norm: Measure | None = None
    """Newest logged norm of the gradient."""
    current_learning_rate: Measure | None = None
    """Learning rate of the newest logged step (`learning_rate` is the request's)."""
    token_acc: Measure | None = None
    """Newest logged share of tokens predicted right, 0 to 1."""
    memory_gib: Measure | None = None
    """Device memory as ms-swift reports it, GiB."""
    seconds_per_step: Measure | None = None
    """Mean over the attempt, as ms-swift reports it."""
    estimated_time_remaining: Measure | None = None
    """Seconds, as ms-swift reports it, else steps left x seconds per step."""
    eval_metrics: Measures = {}
    """Values of the newest evaluation by ms-swift's own names."""
    warnings: tuple[str, ...] = ()
    """What is wrong with the running attempt and has not ended it: silence, too little disk. Empty when all is well."""
    final_loss: Measure | None = None
    """The newest logged training loss, set when the job ends."""
    training_time: float | None = None
    """Seconds of the newest attempt, from spawn to exit."""
    checkpoint_path: str | None = None
    """Newest complete checkpoint."""
    best_checkpoint_path: str | None = None
    """The checkpoint with the best evaluation, as transformers' own state names it."""
    run_dir: str | None = None
    """ms-swift's versioned folder below `output_dir`; the same after a resume or a retry."""
    export_status: ExportStatus = ExportStatus.NONE
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
    swift_argv: tuple[str, ...] = ()
    """The exact command line of the newest attempt."""
    internal: SkipJsonSchema[Internal] = Internal()  # no reply shows it


_DOCUMENT = ConfigDict(
    extra="ignore",
    strict=False,
    frozen=True,
    protected_namespaces=(),
    use_attribute_docstrings=True,
    allow_inf_nan=True,  # a diverged training logs NaN, and the store keeps it
    ser_json_inf_nan="null",
    str_max_length=None,  # that bound is for strangers; what the daemon wrote must always be readable
)


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
    """Optimizer step."""
    epoch: Measure | None = None
    """Passes over the data done, with fractions."""
    loss: Measure | None = None
    """Training loss; in JSON null also where it was not a number."""
    grad_norm: Measure | None = None
    """Norm of the gradient before clipping."""
    learning_rate: Measure | None = None
    """Learning rate in use."""
    token_acc: Measure | None = None
    """Share of tokens predicted right, 0 to 1."""
    memory_gib: Measure | None = None
    """Device memory as ms-swift reports it, GiB."""
    seconds_per_step: Measure | None = None
    """Mean over the attempt, as ms-swift reports it."""
    eval: Measures = {}
    """Values of an evaluation at this step (`eval_loss`, ...)."""
    attempt: int = 1
    """The attempt that logged it."""
    time: datetime
    """UTC, when the daemon read it."""
