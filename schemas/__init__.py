"""The wire contract as models: commands, replies, events and job documents.

These classes are the source of truth; the JSON Schemas and the AsyncAPI document in `schemas/generated` are made from
them by `python -m schemas.generate`.
"""

from schemas.enums import (
    DeviceState,
    ErrorCode,
    ExportStatus,
    NodeState,
    Phase,
    ReplyErrorCode,
    TrainingStatus,
    TrainingType,
)
from schemas.jobs import LLMTrainingJob, VLMTrainingJob
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest

__all__ = [
    "DeviceState",
    "ErrorCode",
    "ExportStatus",
    "LLMTrainingJob",
    "LLMTrainingJobCreateRequest",
    "NodeState",
    "Phase",
    "ReplyErrorCode",
    "TrainingStatus",
    "TrainingType",
    "VLMTrainingJob",
    "VLMTrainingJobCreateRequest",
]
