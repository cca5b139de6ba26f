"""The kinds of training jobs: one file each, one line each in `CreateRequest`."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from schemas.kinds.common import ExtraValue, Scalar, TrainingFields
from schemas.kinds.llm import LLMFields, LLMTrainingJobCreateRequest
from schemas.kinds.vlm import VLMFields, VLMTrainingJobCreateRequest

CreateRequest = Annotated[
    LLMTrainingJobCreateRequest | VLMTrainingJobCreateRequest, Field(discriminator="training_type")
]
CREATE_REQUEST: TypeAdapter[LLMTrainingJobCreateRequest | VLMTrainingJobCreateRequest] = TypeAdapter(CreateRequest)

__all__ = [
    "CREATE_REQUEST",
    "CreateRequest",
    "ExtraValue",
    "LLMFields",
    "LLMTrainingJobCreateRequest",
    "Scalar",
    "TrainingFields",
    "VLMFields",
    "VLMTrainingJobCreateRequest",
]
