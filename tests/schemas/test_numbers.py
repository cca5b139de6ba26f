"""Numbers on the wire: whole ones stay whole, and JSON never has a bare NaN."""

import json
import math
from datetime import UTC, datetime

import pytest

from schemas.commands import StopRequest
from schemas.enums import Phase, TrainingType
from schemas.events import CloudEvent, ProgressData
from schemas.jobs import TRAINING_JOB, LLMTrainingJob, MetricPoint, TrainingJob
from schemas.kinds import CREATE_REQUEST
from schemas.replies import JobList, JobMetrics, Reply
from tests.schemas.bodies import LLM, created

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NAN = math.nan


def job(**fields: object) -> TrainingJob:
    """A job's document."""
    return TRAINING_JOB.validate_python({**LLM, "id": "job-1", "created_at": NOW, **fields})


def strict_json(text: str) -> object:
    """JSON as the RFC has it: no NaN, no infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


NUMBERS = ("num_epochs", "learning_rate", "eval_steps", "save_steps", "logging_steps", "timeout_seconds")


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize(("sent", "shown"), [("50", 50), ("50.0", 50), ("0.5", 0.5), ("1e-05", 1e-05), ("1", 1)])
def test_a_number_comes_out_as_it_was_sent(field: str, sent: str, shown: float) -> None:
    body = json.dumps(LLM)[:-1] + f', "{field}": {sent}}}'
    request = CREATE_REQUEST.validate_json(body)
    same = CREATE_REQUEST.validate_python(json.loads(body))
    stored = job(**request.model_dump(exclude={"start"}))
    read_again = TRAINING_JOB.validate_python(stored.model_dump())
    from_json = TRAINING_JOB.validate_json(stored.model_dump_json())
    for model in (request, same, stored, read_again, from_json):
        for values in (model.model_dump(), model.model_dump(mode="json"), json.loads(model.model_dump_json())):
            assert values[field] == shown
            assert type(values[field]) is type(shown)


def test_other_whole_numbers_stay_whole_too() -> None:
    assert json.loads(created(warmup_ratio=0.0).model_dump_json())["warmup_ratio"] == 0
    assert '"split_dataset_ratio":0,' in created(split_dataset_ratio=0).model_dump_json()
    assert (
        StopRequest(job_id="a", grace_seconds=30).model_dump_json() == '{"job_id":"a","grace_seconds":30,"save":false}'
    )
    assert '"num_epochs":1e+17' in created(num_epochs=1e17).model_dump_json().replace("1e17", "1e+17")


def test_a_schema_says_number_and_its_bounds() -> None:
    for mode in ("validation", "serialization"):
        fields = LLMTrainingJob.model_json_schema(mode=mode)["properties"]
        assert {"type": "number", "exclusiveMinimum": 0}.items() <= fields["num_epochs"].items()
        assert {"type": "number", "minimum": 0, "maximum": 1}.items() <= fields["warmup_ratio"].items()


def test_a_document_keeps_nan_and_its_json_has_null() -> None:
    document = job(loss=NAN, final_loss=math.inf, grad_norm=-math.inf, eval_metrics={"eval_loss": NAN, "eval_acc": 0.5})
    kept = document.model_dump()
    assert math.isnan(kept["loss"])
    assert kept["final_loss"] == math.inf
    assert math.isnan(kept["eval_metrics"]["eval_loss"])
    for shown in (document.model_dump(mode="json"), strict_json(document.model_dump_json())):
        assert isinstance(shown, dict)
        assert (shown["loss"], shown["final_loss"], shown["grad_norm"]) == (None, None, None)
        assert shown["eval_metrics"] == {"eval_acc": 0.5}
    assert TRAINING_JOB.validate_json(document.model_dump_json()).loss is None
    assert math.isnan(TRAINING_JOB.validate_python(kept).loss or 0)


def test_a_point_keeps_nan_and_its_json_has_null() -> None:
    point = MetricPoint(step=1, loss=NAN, grad_norm=math.inf, eval={"eval_loss": NAN, "eval_acc": 1.0}, time=NOW)
    assert math.isnan(point.model_dump()["loss"])
    text = JobMetrics(job_id="a", points=(point,)).model_dump_json()
    strict_json(text)
    again = JobMetrics.model_validate_json(text).points[0]
    assert (again.loss, again.grad_norm, again.eval) == (None, None, {"eval_acc": 1.0})


def test_an_event_has_null_for_nan() -> None:
    data = ProgressData(
        job_id="a", training_type=TrainingType.LLM, phase=Phase.TRAINING, loss=NAN, eval={"eval_loss": math.inf}
    )
    event = CloudEvent(id="1", source="s", type="t", subject="a", time=NOW, data=data.model_dump(mode="json"))
    assert event.data["loss"] is None
    assert event.data["eval"] == {}
    strict_json(event.model_dump_json())


def test_no_envelope_lets_nan_through() -> None:
    values: dict[str, object] = {"a": NAN, "b": [math.inf, {"c": -math.inf}]}
    event = CloudEvent(id="1", source="s", type="t", subject="a", time=NOW, data=values)
    reply = Reply(ok=True, command="job.get", result=values)
    page = JobList(jobs=(values,), total=1, page=1, size=1, total_llm=1, total_vlm=0)
    for model in (event, reply, page):
        strict_json(model.model_dump_json())


def test_a_document_may_hold_longer_text_than_a_stranger_may_send() -> None:
    long = "--system=" + "-" * 65_536
    document = job(swift_argv=["swift", long], error_message="x" * 100_000)
    assert TRAINING_JOB.validate_python(document.model_dump()) == document
