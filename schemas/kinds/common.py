"""What every kind of training request shares: the fields of the contract's first table and their bounds.

Bounds are ms-swift's (and transformers') own; where those have none, only what can never work is refused. A kind
adds its own fields and defaults in a file beside this one.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from schemas.base import JobId, Request, Text, Word, refuse_below

MAX_DATASETS = 256
MAX_LABELS = 32
MAX_EXTRA_ARGS = 100
MAX_EXTRA_VALUES = 1000
"""Of one option. Each takes an index and a string more in the document, and a command line has its bound as well."""
MAX_AFTER = 100

_OPTION_NAME = re.compile(r"^[a-z][A-Za-z0-9_]{0,63}$")
LABEL_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")
_SECRET_NAME = re.compile(
    r"(^|_)(token|(secret|password|passwd|api_key|apikey|access_key|credential)s?)(_|$)", re.IGNORECASE
)
"""`token`, but not `tokens`: those are counted (`max_new_tokens`) or added (`new_special_tokens`)."""

ENV_ALLOWED = re.compile(
    r"^((TORCH_)?NCCL_(?![A-Z0-9_]*(PLUGIN|FILE|PATH))[A-Z0-9_]+|GLOO_[A-Z0-9_]+|OMP_NUM_THREADS|MKL_NUM_THREADS|TOKENIZERS_PARALLELISM"
    r"|PYTORCH_CUDA_ALLOC_CONF|PYTORCH_ALLOC_CONF|CUDA_LAUNCH_BLOCKING|CUDA_DEVICE_MAX_CONNECTIONS"
    r"|TORCH_DISTRIBUTED_DEBUG|HF_HOME|HF_HUB_OFFLINE|HF_HUB_CACHE|HF_DATASETS_CACHE|HF_DATASETS_OFFLINE"
    r"|TRANSFORMERS_OFFLINE|MODELSCOPE_CACHE|USE_HF|USE_MODELSCOPE_HUB"
    r"|WANDB_PROJECT|WANDB_MODE|WANDB_NAME|WANDB_DIR|SWANLAB_PROJECT|SWANLAB_MODE"
    r"|MAX_PIXELS|MIN_PIXELS|IMAGE_FACTOR|IMAGE_MAX_TOKEN_NUM|VIDEO_[A-Z0-9_]+|FPS|FPS_MAX_FRAMES|FPS_MIN_FRAMES|NFRAMES"
    r"|SIZE_FACTOR|MAX_NUM|INPUT_SIZE|LOG_LEVEL|SWIFT_DEBUG)$"
)
"""Environment names a request may set: settings of NCCL, torch, the hubs and the vision processors. None loads code (as
NCCL's plug-ins would), names a file to write, chooses devices, changes where programs are found, or says where an
operator's tokens are sent (`HF_ENDPOINT`); secrets come from the daemon's own environment."""


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")


def is_secret_name(name: str) -> bool:
    """Whether an option or field of this name carries a secret (`hub_token`, `api_key`, ...)."""
    return _SECRET_NAME.search(name) is not None


def _whole_as_int(value: float) -> float:
    """Keep 1 as 1, so that documents and command lines show what was sent and not 1.0."""
    return int(value) if abs(value) < 2**53 and value == int(value) else value


def _steps_or_ratio(value: float) -> float:
    if value >= 1 and value != int(value):
        raise ValueError("must be a whole number of steps, or a ratio of all steps between 0 and 1")
    return value


def _read_time(value: object) -> object:
    """The time that a text tells: pydantic would also take seconds since 1970."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value) if _DATE.match(value) else value
    except ValueError:
        return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999") from None


def _no_whole_number(value: object) -> object:
    """A whole number that BSON can't hold must not slip through as a rounded float."""
    if isinstance(value, int):
        raise ValueError("must fit into 64 bits")  # noqa: TRY004  # pydantic makes a fault of a ValueError alone
    return value


def _one_fault(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Say in one sentence what a union takes, and not once for every member of it."""
    try:
        return handler(value)
    except ValidationError:
        raise ValueError(
            "must be text without NUL, true, false, a finite number (whole ones of at most 64 bits), "
            f"or a list of at most {MAX_EXTRA_VALUES} of these"
        ) from None


class _AsSent:
    """Marks a number that reads as it was sent: 50 stays 50, in documents, command lines and JSON; 0.5 stays 0.5.

    Without it a float's serializer would write 50.0. Stands behind the bounds, so that JSON Schemas show those.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        as_it_is = core_schema.plain_serializer_function_ser_schema(lambda value: value, when_used="json")
        return core_schema.no_info_after_validator_function(_whole_as_int, handler(source), serialization=as_it_is)


AS_SENT = _AsSent()
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
PositiveFloat = Annotated[float, Field(gt=0), AS_SENT]
StepsOrRatio = Annotated[float, Field(gt=0, le=2**31 - 1), AfterValidator(_steps_or_ratio), AS_SENT]
"""Whole steps (>= 1), or a ratio of all steps (between 0 and 1), as transformers reads it."""

StoredInt = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
"""What BSON can hold."""
Scalar = bool | StoredInt | Annotated[float, BeforeValidator(_no_whole_number)] | Text
ExtraValue = Annotated[Scalar | Annotated[list[Scalar], Field(max_length=MAX_EXTRA_VALUES)], WrapValidator(_one_fault)]


def _wrong_option(name: str, given: ExtraValue) -> str | None:
    """What is wrong with an entry of `extra_args`, whatever ms-swift is installed."""
    if not _OPTION_NAME.fullmatch(name):
        return f"{name[:80]!r} is not an option name; use the exact name without dashes"
    if is_secret_name(name):
        return (
            "carries a secret, which a stored job must not; "
            "set it in the daemon's environment (HF_TOKEN, MODELSCOPE_API_TOKEN, ...), which trainings inherit"
        )
    if isinstance(given, list) and any(isinstance(item, str) and item.startswith("-") for item in given):
        return "a list's values must not begin with '-'"
    return None


class TrainingFields(Request):
    """The fields of a training request that every kind has; units and origins stand with each."""

    model_path: Word
    """A local folder, or a model id of the hub that ms-swift uses (`--model`)."""
    output_dir: Word
    """Folder for ms-swift's versioned run folder; a relative one resolves below the daemon's work folder."""
    gpu_id: Annotated[str, Field(pattern=r"^[0-9]{1,4}(,[0-9]{1,4})*$")] | None = None
    """Exactly these device indices, comma-separated (`"0"`, `"0,1"`); absent: any `gpu_count`."""
    gpu_count: Annotated[int, Field(ge=1, le=1024)] = 1
    """Number of devices, where `gpu_id` does not name them."""
    gpu_memory_mib: PositiveInt | None = None
    """Total memory that each device must have at least, MiB; a CPU slot has none."""
    gpu_name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f\[\]]{1,256}$")] | None = None
    """What each device's name must match as a whole, in any case: `*` is any text, `?` any one character (`*H100*`)."""
    num_epochs: PositiveFloat = 1
    """Passes over the data (`--num_train_epochs`)."""
    batch_size: PositiveInt = 1
    """Rows per device and step, in training and evaluation."""
    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate (`--learning_rate`)."""
    lora_rank: PositiveInt = 8
    """Rank of the LoRA matrices (`--lora_rank`)."""
    lora_alpha: PositiveInt = 32
    """LoRA scaling (`--lora_alpha`)."""
    target_modules: Word = "all-linear"
    """Modules to adapt, space-separated where several (`--target_modules`)."""
    gradient_accumulation_steps: PositiveInt = 16
    """Batches per optimizer step."""
    eval_steps: StepsOrRatio = 50
    """Steps between evaluations; without a validation set nothing is evaluated."""
    save_steps: StepsOrRatio = 50
    """Steps between checkpoints."""
    save_total_limit: PositiveInt = 2
    """Checkpoints kept; older ones are removed by ms-swift."""
    logging_steps: StepsOrRatio = 5
    """Steps between logged metrics; the first step is always logged."""
    max_length: PositiveInt = 2048
    """Tokens per row, longer ones are handled as ms-swift's `truncation_strategy` says."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1), AS_SENT] = 0.05
    """Share of all steps for learning-rate warm-up."""
    dataloader_num_workers: Annotated[int, Field(ge=0, le=1024)] = 4
    """Data loader processes per training process."""
    torch_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Type of the model's weights."""
    system: Text = "You are a helpful assistant."
    """System prompt."""
    model_author: Word = "swift"
    """Author name for self-cognition data."""
    model_name: Word = "swift-robot"
    """Model name for self-cognition data."""
    model_type: Word | None = None
    """ms-swift's model type, needed where a local folder's name does not tell it."""
    template: Word | None = None
    """ms-swift's chat template, needed with `model_type`."""
    val_datasets: Annotated[list[Word], Field(min_length=1, max_length=MAX_DATASETS)] | None = None
    """Validation data sets (`--val_dataset`)."""
    split_dataset_ratio: Annotated[float, Field(ge=0, lt=1), AS_SENT] | None = None
    """Share of the training data set apart for validation."""
    train_type: Annotated[str, Field(pattern=_OPTION_NAME.pattern)] = "lora"
    """Tuner: `lora`, `full`, `dora`, ... any that the installed ms-swift has."""
    priority: Annotated[int, Field(ge=0, le=10)] = 0
    """0 to 10; higher starts first."""
    after: Annotated[list[JobId], Field(max_length=MAX_AFTER)] = []
    """Ids of jobs that must have ended before this one starts; all must exist when it is created."""
    after_policy: Literal["success", "always"] = "success"
    """`success`: they must have completed, and if one fails, is cancelled or gone, this job fails with
    `dependency_failed`; `always`: however they ended."""
    not_before: Annotated[AwareDatetime, BeforeValidator(_read_time), AfterValidator(_in_utc)] | None = None
    """Earliest start: an ISO 8601 date and time with its offset from UTC (`2026-12-01T22:00:00Z`)."""
    labels: Annotated[
        dict[str, Annotated[Text, Field(max_length=256)]],
        Field(json_schema_extra={"maxProperties": MAX_LABELS, "propertyNames": {"pattern": LABEL_NAME.pattern}}),
    ] = {}
    """Free labels for lists and events; at most 32, names of at most 63 characters, values of 256; none that looks like
    a secret, because everybody sees them."""
    env: Annotated[
        dict[str, Annotated[Text, Field(max_length=4096)]],
        Field(json_schema_extra={"propertyNames": {"pattern": ENV_ALLOWED.pattern}}),
    ] = {}
    """Environment of the training process; names from an allow-list."""
    extra_args: Annotated[
        dict[str, ExtraValue],
        Field(json_schema_extra={"maxProperties": MAX_EXTRA_ARGS, "propertyNames": {"pattern": _OPTION_NAME.pattern}}),
    ] = {}
    """Further `swift sft` options by exact name; checked against the installed ms-swift's own."""
    auto_export: bool = True
    """Merge the adapter into the model after a LoRA run completes."""
    max_retries: Annotated[int, Field(ge=0, le=100)] = 0
    """New attempts after a failure that another attempt may not meet again."""
    timeout_seconds: PositiveFloat | None = None
    """Seconds an attempt may run before it is stopped and failed with `timeout`."""

    @field_validator("after")
    @classmethod
    def _no_job_twice(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("names a job twice")
        return value

    @field_validator("gpu_id")
    @classmethod
    def _no_device_twice(cls, value: str | None) -> str | None:
        if value is not None:
            indices = [int(part) for part in value.split(",")]
            if len(set(indices)) != len(indices):
                raise ValueError("names a device twice")
        return value

    @field_validator("gpu_count")
    @classmethod
    def _count_agrees_with_ids(cls, value: int, info: ValidationInfo) -> int:
        gpu_id: str | None = info.data.get("gpu_id")
        named = len(gpu_id.split(",")) if gpu_id else value
        if value not in (1, named):  # 1 is also the default, which says nothing
            raise ValueError(f"gpu_id names {named} devices, gpu_count says {value}; give one of them")
        return value

    @field_validator("target_modules")
    @classmethod
    def _modules_are_no_options(cls, value: str) -> str:
        if any(part.startswith("-") for part in value.split()):  # each part becomes an argument of its own
            raise ValueError("no module may begin with '-', because ms-swift would read it as an option")
        return value

    @field_validator("labels")
    @classmethod
    def _labels_named(cls, value: dict[str, str]) -> dict[str, str]:
        if len(value) > MAX_LABELS:
            raise ValueError(f"has {len(value)} labels; at most {MAX_LABELS} are allowed")
        bad = [name for name in value if not LABEL_NAME.fullmatch(name)]
        if bad:
            text = f"a label's name must match {LABEL_NAME.pattern}"
            refuse_below("labels", ((name, text, value[name]) for name in bad))
        return value

    @field_validator("env")
    @classmethod
    def _env_allowed(cls, value: dict[str, str]) -> dict[str, str]:
        bad = [name for name in value if not ENV_ALLOWED.fullmatch(name)]
        if bad:
            text = (
                "is not an environment name that a request may set; "
                "an operator can set it in the daemon's own environment, which trainings inherit"
            )
            refuse_below("env", ((name, f"{name[:80]!r} {text}", value[name]) for name in bad))
        return value

    @field_validator("extra_args")
    @classmethod
    def _extra_args_named(cls, value: dict[str, ExtraValue]) -> dict[str, ExtraValue]:
        if len(value) > MAX_EXTRA_ARGS:
            raise ValueError(f"has {len(value)} options; at most {MAX_EXTRA_ARGS} are allowed")
        said = {name: _wrong_option(name, given) for name, given in value.items()}
        bad = [(name, text, value[name]) for name, text in said.items() if text is not None]
        if bad:
            refuse_below("extra_args", bad)
        return value

    @property
    def pinned_devices(self) -> tuple[int, ...]:
        """The device indices that `gpu_id` names; empty where any device will do."""
        return tuple(int(part) for part in self.gpu_id.split(",")) if self.gpu_id else ()

    @property
    def device_count(self) -> int:
        """How many devices the job needs."""
        return len(self.pinned_devices) or self.gpu_count
