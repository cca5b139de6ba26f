"""Text models: what an LLM training request has beside the common fields."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Word
from schemas.enums import TrainingType
from schemas.kinds.common import MAX_DATASETS, PositiveInt, StepsOrRatio, TrainingFields


class LLMFields(TrainingFields):
    """The fields of an LLM training."""

    training_type: Literal[TrainingType.LLM] = TrainingType.LLM
    """The kind of training."""
    datasets: Annotated[list[Word], Field(min_length=1, max_length=MAX_DATASETS)]
    """Data sets: local files or hub ids, each with `#N` for N rows; several are several values of one `--dataset`."""
    lora_rank: PositiveInt = 8
    """Rank of the LoRA matrices (`--lora_rank`)."""
    gradient_accumulation_steps: PositiveInt = 16
    """Batches per optimizer step."""
    eval_steps: StepsOrRatio = 50
    """Steps between evaluations; without a validation set nothing is evaluated."""
    save_steps: StepsOrRatio = 50
    """Steps between checkpoints."""
    max_length: PositiveInt = 2048
    """Tokens per row; longer ones are handled as ms-swift's `truncation_strategy` says."""

    @property
    def dataset_values(self) -> tuple[str, ...]:
        """The values of `--dataset`, in order."""
        return tuple(self.datasets)


class LLMTrainingJobCreateRequest(LLMFields):
    """The body of `job.create` for a text model."""

    training_type: Literal[TrainingType.LLM]  # pyright: ignore[reportGeneralTypeIssues]  # a sender must say it
    """The kind of training."""
    start: bool = False
    """Queue the job at once."""
