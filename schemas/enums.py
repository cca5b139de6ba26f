"""The closed vocabularies of the wire contract: statuses, phases, error codes, device and node states.

Each is a string on the wire and in the store. Adding a member is an addition within version 1; removing or renaming
one is a new version.
"""

from enum import StrEnum


class TrainingType(StrEnum):
    """The kind of a job."""

    LLM = "llm"
    VLM = "vlm"


class TrainingStatus(StrEnum):
    """Where a job stands. The moves between them are in `daemon.core.lifecycle`."""

    PENDING = "pending"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ExportStatus(StrEnum):
    """Where a job's export stands, beside the job's own status."""

    NONE = "none"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class Phase(StrEnum):
    """What a training process is doing, as told by its own output."""

    LOADING = "loading"
    PREPROCESSING = "preprocessing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"


class ErrorCode(StrEnum):
    """Why a job failed."""

    OUT_OF_MEMORY = "out_of_memory"
    MODEL_NOT_FOUND = "model_not_found"
    DATASET_ERROR = "dataset_error"
    BAD_ARGUMENT = "bad_argument"
    NCCL_ERROR = "nccl_error"
    HARDWARE_ERROR = "hardware_error"
    DISK_FULL = "disk_full"
    NAN_LOSS = "nan_loss"
    STALLED = "stalled"
    TIMEOUT = "timeout"
    KILLED = "killed"
    NODE_LOST = "node_lost"
    SPAWN_FAILED = "spawn_failed"
    DEPENDENCY_FAILED = "dependency_failed"
    UNKNOWN = "unknown"


class ReplyErrorCode(StrEnum):
    """Why a command was refused."""

    INVALID_JSON = "invalid_json"
    UNKNOWN_COMMAND = "unknown_command"
    INVALID_REQUEST = "invalid_request"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class DeviceState(StrEnum):
    """Whether a device can be given to a job, and if not, why."""

    FREE = "free"
    LEASED = "leased"
    FOREIGN = "foreign"
    UNHEALTHY = "unhealthy"
    DRAINED = "drained"


class NodeState(StrEnum):
    """What a daemon's node does with new work."""

    ONLINE = "online"
    DRAINED = "drained"
    OFFLINE = "offline"
