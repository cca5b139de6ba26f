"""The reference pages: commands, create requests, events and the job document as Markdown, made from the JSON Schemas.

`python -m schemas.reference` writes them to `docs/reference`; `make generate` does that with all that is generated.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from schemas.asyncapi import ABOUT
from schemas.commands import COMMANDS, QUERIES, RESULTS
from schemas.enums import ErrorCode, ReplyErrorCode, TrainingStatus, TrainingType
from schemas.events import EVENTS, CloudEvent
from schemas.examples import EVENT_EXAMPLES, REQUESTS, RESULT_EXAMPLES
from schemas.json_schemas import DOCUMENTS, Schema, SchemaMaker
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
NOTE = "<!-- Made by `python -m schemas.reference` from the models in schemas/; change those. -->\n\n"
BOUNDS = (
    ("exclusiveMinimum", "above {}"), ("minimum", "at least {}"), ("exclusiveMaximum", "below {}"),
    ("maximum", "at most {}"), ("minItems", "at least {} items"), ("maxItems", "at most {} items"),
    ("maxProperties", "at most {} names"),
)  # fmt: skip
WORTH_SAYING = 100_000
"""Bounds above it only keep numbers in their type."""
SHORT = 45
"""Characters of a pattern that still reads well in a table."""
CREATE = {TrainingType.LLM: LLMTrainingJobCreateRequest, TrainingType.VLM: VLMTrainingJobCreateRequest}


def reference() -> dict[str, str]:
    """The text of every page by its name below `docs/reference`."""
    pages = {"commands.md": commands(), "create.md": create(), "events.md": events(), "job.md": job()}
    return {name: NOTE + text.rstrip() + "\n" for name, text in pages.items()}


def commands() -> str:
    """Every command: what it takes, what it answers."""
    index = [(f"[`{name}`](#{anchor(name)})", ABOUT[name]) for name in COMMANDS]
    codes = ", ".join(f"`{code}`" for code in ReplyErrorCode)
    parts = [
        "# Commands\n",
        "Publish a JSON object to the exchange `swift.commands`, with the command's name as the routing key. "
        "`reply_to` asks for an answer, `correlation_id` comes back in it, and the same `message_id` again has no "
        "second effect. The answer is `{\"ok\": true, \"command\": …, \"result\": …}` or `{\"ok\": false, \"command\": "
        "…, \"error\": {\"code\": …, \"message\": …, \"details\": [{\"loc\", \"message\", \"input\"}]}}`; codes are "
        f"{codes}. See also [events](events.md), [the job document](job.md) and [create requests](create.md).\n",
        table(("command", "what it does"), index),
    ]  # fmt: skip
    return "\n".join([*parts, *(_command(name) for name in COMMANDS)])


def _command(name: str) -> str:
    parts = [f"## {name}\n", f"{ABOUT[name]} {'Changes nothing.' if name in QUERIES else 'Changes state.'}\n"]
    if name == "job.create":
        parts.append("The body is a [create request](create.md).\n")
    else:
        fields = field_table(schema_of(COMMANDS[name], "validation"), requests=True)
        parts.append(f"Body:\n\n{fields}" if fields else "The body is `{}`.\n")
    parts.append(block(REQUESTS[name][0]))
    if name == "job.get":
        parts.append("The result is [the job document](job.md).\n")
    else:
        parts += ["Result:\n", field_table(schema_of(RESULTS[name], "serialization")), block(RESULT_EXAMPLES[name])]
    return "\n".join(parts)


def create() -> str:
    """Both kinds of create request."""
    parts = [
        "# Create requests\n",
        "The body of [`job.create`](commands.md#jobcreate). Unknown fields are refused, and every fault is told by its "
        "field. `params.default` answers the defaults of a running daemon. Kinds: "
        + ", ".join(f"[`{kind}`](#{kind})" for kind in CREATE) + ".\n",
    ]  # fmt: skip
    for (kind, model), example in zip(CREATE.items(), REQUESTS["job.create"], strict=True):
        fields = field_table(schema_of(TypeAdapter(model), "validation"), requests=True)
        parts += [f"## {kind}\n", fields, block(example)]
    return "\n".join(parts)


def events() -> str:
    """The envelope, and each type of event."""
    index = [
        (f"[`{name}`](#{anchor(name)})", f"`{kind.routing_key}`", "yes" if kind.durable else "no")
        for name, kind in EVENTS.items()
    ]
    parts = [
        "# Events\n",
        "CloudEvents 1.0 in structured JSON on the topic exchange `swift.events`. Durable ones are numbered by "
        "`sequence` for each subject, come at least once and keep their `id`: whoever drops known ids sees each once. "
        "What was missed is in [`job.events`](commands.md#jobevents).\n",
        table(("type", "routing key", "durable"), index),
        "## The envelope\n",
        field_table(schema_of(TypeAdapter(CloudEvent), "serialization")),
    ]
    for name, kind in EVENTS.items():
        fields = field_table(schema_of(TypeAdapter(kind.data), "serialization"))
        parts += [f"## {name}\n", f"`{kind.routing_key}`. Data:\n", fields, block(EVENT_EXAMPLES[name][0])]
    return "\n".join(parts)


def job() -> str:
    """The job document of both kinds."""
    statuses, codes = (", ".join(f"`{value}`" for value in kind) for kind in (TrainingStatus, ErrorCode))
    parts = [
        "# The job document\n",
        "What [`job.get`](commands.md#jobget) answers: the [create request](create.md)'s fields, and what became of "
        f"them. A job's `status` is one of {statuses}; a failed one's `error_code` one of {codes}.\n",
    ]
    for kind, (model, example) in DOCUMENTS.items():
        schema = schema_of(TypeAdapter(model), "serialization")
        asked = CREATE[kind].model_fields
        added = {name: field for name, field in schema["properties"].items() if name not in asked}
        title = f"## {kind}\n"
        parts += [title, field_table({**schema, "properties": added}), block(example)]
    return "\n".join(parts)


def schema_of(adapter: TypeAdapter[Any], mode: Any) -> Schema:
    """The JSON Schema of a model."""
    return adapter.json_schema(mode=mode, schema_generator=SchemaMaker)


def field_table(schema: Mapping[str, Any], *, requests: bool = False) -> str:
    """A row for each field; of requests with defaults and bounds."""
    shared, needed = schema.get("$defs", {}), schema.get("required", [])
    rows: list[tuple[str, ...]] = []
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in needed else code(field.get("default"))
        row = (f"`{name}`", type_text(field, shared), default, bounds(field), field.get("description", ""))
        rows.append(row if requests else (row[0], row[1], row[4]))
    heads = ("field", "type", "default", "bounds", "meaning") if requests else ("field", "type", "meaning")
    return table(heads, rows) if rows else ""


def type_text(field: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """A type in a reader's words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return type_text(shared[name], shared) if "enum" in shared[name] else f"object ({name})"
    if "const" in field:
        return code(field["const"])
    if "enum" in field:
        return ", ".join(map(code, field["enum"]))
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(type_text(choice, shared) for choice in choices))
    kind = field.get("format", field.get("type", "any"))
    if kind == "array":
        return f"list of {type_text(field.get('items', {}), shared)}"
    return str(kind)


def bounds(field: Mapping[str, Any]) -> str:
    """What a value must keep to, as far as it says something."""
    parts = [field, *field.get("anyOf", [])]
    said = [
        text.format(part[word])
        for part in parts
        for word, text in BOUNDS
        if abs(part.get(word, WORTH_SAYING)) < WORTH_SAYING
    ]
    said += [code(p["pattern"], quote=False) for p in parts if len(p.get("pattern", "x" * SHORT)) < SHORT]
    return ", ".join(said)


def code(value: object, *, quote: bool = True) -> str:
    """A value as code."""
    return f"`{json.dumps(value, ensure_ascii=False) if quote else value}`"


def block(value: object) -> str:
    """An example."""
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```\n"


def anchor(title: str) -> str:
    """What GitHub calls a heading."""
    return "".join(char for char in title.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown; what would end a cell is escaped."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for page, text in reference().items():
        (FOLDER / page).write_text(text, encoding="utf-8")
