"""The AsyncAPI 3.0 document, from the daemon's side: it receives commands, replies, and sends events.

Each command has a channel (its routing key) and an operation with its reply; each event has a channel (its routing key
with parameters) and an operation. Queues are channels of their own, so that their bindings have a place.
"""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from schemas.commands import (
    COMMANDS,
    COMMANDS_EXCHANGE,
    COMMANDS_QUEUE,
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    ERROR_HEADER,
    EVENTS_EXCHANGE,
    RESULTS,
)
from schemas.enums import ExportStatus, NodeState, TrainingStatus
from schemas.events import CONTENT_TYPE, EVENTS, CloudEvent
from schemas.examples import EVENT_EXAMPLES, REQUESTS, accepted_reply, refused_reply
from schemas.json_schemas import Schema, SchemaMaker, reply_parts
from schemas.replies import ReplyError

BINDING_VERSION = "0.3.0"
REQUEST_HEADERS = "RequestProperties"
REPLY_HEADERS = "ReplyProperties"
EVENT_HEADERS = "EventProperties"

ABOUT = {
    "job.create": "Create a training job; `start` queues it at once.",
    "job.start": "Queue a pending job.",
    "job.stop": "Stop a job: a waiting one is cancelled at once, a running one is ended with all its processes.",
    "job.resume": "Queue a failed or cancelled job again, from its last checkpoint where it has one.",
    "job.export": "Export a checkpoint of an ended job: merge its adapter, or quantize it.",
    "job.delete": "Remove a job that neither waits nor runs.",
    "job.get": "The job document.",
    "job.status": "Where a job stands.",
    "job.list": "A page of jobs, newest first.",
    "job.logs": "Lines of a job's log file: the last ones, or a byte range.",
    "job.events": "A job's durable events by sequence.",
    "job.metrics": "A job's training curve.",
    "params.default": "The defaults of a create request.",
    "gpu.list": "Every node's devices.",
    "queue.list": "The queued jobs in the order in which they would start.",
    "node.list": "All nodes with their state.",
    "node.drain": "Let a node start nothing new; its jobs finish, or give way at a deadline.",
    "node.resume": "Let a drained node start jobs again.",
    "node.forget": "Leave a node that is gone for good out of all lists; one that comes back is in them again.",
    "system.status": "Whether broker, store and devices are well.",
}

PARAMETERS: dict[str, dict[str, Schema]] = {
    "swift.job.status.v1": {"status": {"enum": [str(status) for status in TrainingStatus]}},
    "swift.job.export.v1": {"status": {"enum": [str(status) for status in ExportStatus]}},
    "swift.node.v1": {"state": {"enum": [str(state) for state in NodeState]}},
}
"""What is known of a routing key's words, beside what `WORDS` says of all."""

WORDS = {
    "job_id": "The job's id.",
    "status": "The status that the event tells of.",
    "node_id": "The node's id; a `.` in it is a word's end to a topic binding.",
    "index": "The device's index on its node.",
    "state": "The state that the event tells of.",
}


def asyncapi() -> Schema:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Swift Trainer",
            "version": "1.0.0",
            "description": (
                "Trainings of large models with ms-swift, ordered over RabbitMQ. Within version 1 only additions are "
                "made; a reader ignores fields that it does not know, the daemon refuses request fields that it does "
                "not know."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {**_command_channels(), **_queue_channels(), **_event_channels()},
        "operations": {**_command_operations(), **_event_operations()},
        "components": {
            "messages": {**_command_messages(), **_event_messages()},
            "schemas": _schemas(),
            "securitySchemes": {"user": {"type": "userPassword", "description": "A RabbitMQ user."}},
        },
    }


def _servers() -> Schema:
    about = "Set by SWIFT_TRAINER_AMQP_URL."
    security = [_ref("components", "securitySchemes", "user")]
    return {
        "rabbitmq": {
            "host": "localhost:5672", "protocol": "amqp", "protocolVersion": "0.9.1", "pathname": "/",
            "description": about, "security": security,
        },
        "rabbitmq-tls": {
            "host": "localhost:5671", "protocol": "amqps", "protocolVersion": "0.9.1", "pathname": "/",
            "description": f"With a CA bundle. {about}", "security": security,
        },
    }  # fmt: skip


# ---------------------------------------------------------------- channels


def _command_channels() -> Schema:
    return {
        command: {
            "address": command,
            "description": ABOUT[command],
            "messages": {"request": _ref("components", "messages", f"{command}.request")},
            "bindings": _routed(COMMANDS_EXCHANGE, "topic"),
        }
        for command in COMMANDS
    }


def _queue_channels() -> Schema:
    every_request = {command: _ref("components", "messages", f"{command}.request") for command in COMMANDS}
    return {
        "commands": {
            "address": COMMANDS_QUEUE,
            "description": f"The queue from which the daemons consume; bound to {COMMANDS_EXCHANGE} with `#`.",
            "messages": every_request,
            "bindings": _queued(COMMANDS_QUEUE),
        },
        "dead-commands": {
            "address": DEAD_QUEUE,
            "description": (
                "Commands that could not be understood, that expired, or that were delivered too often without an "
                f"acknowledgement; bound to the fanout exchange {DEAD_EXCHANGE}."
            ),
            "messages": {"dead": _ref("components", "messages", "dead")},
            "bindings": _queued(DEAD_QUEUE),
        },
        "replies": {
            "address": None,
            "description": "The queue that the request names in `reply_to`; direct reply-to works as well.",
            "messages": {command: _ref("components", "messages", f"{command}.reply") for command in RESULTS},
            "bindings": {
                "amqp": {
                    "is": "routingKey",
                    "exchange": {"name": "", "type": "default", "vhost": "/"},
                    "bindingVersion": BINDING_VERSION,
                }
            },
        },
    }


def _event_channels() -> Schema:
    return {
        kind: {
            "address": event.routing_key,
            "description": event.data.__doc__ or "",
            "messages": {"event": _ref("components", "messages", kind)},
            "parameters": {
                word: {"description": about, **PARAMETERS.get(kind, {}).get(word, {})}
                for word, about in WORDS.items()
                if f"{{{word}}}" in event.routing_key
            },
            "bindings": _routed(EVENTS_EXCHANGE, "topic"),
        }
        for kind, event in EVENTS.items()
    }


def _routed(exchange: str, kind: str) -> Schema:
    declared = {"name": exchange, "type": kind, "durable": True, "autoDelete": False, "vhost": "/"}
    return {"amqp": {"is": "routingKey", "exchange": declared, "bindingVersion": BINDING_VERSION}}


def _queued(queue: str) -> Schema:
    declared = {"name": queue, "durable": True, "exclusive": False, "autoDelete": False, "vhost": "/"}
    arguments = {"x-queue-type": "quorum"}
    if queue == COMMANDS_QUEUE:
        arguments["x-dead-letter-exchange"] = DEAD_EXCHANGE
    return {
        "amqp": {"is": "queue", "queue": declared, "bindingVersion": BINDING_VERSION, "x-queue-arguments": arguments}
    }


# ---------------------------------------------------------------- operations


def _command_operations() -> Schema:
    return {
        command: {
            "action": "receive",
            "channel": _ref("channels", command),
            "summary": ABOUT[command],
            "messages": [_ref("channels", command, "messages", "request")],
            "bindings": {"amqp": {"ack": True, "bindingVersion": BINDING_VERSION}},
            "reply": {
                "address": {
                    "location": "$message.header#/reply_to",
                    "description": "Where it is missing, no reply is sent.",
                },
                "channel": _ref("channels", "replies"),
                "messages": [_ref("channels", "replies", "messages", command)],
            },
        }
        for command in COMMANDS
    } | {
        "dead-letter": {
            "action": "send",
            "channel": _ref("channels", "dead-commands"),
            "summary": "Keep a command that can't be understood, with the reason.",
            "messages": [_ref("channels", "dead-commands", "messages", "dead")],
            "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": BINDING_VERSION}},
        }
    }


def _event_operations() -> Schema:
    return {
        kind: {
            "action": "send",
            "channel": _ref("channels", kind),
            "summary": (
                "Numbered, kept, and sent at least once in order." if event.durable else "Sent once, or never."
            ),
            "messages": [_ref("channels", kind, "messages", "event")],
            "bindings": {"amqp": {"deliveryMode": 2 if event.durable else 1, "bindingVersion": BINDING_VERSION}},
        }
        for kind, event in EVENTS.items()
    }


# ---------------------------------------------------------------- messages


def _command_messages() -> Schema:
    messages: Schema = {}
    for command in COMMANDS:
        messages[f"{command}.request"] = {
            "name": command,
            "summary": ABOUT[command],
            "contentType": "application/json",
            "headers": _ref("components", "schemas", REQUEST_HEADERS),
            "correlationId": {"location": "$message.header#/correlation_id"},
            "payload": _ref("components", "schemas", f"{command}.request"),
            "examples": [{"payload": dict(example)} for example in REQUESTS[command]],
        }
        messages[f"{command}.reply"] = {
            "name": f"{command}.reply",
            "summary": f"The answer to {command}.",
            "contentType": "application/json",
            "headers": _ref("components", "schemas", REPLY_HEADERS),
            "correlationId": {"location": "$message.header#/correlation_id"},
            "payload": _ref("components", "schemas", f"{command}.reply"),
            "examples": [
                {"name": "carried-out", "payload": accepted_reply(command)},
                {"name": "refused", "payload": refused_reply(command)},
            ],
        }
    messages["dead"] = {
        "name": "dead",
        "summary": "A command as it came, with the reason in a header.",
        "headers": {
            "type": "object",
            "properties": {ERROR_HEADER: {"type": "string", "description": "What is wrong: `code: message`."}},
        },
    }
    return messages


def _event_messages() -> Schema:
    return {
        kind: {
            "name": kind,
            "summary": event.data.__doc__ or "",
            "contentType": CONTENT_TYPE,
            "headers": _ref("components", "schemas", EVENT_HEADERS),
            "payload": _ref("components", "schemas", f"{kind}.event"),
            "bindings": {"amqp": {"messageType": kind, "bindingVersion": BINDING_VERSION}},
            "examples": [{"payload": dict(example)} for example in EVENT_EXAMPLES[kind]],
        }
        for kind, event in EVENTS.items()
    }


# ---------------------------------------------------------------- schemas


def _schemas() -> Schema:
    """All payloads, with what they share beside them under the models' names."""
    parts: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        *((f"{command}.request", "validation", adapter) for command, adapter in COMMANDS.items()),
        *((f"{command}.result", "serialization", adapter) for command, adapter in RESULTS.items()),
        *((f"{kind}.data", "serialization", TypeAdapter(event.data)) for kind, event in EVENTS.items()),
        ("event", "serialization", TypeAdapter(CloudEvent)),
        ("error", "serialization", TypeAdapter(ReplyError)),
    ]
    made, shared = TypeAdapter.json_schemas(
        parts, ref_template="#/components/schemas/{model}", schema_generator=SchemaMaker
    )
    schemas: Schema = {name: schema for (name, _), schema in made.items()}
    for command in RESULTS:
        forms = reply_parts(command, *(_ref("components", "schemas", name) for name in (f"{command}.result", "error")))
        schemas[f"{command}.reply"] = {"oneOf": forms}
    for kind in EVENTS:
        narrowed = {"type": {"const": kind, "type": "string"}, "data": _ref("components", "schemas", f"{kind}.data")}
        schemas[f"{kind}.event"] = {
            "allOf": [_ref("components", "schemas", "event"), {"type": "object", "properties": narrowed}]
        }
    return {**schemas, **_headers(), **shared["$defs"]}


def _headers() -> Schema:
    """The AMQP properties, which AsyncAPI knows as headers."""
    text = {"type": "string"}
    return {
        REQUEST_HEADERS: {
            "type": "object",
            "description": "AMQP properties (not headers) of a command.",
            "properties": {
                "reply_to": {**text, "description": "The queue for the reply; where it is missing, none is sent."},
                "correlation_id": {**text, "description": "Comes back in the reply."},
                "message_id": {
                    **text,
                    "maxLength": 255,
                    "description": "Makes the command idempotent: again, it has no second effect and the same reply.",
                },
                "user_id": {**text, "description": "Checked by RabbitMQ; becomes the job's owner."},
                "expiration": {**text, "description": "Milliseconds; an expired command is never carried out."},
            },
        },
        REPLY_HEADERS: {
            "type": "object",
            "description": "AMQP properties (not headers) of a reply.",
            "properties": {
                "correlation_id": {**text, "description": "The command's, or its message_id where it had none."}
            },
        },
        EVENT_HEADERS: {
            "type": "object",
            "description": "AMQP properties (not headers) of an event.",
            "properties": {
                "message_id": {**text, "description": "The event's id."},
                "type": {**text, "description": "The event's type."},
                "content_type": {"const": CONTENT_TYPE, "type": "string"},
            },
        },
    }


def _ref(*path: str) -> Schema:
    return {"$ref": "#/" + "/".join(path)}
