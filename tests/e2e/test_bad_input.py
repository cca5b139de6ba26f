"""What strangers send: each mistake gets a clear error with the field's name, the message is kept, the daemon lives.

Published with `pika`, which knows nothing of this project.
"""

import json
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import Json, probe, running_daemon

pytestmark = pytest.mark.services

REPLY_LIMIT_S = 20


class Stranger:
    """A program with `pika`: direct reply-to, and a look into the dead-letter queue."""

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel
        self._connection: pika.BlockingConnection = channel.connection  # pyright: ignore[reportUnknownMemberType]
        self._replies: list[tuple[str | None, Any]] = []
        channel.basic_consume("amq.rabbitmq.reply-to", self._on_reply, auto_ack=True)

    def _on_reply(self, _channel: object, _method: object, properties: pika.BasicProperties, body: bytes) -> None:
        self._replies.append((properties.correlation_id, json.loads(body)))

    def send(self, command: str, body: bytes, **properties: Any) -> Any:
        """Publish bytes; the reply envelope."""
        correlation_id = uuid.uuid4().hex
        self._channel.basic_publish(
            "swift.commands",
            command,
            body,
            pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=correlation_id, **properties),
        )
        deadline = time.monotonic() + REPLY_LIMIT_S
        while not self._replies:
            assert time.monotonic() < deadline, "no reply"
            self._connection.process_data_events(time_limit=1)
        answered, reply = self._replies.pop()
        assert answered == correlation_id
        return reply

    def buried(self) -> tuple[str, bytes, str]:
        """The next dead letter: its routing key, its body and the reason."""
        deadline = time.monotonic() + REPLY_LIMIT_S
        while True:
            method, properties, body = self._channel.basic_get("swift.commands.dead", auto_ack=True)
            if method is not None:
                assert properties is not None
                assert body is not None
                return method.routing_key or "", body, str((properties.headers or {})["x-swift-error"])
            assert time.monotonic() < deadline, "no dead letter"

    def purge(self) -> None:
        """Forget earlier dead letters."""
        self._channel.queue_purge("swift.commands.dead")


@pytest.fixture
def stranger(amqp_url: str) -> Generator[Stranger]:
    """A connected stranger."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    yield Stranger(connection.channel())
    connection.close()


GOOD = {"training_type": "llm", "model_path": "MODEL", "datasets": ["some/hub-id"], "output_dir": "out"}
NOT_UNDERSTOOD: list[tuple[str, str, bytes, str, str, list[str] | None]] = [
    ("bad UTF-8", "job.get", b'{"job_id": "\xff\xfe"}', "invalid_json", "UTF-8", None),
    ("cut off", "job.get", b'{"job_id": ', "invalid_json", "not JSON", None),
    ("empty", "job.get", b"", "invalid_json", "not JSON", None),
    ("an array", "job.get", b'["job"]', "invalid_json", "one JSON object", None),
    ("nested deeply", "job.get", b"[" * 100_000, "invalid_json", "nested", None),
    ("NaN", "job.metrics", b'{"job_id":"a","after_step":NaN}', "invalid_json", "NaN", None),
    ("over 1 MiB", "job.get", b" " * 1_048_577, "invalid_request", "1048577 bytes", None),
    ("unknown command", "job.explode", b"{}", "unknown_command", "job.explode", None),
    ("no command", "", b"{}", "unknown_command", "routing key", None),
    ("field missing", "job.get", b"{}", "invalid_request", "job_id", ["job_id"]),
    ("wrong type", "job.get", b'{"job_id": 7}', "invalid_request", "job_id", ["job_id"]),
    ("a path as id", "job.get", b'{"job_id": "../../etc"}', "invalid_request", "job_id", ["job_id"]),
    ("unknown field", "job.get", b'{"job_id": "a", "x": 1}', "invalid_request", "x", ["x"]),
    ("unknown field of an empty command", "gpu.list", b'{"x": 1}', "invalid_request", "x", ["x"]),
    ("page too large", "job.list", b'{"size": 101}', "invalid_request", "size", ["size"]),
    ("no training type", "job.create", b"{}", "invalid_request", "training_type", None),
]
BAD_CREATIONS: list[tuple[str, Json, list[str | int]]] = [
    ("no data", {"datasets": []}, ["datasets"]),
    ("negative rate", {"learning_rate": -1}, ["learning_rate"]),
    ("a number in quotes", {"learning_rate": "1e-4"}, ["learning_rate"]),
    ("rank 0", {"lora_rank": 0}, ["lora_rank"]),
    ("misspelt", {"lora_rnak": 8}, ["lora_rnak"]),
    ("a device twice", {"gpu_id": "0,0"}, ["gpu_id"]),
    ("priority 11", {"priority": 11}, ["priority"]),
    ("an option as a value", {"model_path": "--help"}, ["model_path"]),
    ("no such model", {"model_path": "/no/such/folder"}, ["model_path"]),
    ("no such data", {"datasets": ["ok/hub", "./missing.jsonl#5"]}, ["datasets", 1]),
    ("no such data by its ending", {"datasets": ["missing.csv"]}, ["datasets", 0]),
    ("an environment name that loads code", {"env": {"LD_PRELOAD": "/x.so"}}, ["env", "LD_PRELOAD"]),
    ("no such option", {"extra_args": {"weight_decya": 1}}, ["extra_args", "weight_decya"]),
    ("an option of a field", {"extra_args": {"output_dir": "/"}}, ["extra_args", "output_dir"]),
    ("a secret", {"extra_args": {"hub_token": "hf_x"}}, ["extra_args", "hub_token"]),
]


async def test_what_cant_be_understood_is_answered_and_kept(
    standin_settings: Settings, work: Path, amqp_url: str, stranger: Stranger
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found) as daemon:
        stranger.purge()
        for case, command, body, code, says, loc in NOT_UNDERSTOOD:
            reply = stranger.send(command, body)
            assert (reply["ok"], reply["command"], reply["error"]["code"]) == (False, command, code), (case, reply)
            assert says in reply["error"]["message"], (case, reply)
            assert loc is None or reply["error"]["details"][0]["loc"] == loc, (case, reply)
            assert stranger.buried()[:2] == (command, body), case
        assert stranger.send("params.default", b'{"training_type": "vlm"}')["ok"], daemon.log()


async def test_every_bad_creation_names_its_field(
    standin_settings: Settings, make_model: MakeModel, work: Path, amqp_url: str, stranger: Stranger
) -> None:
    good = {**GOOD, "model_path": make_model()}
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        stranger.purge()
        for case, change, loc in BAD_CREATIONS:
            reply = stranger.send("job.create", json.dumps({**good, **change}).encode())
            assert reply["error"]["code"] == "invalid_request", (case, reply)
            fault = reply["error"]["details"][0]
            assert fault["loc"] == loc, (case, reply)
            assert fault["message"], case
            assert stranger.buried()[2].startswith("invalid_request: "), case
        assert (await found.call("job.list"))["total"] == 0


async def test_what_is_refused_is_answered_and_not_kept(
    make_model: MakeModel, standin_settings: Settings, data: str, work: Path, amqp_url: str, stranger: Stranger
) -> None:
    settings = {**standin_settings, "SWIFT_TRAINER_ALLOWED_ROOTS": str(work)}
    async with probe(amqp_url) as found, running_daemon(settings, work, found):
        stranger.purge()
        missing = stranger.send("job.start", b'{"job_id": "nobody"}')
        assert missing["error"]["code"] == "not_found"
        outside = stranger.send(
            "job.create", json.dumps({**GOOD, "model_path": make_model(), "datasets": [data]}).encode()
        )
        assert outside["error"]["code"] == "forbidden"
        assert outside["error"]["details"][0]["loc"] == ["model_path"]
        sneaky = work / "link"
        sneaky.symlink_to("/etc")
        away = stranger.send("job.create", json.dumps({**GOOD, "model_path": "a/b", "output_dir": "link/x"}).encode())
        assert away["error"]["code"] == "forbidden"
        vlm = {"training_type": "vlm", "model_path": "a/b", "data_path": "c/d", "output_dir": "o"}
        plugin = stranger.send("job.create", json.dumps({**vlm, "external_plugins": ["x.py"]}).encode())
        assert plugin["error"]["code"] == "forbidden"
        assert plugin["error"]["details"][0]["loc"] == ["external_plugins"]
        created = stranger.send("job.create", json.dumps({**GOOD, "model_path": "a/b"}).encode())
        assert created["ok"], created
        job_id = created["result"]["job_id"].encode()
        resumed = stranger.send("job.resume", b'{"job_id": "%s"}' % job_id)
        assert resumed["error"]["code"] == "conflict"
        assert "pending" in resumed["error"]["message"]
        assert (await found.dead_letters()) == 0


async def test_a_reply_goes_to_a_queue_of_the_senders_with_its_message_id_where_it_gave_no_correlation_id(
    standin_settings: Settings, work: Path, amqp_url: str
) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        properties = pika.BasicProperties(reply_to=queue, message_id="m-1")
        channel.basic_publish("swift.commands", "gpu.list", b"{}", properties)
        _method, answered, body = next(channel.consume(queue, auto_ack=True, inactivity_timeout=REPLY_LIMIT_S))
        assert answered is not None
        assert body is not None
        assert json.loads(body)["result"]["total"] == 2
        assert answered.correlation_id == "m-1"
    connection.close()
