"""Smallest create requests, and what is wrong with a body, for the tests of this room."""

import json

import pytest
from pydantic import ValidationError

from schemas.commands import COMMANDS
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.replies import Fault, faults_of

Body = dict[str, object]

LLM: Body = {"training_type": "llm", "model_path": "m", "datasets": ["d"], "output_dir": "o"}
VLM: Body = {"training_type": "vlm", "model_path": "m", "data_path": "d", "output_dir": "o"}


def created(base: Body = LLM, /, **fields: object) -> LLMTrainingJobCreateRequest | VLMTrainingJobCreateRequest:
    """The create request of a body, as it would come over the wire."""
    request = COMMANDS["job.create"].validate_json(json.dumps({**base, **fields}))
    assert isinstance(request, LLMTrainingJobCreateRequest | VLMTrainingJobCreateRequest)
    return request


def faults(base: Body = LLM, /, **fields: object) -> tuple[Fault, ...]:
    """What is wrong with a create request."""
    return command_faults("job.create", {**base, **fields}, skip=1)


def command_faults(command: str, body: object, *, skip: int = 0) -> tuple[Fault, ...]:
    """What is wrong with a command's body, as it would come over the wire (`bytes`: exactly these)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ValidationError) as caught:
        COMMANDS[command].validate_json(data)
    return faults_of(caught.value, skip=skip)
