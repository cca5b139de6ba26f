"""Vision-language models: what a VLM training request has beside the common fields."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from schemas.base import Word
from schemas.enums import TrainingType
from schemas.kinds.common import MAX_DATASETS, PositiveFloat, PositiveInt, StepsOrRatio, TrainingFields

_ONE_SOURCE: JsonDict = {
    "oneOf": [
        {"required": ["data_path"], "properties": {"data_path": {"type": "string"}}},
        {"required": ["datasets"], "properties": {"datasets": {"type": "array"}}},
    ]
}
"""For the JSON Schema: what `_one_source_of_data` checks here."""


class VLMFields(TrainingFields):
    """The fields of a VLM training."""

    model_config = ConfigDict(json_schema_extra=_ONE_SOURCE)

    training_type: Literal[TrainingType.VLM] = TrainingType.VLM
    """The kind of training."""
    data_path: Word | None = None
    """One data set: a local file or a hub id; or give `datasets`."""
    datasets: Annotated[
        Annotated[list[Word], Field(min_length=1, max_length=MAX_DATASETS)] | None, Field(validate_default=True)
    ] = None
    """Several data sets; or give `data_path`."""
    lora_rank: PositiveInt = 16
    """Rank of the LoRA matrices (`--lora_rank`)."""
    gradient_accumulation_steps: PositiveInt = 4
    """Batches per optimizer step."""
    eval_steps: StepsOrRatio = 100
    """Steps between evaluations; without a validation set nothing is evaluated."""
    save_steps: StepsOrRatio = 100
    """Steps between checkpoints."""
    max_length: PositiveInt = 8192
    """Tokens per row; longer ones are handled as ms-swift's `truncation_strategy` says."""
    vit_lr: PositiveFloat = 1e-5
    """Learning rate of the vision tower (`--vit_lr`)."""
    aligner_lr: PositiveFloat = 1e-5
    """Learning rate of the aligner (`--aligner_lr`)."""
    freeze_vit: bool = True
    """Keep the vision tower as it is; the default is ms-swift's."""
    freeze_aligner: bool = True
    """Keep the aligner as it is; the default is ms-swift's."""
    freeze_llm: bool = False
    """Keep the language model as it is; the default is ms-swift's."""
    max_pixels: PositiveInt | None = None
    """Largest image in pixels, larger ones are scaled down; also the environment's `MAX_PIXELS`."""
    dataset_num_proc: PositiveInt = 4
    """Processes that prepare the data set."""
    deepspeed: Word | None = None
    """A DeepSpeed preset (`zero2`, `zero3`, ...) or a configuration file."""
    external_plugins: Annotated[list[Word], Field(min_length=1, max_length=16)] | None = None
    """Python files that ms-swift imports: only where the operator allows it."""
    save_only_model: bool = False
    """Save weights alone, so that the run can't be resumed."""

    @field_validator("datasets")
    @classmethod
    def _one_source_of_data(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        if "data_path" in info.data and (info.data["data_path"] is None) == (value is None):
            raise ValueError("give exactly one of data_path (one data set) and datasets (a list)")
        return value

    @property
    def dataset_values(self) -> tuple[str, ...]:
        """The values of `--dataset`, in order."""
        return tuple(self.datasets) if self.datasets is not None else (self.data_path or "",)


class VLMTrainingJobCreateRequest(VLMFields):
    """The body of `job.create` for a vision-language model."""

    training_type: Literal[TrainingType.VLM]  # pyright: ignore[reportGeneralTypeIssues]  # a sender must say it
    """The kind of training."""
    start: bool = False
    """Queue the job at once."""
