"""Vision-language models: what a VLM training request has beside the common fields."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Word
from schemas.enums import TrainingType
from schemas.kinds.common import MAX_DATASETS, PositiveFloat, PositiveInt, StepsOrRatio, TrainingFields


class VLMFields(TrainingFields):
    """The fields of a VLM training."""

    training_type: Literal[TrainingType.VLM] = TrainingType.VLM
    """The kind of training."""
    data_path: Word | None = None
    """One data set: a local file or a hub id; or give `datasets`."""
    datasets: Annotated[list[Word], Field(min_length=1, max_length=MAX_DATASETS)] | None = None
    """Several data sets; or give `data_path`."""
    lora_rank: PositiveInt = 16
    gradient_accumulation_steps: PositiveInt = 4
    eval_steps: StepsOrRatio = 100
    save_steps: StepsOrRatio = 100
    max_length: PositiveInt = 8192
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

    @model_validator(mode="after")
    def _one_source_of_data(self) -> Self:
        if (self.data_path is None) == (self.datasets is None):
            raise ValueError("give exactly one of data_path (one data set) and datasets (a list)")
        return self

    @property
    def dataset_values(self) -> tuple[str, ...]:
        """The values of `--dataset`, in order."""
        return tuple(self.datasets) if self.datasets is not None else (self.data_path or "",)


class VLMTrainingJobCreateRequest(VLMFields):
    """The body of `job.create` for a vision-language model."""

    training_type: Literal[TrainingType.VLM]  # pyright: ignore[reportGeneralTypeIssues]  # a sender must say it
    start: bool = False
    """Queue the job at once."""
