"""The JSON Schemas (draft 2020-12): one for every command, reply, event and job document, each with its examples.

Requests are described as they are checked, so their schemas are strict; what this project writes is described as it is
written, and may have more fields in a later version. A schema can't say everything that a model checks: it refuses no
request that the daemon takes, while the daemon refuses some that it lets through.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from schemas.commands import COMMANDS, RESULTS
from schemas.enums import TrainingType
from schemas.events import EVENTS, CloudEvent
from schemas.examples import (
    EVENT_EXAMPLES,
    REQUESTS,
    RESULT_EXAMPLES,
    VLM_DOCUMENT,
    accepted_reply,
    refused_reply,
)
from schemas.jobs import LLMTrainingJob, VLMTrainingJob
from schemas.replies import ReplyError

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: dict[TrainingType, tuple[type[LLMTrainingJob | VLMTrainingJob], dict[str, object]]] = {
    TrainingType.LLM: (LLMTrainingJob, RESULT_EXAMPLES["job.get"]),
    TrainingType.VLM: (VLMTrainingJob, VLM_DOCUMENT),
}
"""Model and example of each kind's job document."""


class SchemaMaker(GenerateJsonSchema):
    """Pydantic's schemas without what JSON Schema does not know and without titles that repeat names."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """`oneOf` alone: `discriminator` is OpenAPI's word."""
        made = super().tagged_union_schema(schema)
        made.pop("discriminator", None)
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        """A field is named by its name."""
        return False


def json_schemas() -> dict[str, Schema]:
    """Every schema by its path below `schemas/generated`."""
    files: dict[str, Schema] = {}
    for command, adapter in COMMANDS.items():
        made = _schema(adapter, "validation")
        files[f"commands/{command}.json"] = _whole(f"commands:{command}", made, REQUESTS[command])
    for command in RESULTS:
        examples = (accepted_reply(command), refused_reply(command))
        files[f"replies/{command}.json"] = _whole(f"replies:{command}", _reply(command), examples)
    files["events/cloudevent.json"] = _whole("events:cloudevent", _schema(TypeAdapter(CloudEvent)), ())
    for kind in EVENTS:
        files[f"events/{kind}.json"] = _whole(f"events:{kind}", _event(kind), EVENT_EXAMPLES[kind])
    for training_type, (model, example) in DOCUMENTS.items():
        made = _schema(TypeAdapter(model))
        files[f"documents/{training_type}.json"] = _whole(f"documents:{training_type}", made, (example,))
    return files


def reply_parts(command: str, result: Schema, error: Schema) -> list[Schema]:
    """The two forms of a reply to a command, around the schemas of its result and of an error."""
    name: Schema = {"const": command, "type": "string"}
    return [
        {
            "type": "object",
            "title": "Carried out",
            "properties": {"ok": {"const": True, "type": "boolean"}, "command": name, "result": result},
            "required": ["ok", "command", "result"],
        },
        {
            "type": "object",
            "title": "Refused",
            "properties": {"ok": {"const": False, "type": "boolean"}, "command": name, "error": error},
            "required": ["ok", "command", "error"],
        },
    ]


def _schema(adapter: TypeAdapter[Any], mode: JsonSchemaMode = "serialization") -> Schema:
    return adapter.json_schema(mode=mode, schema_generator=SchemaMaker)


def _reply(command: str) -> Schema:
    result, error = _schema(RESULTS[command]), _schema(TypeAdapter(ReplyError))
    shared = {**result.pop("$defs", {}), **error.pop("$defs", {})}
    parts = reply_parts(command, result, error)
    return {"title": f"Reply to {command}", "oneOf": parts} | ({"$defs": shared} if shared else {})


def _event(kind: str) -> Schema:
    """The envelope, narrowed to one type and its data."""
    envelope, data = _schema(TypeAdapter(CloudEvent)), _schema(TypeAdapter(EVENTS[kind].data))
    shared = data.pop("$defs", {})
    envelope["title"] = kind
    envelope["description"] = data.get("description", "")
    envelope["properties"] |= {"type": {"const": kind, "type": "string"}, "data": data}
    if EVENTS[kind].durable:
        envelope["properties"]["sequence"] = {"type": "integer", "minimum": 1, "description": "1, 2, 3, ... a subject."}
        envelope["required"] = [*envelope["required"], "sequence"]
    else:
        del envelope["properties"]["sequence"]
    return envelope | ({"$defs": shared} if shared else {})


def _whole(name: str, schema: Mapping[str, Any], examples: tuple[Mapping[str, object], ...]) -> Schema:
    head: Schema = {"$schema": DIALECT, "$id": f"urn:swift-trainer:v1:{name}"}
    return {**head, **schema} | ({"examples": [dict(example) for example in examples]} if examples else {})
