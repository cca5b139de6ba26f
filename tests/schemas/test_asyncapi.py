"""The AsyncAPI document: its structure, that every reference resolves, and that all of the contract is in it."""

import json
import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from schemas.commands import COMMANDS
from schemas.events import EVENTS
from schemas.generate import FOLDER
from schemas.yaml_text import to_yaml
from tests.schemas.test_commands import CONTRACT
from tests.schemas.test_generated import refs

Spec = dict[str, Any]

ROUTING_KEYS = {
    "swift.job.status.v1": "job.{job_id}.status.{status}",
    "swift.job.checkpoint.v1": "job.{job_id}.checkpoint",
    "swift.job.export.v1": "job.{job_id}.export.{status}",
    "swift.job.progress.v1": "job.{job_id}.progress",
    "swift.job.log.v1": "job.{job_id}.log",
    "swift.gpu.v1": "gpu.{node_id}.{index}",
    "swift.node.v1": "node.{node_id}.{state}",
}
"""The contract's table, written by hand."""
DURABLE = {"swift.job.status.v1", "swift.job.checkpoint.v1", "swift.job.export.v1", "swift.node.v1"}


@pytest.fixture(scope="module", name="spec")
def read_spec() -> Spec:
    """The document, as any YAML library reads it."""
    found: Spec = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text(encoding="utf-8"))
    return found


def resolve(spec: Spec, ref: str) -> Any:
    """What a reference points to."""
    assert ref.startswith("#/"), ref
    value: Any = spec
    for part in ref[2:].split("/"):
        value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


def test_the_top_is_that_of_asyncapi_3(spec: Spec) -> None:
    assert spec["asyncapi"] == "3.0.0"
    assert spec.keys() == {"asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components"}
    assert spec["info"].keys() >= {"title", "version"}
    for server in spec["servers"].values():
        assert server.keys() >= {"host", "protocol"}
        assert "://" not in server["host"]
    assert {server["protocol"] for server in spec["servers"].values()} == {"amqp", "amqps"}


def test_every_reference_resolves(spec: Spec) -> None:
    found = list(refs(spec))
    assert len(found) > 100
    for ref in found:
        resolve(spec, ref)


def test_channels_have_addresses_messages_and_bindings(spec: Spec) -> None:
    for name, channel in spec["channels"].items():
        assert channel.keys() >= {"address", "description", "messages", "bindings"}, name
        amqp = channel["bindings"]["amqp"]
        assert amqp["is"] in ("queue", "routingKey")
        assert ("queue" in amqp) is (amqp["is"] == "queue")
        words = set(re.findall(r"{(\w+)}", channel["address"] or ""))
        assert words == set(channel.get("parameters", {})), name


def test_operations_have_an_action_a_channel_and_its_messages(spec: Spec) -> None:
    for name, operation in spec["operations"].items():
        assert operation["action"] in ("send", "receive"), name
        channel = operation["channel"]["$ref"]
        assert re.fullmatch(r"#/channels/[\w.-]+", channel)
        for message in operation["messages"]:
            assert message["$ref"].startswith(channel + "/messages/"), "an operation names its channel's own messages"
        if "reply" in operation:
            reply = operation["reply"]
            assert reply["channel"]["$ref"] == "#/channels/replies"
            assert reply["address"]["location"].startswith("$message.header#/")
            for message in reply["messages"]:
                assert message["$ref"].startswith("#/channels/replies/messages/")


def test_names_of_components_are_allowed_ones(spec: Spec) -> None:
    for part in spec["components"].values():
        for name in part:
            assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


@pytest.mark.parametrize("command", CONTRACT)
def test_every_command_is_there_with_its_reply(spec: Spec, command: str) -> None:
    channel, operation = spec["channels"][command], spec["operations"][command]
    assert channel["address"] == command
    assert channel["bindings"]["amqp"]["exchange"]["name"] == "swift.commands"
    assert channel["bindings"]["amqp"]["exchange"]["type"] == "topic"
    assert operation["action"] == "receive"
    assert "reply" in operation
    assert command in spec["channels"]["commands"]["messages"]
    assert command in spec["channels"]["replies"]["messages"]


def test_queues_are_there(spec: Spec) -> None:
    commands = spec["channels"]["commands"]["bindings"]["amqp"]
    assert (commands["queue"]["name"], commands["queue"]["durable"]) == ("swift.commands", True)
    assert commands["x-queue-arguments"]["x-queue-type"] == "quorum"
    assert spec["channels"]["dead-commands"]["address"] == "swift.commands.dead"
    assert spec["channels"]["replies"]["address"] is None


@pytest.mark.parametrize("kind", ROUTING_KEYS)
def test_every_event_is_there(spec: Spec, kind: str) -> None:
    channel, operation = spec["channels"][kind], spec["operations"][kind]
    assert channel["address"] == ROUTING_KEYS[kind]
    assert channel["bindings"]["amqp"]["exchange"]["name"] == "swift.events"
    assert operation["action"] == "send"
    assert operation["bindings"]["amqp"]["deliveryMode"] == (2 if kind in DURABLE else 1)
    assert spec["components"]["messages"][kind]["contentType"] == "application/cloudevents+json"


def test_nothing_else_is_there(spec: Spec) -> None:
    assert set(ROUTING_KEYS) == set(EVENTS)
    assert {kind for kind, event in EVENTS.items() if event.durable} == DURABLE
    assert set(spec["channels"]) == {*COMMANDS, *EVENTS, "commands", "dead-commands", "replies"}
    assert set(spec["operations"]) == {*COMMANDS, *EVENTS, "dead-letter"}


def test_every_message_has_a_payload_and_examples_that_validate(spec: Spec) -> None:
    for name, message in spec["components"]["messages"].items():
        if name == "dead":
            assert "x-swift-error" in message["headers"]["properties"]
            continue
        schema: Spec = {"$ref": message["payload"]["$ref"], "components": spec["components"]}
        assert message["examples"], name
        for example in message["examples"]:
            checked: Any = Draft202012Validator(schema)
            checked.validate(example["payload"])


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "a", "a b", "a: b", "a #b", "- a", "yes", "No", "null", "~", "1", "1.0", "1e3", "0x1", "2026-11-24"),
        *("a\nb", "tab\t", '"q"', "'", "{a}", "[a]", "*a", "&a", "!a", "%a", "@a", "`a`", "é\U0001f600", "a:"),
        *("=", "<<"),
        *("true", "y", "3.0.0", "\x85\u2028", "\x00\x1f", "a  b", "x-y_z/w.$v (u)", "a -b", "12:30:45"),
        *(0, 1, -1, 2**63, 0.5, 1e-5, 1e30, 1.5e-7, True, False, None),
        *([], {}, [[]], [{}], [[1, [2]], {"a": []}], {"a": {"b": {"c": [1, {"d": 2, "e": None}]}}}),
    ],
    ids=repr,
)
def test_yaml_says_what_json_says(value: object) -> None:
    for document in ({"key": value}, {"list": [value, value]}, {"deep": {"er": [{"x": value, "y": 1}]}}):
        assert yaml.safe_load(to_yaml(document)) == json.loads(json.dumps(document))
    if isinstance(value, str):
        assert yaml.safe_load(to_yaml({value: 1})) == {value: 1}
