"""The generated files: that they are up to date, valid in themselves, and that every example validates."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter

from schemas import commands, enums, events, jobs, kinds, nodes, replies
from schemas.commands import COMMANDS, RESULTS
from schemas.enums import TrainingType
from schemas.events import EVENTS, CloudEvent
from schemas.examples import EVENT_EXAMPLES, REQUESTS, RESULT_EXAMPLES, VLM_DOCUMENT
from schemas.generate import FOLDER, generated, main
from schemas.jobs import TRAINING_JOB
from schemas.json_schemas import json_schemas
from schemas.replies import Reply
from tests.schemas.bodies import LLM, VLM, Body

FILES = json_schemas()
KEYWORDS = {
    *("$schema", "$id", "$defs", "$ref", "additionalProperties", "allOf", "anyOf", "const", "default"),
    *("description", "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems"),
    *("maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "oneOf"),
    *("pattern", "properties", "propertyNames", "required", "title", "type"),
}
"""The words of JSON Schema that these schemas use."""


def validator(path: str) -> Any:
    """The validator of a generated schema, formats included."""
    return Draft202012Validator(FILES[path], format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_generated_files_are_up_to_date() -> None:
    assert main(["--check"]) == 0, "run: python -m schemas.generate"


def test_check_names_what_is_stale_and_writing_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], tmp_path) == 0
    assert main([], tmp_path) == 0
    assert "up to date" in capsys.readouterr().out
    (tmp_path / "asyncapi.yaml").write_text("other")
    (tmp_path / "commands/job.get.json").unlink()
    (tmp_path / "commands/job.gone.json").write_text("{}")
    assert main(["--check"], tmp_path) == 1
    told = capsys.readouterr().err
    assert told.splitlines() == [
        "stale: asyncapi.yaml",
        "stale: commands/job.get.json",
        "stale: commands/job.gone.json",
    ]
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(generated())


def test_there_is_one_file_for_each() -> None:
    expected = {
        *(f"commands/{command}.json" for command in COMMANDS),
        *(f"replies/{command}.json" for command in RESULTS),
        *(f"events/{kind}.json" for kind in EVENTS),
        "events/cloudevent.json",
        *(f"documents/{kind}.json" for kind in TrainingType),
    }
    assert expected == FILES.keys()
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()} == {
        *expected,
        "asyncapi.yaml",
    }


@pytest.mark.parametrize("path", FILES)
def test_a_schema_is_valid_and_whole(path: str) -> None:
    schema = FILES[path]
    Draft202012Validator.check_schema(schema)
    for ref in refs(schema):
        assert ref.startswith("#/$defs/")
        assert ref.removeprefix("#/$defs/") in schema["$defs"]
    assert keywords(schema) <= KEYWORDS, "a word that JSON Schema does not know says nothing to a validator"


def keywords(schema: Any) -> set[str]:
    """The words of a schema, without the names of fields."""
    if not isinstance(schema, dict):
        return set()
    words = cast("dict[str, Any]", schema)
    found = set(words)
    for word, value in words.items():
        if word in ("examples", "default", "const", "enum", "required"):
            continue
        named = word in ("properties", "$defs")
        below = list(cast("dict[str, Any]", value).values()) if named else value
        for part in cast("list[Any]", below) if isinstance(below, list) else [below]:
            found |= keywords(part)
    return found


def refs(value: Any) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            if key == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from refs(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from refs(item)


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize("path", [path for path in FILES if path != "events/cloudevent.json"])
def test_examples_validate_against_their_schema(path: str) -> None:
    examples = FILES[path]["examples"]
    assert examples
    for example in examples:
        validator(path).validate(example)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_of_commands_are_taken_and_of_replies_are_real(command: str) -> None:
    for example in REQUESTS[command]:
        COMMANDS[command].validate_json(json.dumps(example))
    result = RESULT_EXAMPLES[command]
    model = RESULTS[command].validate_json(json.dumps(result))
    assert RESULTS[command].dump_python(model, mode="json", exclude={"internal"}) == result
    for example in FILES[f"replies/{command}.json"]["examples"]:
        reply = Reply.model_validate_json(json.dumps(example))
        assert reply.command == command
        assert (reply.result is None) is (reply.error is not None) is (not reply.ok)


@pytest.mark.parametrize("kind", EVENTS)
def test_examples_of_events_are_real(kind: str) -> None:
    for example in EVENT_EXAMPLES[kind]:
        event = CloudEvent.model_validate_json(json.dumps(example))
        assert event.type == kind
        assert (event.sequence is not None) is EVENTS[kind].durable
        data = EVENTS[kind].data.model_validate(event.data)
        assert data.model_dump(mode="json") == event.data
        validator("events/cloudevent.json").validate(example)


@pytest.mark.parametrize(("kind", "document"), [("llm", RESULT_EXAMPLES["job.get"]), ("vlm", VLM_DOCUMENT)])
def test_documents_show_every_field_but_the_daemons_own(kind: str, document: dict[str, object]) -> None:
    job = TRAINING_JOB.validate_json(json.dumps(document))
    assert job.training_type == kind
    assert set(document) == set(FILES[f"documents/{kind}.json"]["properties"])
    assert "internal" not in document
    assert set(type(job).model_fields) - {"internal"} == set(document)


# ---------------------------------------------------------------- schemas agree with models


@pytest.mark.parametrize(
    ("base", "fields"),
    [
        (LLM, {"nonsense": 1}),
        (LLM, {"lora_rank": 0}),
        (LLM, {"lora_rank": "8"}),
        (LLM, {"num_epochs": 0}),
        (LLM, {"model_path": "--x"}),
        (LLM, {"model_path": "a\nb"}),
        (LLM, {"datasets": []}),
        (LLM, {"datasets": [" d"]}),
        (LLM, {"gpu_id": "0,"}),
        (LLM, {"warmup_ratio": 1.1}),
        (LLM, {"labels": {"-": "x"}}),
        (LLM, {"env": {"LD_PRELOAD": "x"}}),
        (LLM, {"env": {"NCCL_NET_PLUGIN": "x"}}),
        (LLM, {"extra_args": {"--x": 1}}),
        (LLM, {"training_type": "audio"}),
        (LLM, {"vit_lr": 1e-5}),
        (VLM, {"datasets": ["d"]}),
        (VLM, {"data_path": None}),
    ],
)
def test_schemas_refuse_what_the_models_refuse(base: Body, fields: Body) -> None:
    assert validator("commands/job.create.json").is_valid(base)
    assert not validator("commands/job.create.json").is_valid({**base, **fields})


def test_a_vlm_schema_takes_either_source_of_data() -> None:
    taken = validator("commands/job.create.json")
    without = {name: value for name, value in VLM.items() if name != "data_path"}
    assert taken.is_valid({**without, "datasets": ["d"], "data_path": None})
    assert taken.is_valid({**VLM, "datasets": None})


MODELS = sorted(
    {
        model
        for module in (commands, events, jobs, kinds, nodes, replies)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__.startswith("schemas.")
    },
    key=lambda model: model.__name__,
)
OWN = {"Internal", "NodeInternal", "OutboxEvent", "ExportOrder", "RememberedReply", "StopOrder"}
"""Models of the daemon's own part, which no schema shows."""


@pytest.mark.parametrize("model", [model for model in MODELS if model.__name__ not in OWN], ids=lambda m: m.__name__)
def test_every_field_on_the_wire_is_described(model: type[BaseModel]) -> None:
    bare = [name for name, field in model.model_fields.items() if not field.description and name != "internal"]
    assert bare == []


def test_enums_are_closed_lists_in_the_schemas() -> None:
    made = TypeAdapter(enums.TrainingStatus).json_schema()
    assert made["enum"] == [str(status) for status in enums.TrainingStatus]
