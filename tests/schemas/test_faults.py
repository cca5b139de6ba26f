"""What a refusal tells: one entry a fault, the field by its name, the input shortened, no secret."""

import json

import pytest
from pydantic import BaseModel, ValidationError

from schemas.enums import ReplyErrorCode
from schemas.replies import MAX_ECHO, MAX_FAULTS, Fault, Reply, ReplyError, faults_of
from tests.schemas.bodies import LLM, command_faults, faults


def test_at_most_so_many() -> None:
    assert len(faults(**{f"x{number}": 1 for number in range(200)})) == MAX_FAULTS


@pytest.mark.parametrize(
    ("value", "echo"),
    [
        ("short", "short"),
        ("x" * 1000, "x" * MAX_ECHO + "..."),
        ({"a": "secret"}, "{...}"),
        (["a", 1], "['a', 1]"),
        (None, None),
        (True, True),
        (7, 7),
        (0.5, 0.5),
        (2**70, "a whole number of 71 bits"),
        (-(2**63), -(2**63)),
    ],
)
def test_the_input_comes_back_short(value: object, echo: object) -> None:
    (fault,) = faults(nonsense=value)
    assert fault.input == echo


def test_an_infinite_input_is_text() -> None:
    (fault,) = command_faults("job.stop", b'{"job_id": "a", "grace_seconds": 1e999}')
    assert fault.input == "inf"
    json.dumps(fault.model_dump(mode="json"), allow_nan=False)


def test_a_secret_does_not_come_back() -> None:
    (fault,) = faults({**LLM, "hub_token": "hf_abc"})
    assert fault.input == "***"


def test_a_long_unknown_name_is_shortened() -> None:
    (fault,) = faults(**{"x" * 100_000: 1})
    assert len(fault.model_dump_json()) < 300
    assert str(fault.loc[0]).startswith("xxx")


def test_a_union_below_a_field_is_named_with_its_tag() -> None:
    body = json.dumps({**LLM, "training_type": "audio"}).encode()
    (fault,) = command_faults("job.create", body)
    assert fault == Fault(loc=("training_type",), message="must be one of 'llm', 'vlm'", input="audio")


def test_a_body_that_is_no_object_has_an_empty_place() -> None:
    (fault,) = command_faults("job.create", b"[1]")
    assert fault.loc == ()


def test_other_models_of_pydantic_are_told_as_well() -> None:
    class Other(BaseModel):
        a: int

    with pytest.raises(ValidationError) as caught:
        Other.model_validate({"a": "x"})
    assert faults_of(caught.value)[0].loc == ("a",)


def test_a_reply_has_a_result_or_an_error() -> None:
    error = ReplyError(code=ReplyErrorCode.INVALID_REQUEST, message="m", details=faults(lora_rank="8"))
    text = Reply(ok=False, command="job.create", error=error).model_dump_json(exclude={"result"})
    assert json.loads(text) == {
        "ok": False,
        "command": "job.create",
        "error": {
            "code": "invalid_request",
            "message": "m",
            "details": [{"loc": ["lora_rank"], "message": "Input should be a valid integer", "input": "8"}],
        },
    }
