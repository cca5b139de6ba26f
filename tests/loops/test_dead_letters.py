"""Commands that can't be understood, are refused, or meet a bug: answered, kept where they belong, never a stop."""

import json
from typing import Any

import pytest

from daemon.loops.handling.table import HANDLERS
from schemas.commands import MAX_BODY_BYTES
from schemas.enums import ReplyErrorCode
from tests.loops.jobs import PENDING, pending
from tests.loops.rig import CREATE, World

DEAD: dict[str, tuple[str, bytes, ReplyErrorCode]] = {
    "not UTF-8": ("job.get", b'{"job_id": "\xff"}', ReplyErrorCode.INVALID_JSON),
    "not JSON": ("job.get", b"{job_id: 1}", ReplyErrorCode.INVALID_JSON),
    "empty": ("job.get", b"", ReplyErrorCode.INVALID_JSON),
    "NaN, which JSON has not": ("job.stop", b'{"job_id": "a", "grace_seconds": NaN}', ReplyErrorCode.INVALID_JSON),
    "a list": ("job.get", b"[]", ReplyErrorCode.INVALID_JSON),
    "nested without end": ("job.get", b'{"a":' * 50_000, ReplyErrorCode.INVALID_JSON),
    "nested deeper than it is read": (
        "job.get",
        b'{"job_id": ' + b'{"a":' * 250 + b"1" + b"}" * 251,
        ReplyErrorCode.INVALID_JSON,
    ),
    "half of a surrogate pair": ("job.get", rb'{"job_id": "\ud800"}', ReplyErrorCode.INVALID_JSON),
    "too large": ("job.get", b" " * (MAX_BODY_BYTES + 1), ReplyErrorCode.INVALID_REQUEST),
    "an unknown command": ("job.destroy", b"{}", ReplyErrorCode.UNKNOWN_COMMAND),
    "an unknown field": ("job.get", b'{"job_id": "a", "x": 1}', ReplyErrorCode.INVALID_REQUEST),
    "a missing field": ("job.get", b"{}", ReplyErrorCode.INVALID_REQUEST),
    "a job id that is none": ("job.get", b'{"job_id": "../x"}', ReplyErrorCode.INVALID_REQUEST),
    "no training type": ("job.create", b'{"model_path": "m"}', ReplyErrorCode.INVALID_REQUEST),
    "a path that is not there": (
        "job.create",
        json.dumps({**CREATE, "datasets": ["./nowhere.jsonl"]}).encode(),
        ReplyErrorCode.INVALID_REQUEST,
    ),
}


@pytest.mark.parametrize(("command", "body", "code"), DEAD.values(), ids=DEAD)
async def test_what_can_not_be_understood_is_answered_and_kept_as_dead(
    world: World, command: str, body: bytes, code: ReplyErrorCode
) -> None:
    async with world.daemon("intake"):
        reply = await world.reply(command, body, message_id="m-1")
        assert reply.error is not None
        assert (reply.ok, reply.error.code) == (False, code)
        await world.clock.settle()
        (dead,) = world.broker.dead
        assert (dead.routing_key, dead.body) == (command, body)
        assert dead.error == f"{code}: {reply.error.message}"[:1000]
        assert (world.broker.waiting, world.broker.unacknowledged) == (0, 0)
        assert (await world.reply("node.list")).ok  # and the daemon lives


@pytest.mark.parametrize(
    ("body", "said"),
    [(b'{"a":' * 250 + b"1" + b"}" * 250, "nested too deeply at"), (rb'{"job_id": "\ud800x"}', "a surrogate pair at")],
)
async def test_what_only_the_second_reader_refuses_is_said_in_words(world: World, body: bytes, said: str) -> None:
    async with world.daemon("intake"):
        reply = await world.reply("job.get", body)
        assert reply.error is not None
        assert (reply.error.code, reply.error.details) == (ReplyErrorCode.INVALID_JSON, ())
        assert reply.error.message.startswith("the body is not JSON: ")
        assert said in reply.error.message


async def test_a_fault_names_its_field(world: World) -> None:
    async with world.daemon("intake"):
        reply = await world.reply("job.create", {**PENDING, "num_epochs": "many", "lora_rank": 0})
        assert reply.error is not None
        assert {fault.loc for fault in reply.error.details} == {("num_epochs",), ("lora_rank",)}


async def test_what_can_not_be_understood_goes_to_the_dead_also_without_a_reply(world: World) -> None:
    async with world.daemon("intake"):
        world.broker.send("job.destroy")
        await world.clock.settle()
        assert len(world.broker.dead) == 1
        assert not world.broker.answers


async def test_a_dead_command_waits_for_a_broker_that_is_away(world: World) -> None:
    async with world.daemon("intake") as daemon:
        daemon.bus_faults.failing["dead_letter"] = 1
        world.broker.send("job.destroy")
        await world.clock.settle()
        assert not world.broker.dead
        daemon.bus.reconnect()
        await world.clock.settle()
        assert len(world.broker.dead) == 1
        assert world.broker.unacknowledged == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [("job.get", ReplyErrorCode.NOT_FOUND), ("job.resume", ReplyErrorCode.CONFLICT)],
)
async def test_what_is_understood_and_refused_is_acknowledged_and_not_dead(
    world: World, command: str, code: ReplyErrorCode
) -> None:
    async with world.daemon("intake"):
        job_id = "nobody" if command == "job.get" else await pending(world)
        reply = await world.reply(command, {"job_id": job_id})
        assert reply.error is not None
        assert reply.error.code is code
        assert "pending" in reply.error.message or code is ReplyErrorCode.NOT_FOUND
        await world.clock.settle()
        assert not world.broker.dead
        assert world.broker.unacknowledged == 0


async def test_a_bug_in_a_handler_is_told_as_internal_and_the_daemon_lives(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_ctx: Any, _request: Any, _sender: Any) -> Any:
        raise KeyError("a secret of the house")

    async with world.daemon("intake"):
        with monkeypatch.context() as patch:
            patch.setitem(HANDLERS, "node.list", broken)
            reply = await world.reply("node.list", message_id="m-1")
        assert reply.error is not None
        assert reply.error.code is ReplyErrorCode.INTERNAL
        assert "secret" not in reply.error.message
        await world.clock.settle()
        assert world.broker.unacknowledged == 0
        assert (await world.reply("node.list", message_id="m-1")).ok, "a bug's answer must not be remembered"
