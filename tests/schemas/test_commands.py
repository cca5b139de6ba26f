"""The bodies of the other commands, the two tables, and the shapes of the results."""

import pytest
from pydantic import BaseModel

from schemas.commands import COMMANDS, RESULTS, ListRequest, QueueRequest
from schemas.enums import TrainingStatus, TrainingType
from schemas.replies import JobAccepted, JobDeleted, JobQueued
from tests.schemas.bodies import command_faults

CONTRACT = [
    *("job.create", "job.start", "job.stop", "job.resume", "job.export", "job.delete"),
    *("job.get", "job.status", "job.list", "job.logs", "job.events", "job.metrics"),
    *("params.default", "gpu.list", "queue.list", "node.list", "node.drain", "node.resume", "node.forget"),
    "system.status",
]
"""The contract's table, written by hand, and the additions to it."""


def accepted(command: str, body: str) -> BaseModel:
    """The request of a body, as it would come over the wire."""
    request = COMMANDS[command].validate_json(body)
    assert isinstance(request, BaseModel)
    return request


def test_every_command_of_the_contract_has_a_request_and_a_result() -> None:
    assert list(COMMANDS) == CONTRACT
    assert list(RESULTS) == CONTRACT


@pytest.mark.parametrize("command", [name for name in CONTRACT if name != "job.create"])
def test_unknown_fields_are_refused_and_named(command: str) -> None:
    assert ("nonsense",) in {fault.loc for fault in command_faults(command, {"nonsense": 1})}


@pytest.mark.parametrize(
    ("fields", "stretch"),
    [
        ({}, None),
        ({"page": 1}, (0, 1000)),
        ({"page": 3, "size": 20}, (40, 60)),
        ({"size": 5}, (0, 5)),
        ({"page": 10}, (9000, 10_000)),
        ({"page": 10_000, "size": 1}, (9999, 10_000)),
    ],
)
def test_a_page_of_the_queue_is_a_stretch_of_it(fields: dict[str, int], stretch: tuple[int, int] | None) -> None:
    assert QueueRequest.model_validate(fields).stretch == stretch


@pytest.mark.parametrize("fields", [{"page": 0}, {"size": 0}, {"size": 1001}, {"page": 11}, {"page": 5001, "size": 2}])
def test_a_page_of_the_queue_is_not_too_far_behind(fields: dict[str, int]) -> None:
    assert command_faults("queue.list", fields)


@pytest.mark.parametrize("command", ["gpu.list", "queue.list", "node.list", "system.status", "job.list"])
def test_these_need_no_field(command: str) -> None:
    accepted(command, "{}")


@pytest.mark.parametrize(
    "command", [name for name in CONTRACT if name.startswith("job.") and name not in ("job.create", "job.list")]
)
@pytest.mark.parametrize("value", ["", "a/b", "a.b", "../x", "a b", "a\n", "-a", "x" * 65, 1, None, "ü"])
def test_job_ids_are_plain_words(command: str, value: object) -> None:
    assert ("job_id",) in {fault.loc for fault in command_faults(command, {"job_id": value})}
    accepted(command, '{"job_id": "7c0f6f0e-2f4b-4a55-9a1e-0d6f7f3c9b11"}')


@pytest.mark.parametrize("command", ["node.drain", "node.resume", "node.forget"])
@pytest.mark.parametrize("value", ["", "-x", "a\x00", "x" * 256, 1, None])
def test_node_ids_are_words(command: str, value: object) -> None:
    assert [fault.loc for fault in command_faults(command, {"node_id": value})] == [("node_id",)]


BAD: list[tuple[str, str, object]] = [
    ("job.stop", "grace_seconds", -1),
    ("job.stop", "grace_seconds", 86_401),
    ("job.stop", "grace_seconds", "30"),
    ("job.stop", "grace_seconds", float("inf")),
    ("job.stop", "save", 1),
    ("job.export", "checkpoint", "--adapters"),
    ("job.export", "merge_lora", "yes"),
    ("job.export", "quant_method", "magic"),
    ("job.export", "quant_bits", 5),
    ("job.export", "quant_bits", "4"),
    ("job.export", "quant_bits", True),
    ("job.export", "quant_bits", 4.0),
    ("job.delete", "purge_output", 1),
    ("job.logs", "tail", 0),
    ("job.logs", "tail", 10_001),
    ("job.logs", "offset", -1),
    ("job.logs", "offset", 10**30),
    ("job.logs", "limit", 0),
    ("job.logs", "limit", 1024 * 1024 + 1),
    ("job.logs", "max_lines", 0),
    ("job.logs", "max_lines", 10_001),
    ("job.events", "after", -1),
    ("job.events", "after", 10**30),
    ("job.events", "limit", 0),
    ("job.events", "limit", 1001),
    ("job.metrics", "after_step", -2),
    ("job.metrics", "after_step", 10**30),
    ("job.metrics", "max_points", 1),
    ("job.metrics", "max_points", 10_001),
]


@pytest.mark.parametrize(("command", "field", "value"), BAD)
def test_fields_are_bounded_and_named(command: str, field: str, value: object) -> None:
    assert [fault.loc for fault in command_faults(command, {"job_id": "a", field: value})] == [(field,)]


@pytest.mark.parametrize(
    ("body", "field", "given", "says"),
    [
        ({"quant_bits": 4}, "quant_bits", 4, "needs a quant_method"),
        ({"quant_method": "bnb"}, "quant_bits", None, "needed with the quant_method 'bnb'"),
        ({"merge_lora": False}, "merge_lora", False, "nothing to export"),
        ({"merge_lora": False, "quant_bits": 4}, "quant_bits", 4, "needs a quant_method"),
    ],
)
def test_an_export_that_asks_for_nothing_whole_is_no_request(
    body: dict[str, object], field: str, given: object, says: str
) -> None:
    (fault,) = command_faults("job.export", {"job_id": "a", **body})
    assert (fault.loc, fault.input) == ((field,), given)
    assert says in fault.message


@pytest.mark.parametrize(
    "body", ['"quant_method": "fp8"', '"quant_method": "bnb", "quant_bits": 4, "merge_lora": false']
)
def test_what_an_export_may_ask_for(body: str) -> None:
    accepted("job.export", '{"job_id": "a", ' + body + "}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("training_type", "LLM"),
        ("status", "done"),
        ("status", ["running", "done"]),
        ("status", 3),
        ("status", ["running"] * 65),
        ("owner", "x" * 256),
        ("label", ""),
        ("label", "=a"),
        ("label", "a b"),
        ("label", "a\n"),
        ("label", "a=" + "x" * 257),
        ("label", 1),
        ("page", 0),
        ("page", 10**30),
        ("size", 0),
        ("size", 101),
        ("size", "10"),
    ],
)
def test_filters_of_a_list_are_checked_and_named(field: str, value: object) -> None:
    assert [fault.loc for fault in command_faults("job.list", {field: value})] == [(field,)]


def test_the_filters_of_a_list() -> None:
    empty = accepted("job.list", "{}")
    assert empty == ListRequest()
    assert isinstance(empty, ListRequest)
    assert (empty.page, empty.size, empty.status) == (1, 10, None)
    one = accepted("job.list", '{"status": "running", "training_type": "vlm", "label": "team"}')
    assert one == ListRequest(status=TrainingStatus.RUNNING, training_type=TrainingType.VLM, label="team")
    several = accepted("job.list", '{"status": ["queued", "running"], "label": "a.b/c=x=\\ny", "size": 100}')
    assert isinstance(several, ListRequest)
    assert several.status == [TrainingStatus.QUEUED, TrainingStatus.RUNNING]
    assert several.label == "a.b/c=x=\ny"


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("job.stop", {"grace_seconds": None, "save": False}),
        ("job.export", {"checkpoint": "last", "merge_lora": True, "quant_method": None, "quant_bits": None}),
        ("job.delete", {"purge_output": False}),
        ("job.logs", {"tail": 100, "offset": None, "limit": 65_536, "max_lines": None}),
        ("job.events", {"after": 0, "limit": 100}),
        ("job.metrics", {"after_step": None, "max_points": 1000}),
    ],
)
def test_defaults_are_those_of_the_contract(command: str, body: dict[str, object]) -> None:
    assert accepted(command, '{"job_id": "a"}').model_dump() == {"job_id": "a", **body}


def test_params_default_needs_a_kind() -> None:
    assert [fault.loc for fault in command_faults("params.default", {})] == [("training_type",)]


def test_results_of_commands_have_exactly_the_fields_of_the_contract() -> None:
    accepted_fields = {"job_id", "status", "message"}
    assert JobAccepted(job_id="a", status="pending", message="m").model_dump().keys() == accepted_fields
    assert JobQueued(job_id="a", status="queued", message="m").model_dump() == {
        "job_id": "a",
        "status": "queued",
        "message": "m",
        "queue_position": None,
    }
    assert JobDeleted(job_id="a", message="m").model_dump().keys() == {"job_id", "message"}
    titles = {command: adapter.json_schema().get("title") for command, adapter in RESULTS.items()}
    assert {titles[name] for name in ("job.create", "job.stop", "job.export")} == {"JobAccepted"}
    assert {titles[name] for name in ("job.start", "job.resume")} == {"JobQueued"}
