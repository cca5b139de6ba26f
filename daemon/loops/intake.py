"""The intake: takes commands from the bus, has each carried out, replies, and only then acknowledges.

Commands about one job are carried out in the order in which they came; others side by side, in lanes. This file is the
only one that acknowledges.

A command that can't be understood goes to the dead-letter queue with the reason, and so does one that expires before
it could be carried out. While the store is away, a command
that asks for a reply is told `unavailable` after a while, also behind another one; one that does not is tried until it
succeeds, because nobody would ever know that it was lost.
"""

import asyncio
import contextlib
import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from daemon.logs import get_log
from daemon.loops.context import Context
from daemon.loops.handling.common import ElsewhereError, RefusedError, RepliedError, Sender
from daemon.loops.handling.creating import job_id_of, withdraw_if_deleted
from daemon.loops.handling.table import HANDLERS
from daemon.loops.lanes import Lane, Lanes
from daemon.metrics import COMMAND
from daemon.metrics import COMMANDS as COMMANDS_DONE
from daemon.ports import Delivery, UnavailableError
from daemon.tracing import command_span, current_context
from schemas.commands import COMMANDS, MAX_BODY_BYTES, QUERIES
from schemas.enums import ReplyErrorCode
from schemas.replies import Reply, ReplyError, faults_of, first_of

log = get_log("intake")

LANES = 16
"""Lanes have no bound of their own, so that a slow one never holds up the others: the bus hands out no more commands
than its prefetch."""
PATIENCE_S = 10.0
"""How long a command that wants a reply waits for the store."""
MOST_REMEMBERED = 256 * 1024
"""A larger reply is not remembered; asking again is harmless, because only queries answer so much."""
MAX_REPLY_BYTES = 15 * 1024 * 1024
"""A hundred job documents of the largest size would be more than a broker takes (16 MiB, as `deploy/` sets it up)."""
MOST_NAME = 255
"""Characters of a command's name that are said back."""


@dataclass(frozen=True, slots=True)
class Understood:
    """A command that is valid in itself."""

    command: str
    request: Any
    lane_key: str


@dataclass(frozen=True, slots=True, eq=False)
class _Ordered:
    """A command in its lane."""

    delivery: Delivery
    understood: Understood
    since_s: float

    @property
    def key(self) -> str | None:
        return _key_of(self.delivery)


class DeadError(Exception):
    """A command that can't be understood: it goes to the dead-letter queue."""

    def __init__(self, error: ReplyError) -> None:
        super().__init__(error.message)
        self.error = error


async def intake(ctx: Context) -> None:
    """Carry out commands until the bus stops consuming."""
    lanes = Lanes[_Ordered](LANES)
    async with asyncio.TaskGroup() as group:
        for number, lane in enumerate(lanes.all):
            group.create_task(_work(ctx, lanes, lane), name=f"intake lane {number}")
        async for delivery in ctx.bus.commands():
            try:
                understood = understand(delivery)
            except DeadError as dead:
                # beside the others: a thousand of them must not hold up the one that is behind them
                group.create_task(_bury(ctx, delivery, dead.error), name="intake burial")
                continue
            lanes.put(_Ordered(delivery, understood, ctx.clock.monotonic()), understood.lane_key, _key_of(delivery))
        lanes.close()


def understand(delivery: Delivery) -> Understood:
    """Decode and validate a command. Raises `DeadError` with what is wrong."""
    command = delivery.routing_key
    if len(delivery.body) > MAX_BODY_BYTES:
        raise _dead(
            ReplyErrorCode.INVALID_REQUEST,
            f"the body has {len(delivery.body)} bytes; at most {MAX_BODY_BYTES} are allowed",
        )
    adapter = COMMANDS.get(command)
    if adapter is None:
        raise _dead(
            ReplyErrorCode.UNKNOWN_COMMAND,
            f"there is no command {command[:80]!r}; the routing key names the command, one of: {', '.join(COMMANDS)}",
        )
    try:
        body: object = json.loads(delivery.body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _dead(
            ReplyErrorCode.INVALID_JSON, f"the body is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
    except (ValueError, RecursionError) as error:
        text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _dead(ReplyErrorCode.INVALID_JSON, f"the body is not JSON: {text}") from None
    if not isinstance(body, dict):
        raise _dead(ReplyErrorCode.INVALID_JSON, "the body must be one JSON object")
    try:
        request = adapter.validate_json(delivery.body)
    except ValidationError as error:
        unread = _unread(error)
        if unread is not None:
            raise _dead(ReplyErrorCode.INVALID_JSON, f"the body is not JSON: {unread}") from None
        tagged = command == "job.create" and body.get("training_type") in ("llm", "vlm")  # pyright: ignore[reportUnknownMemberType]
        faults = faults_of(error, skip=1 if tagged else 0)
        refusal = ReplyError(code=ReplyErrorCode.INVALID_REQUEST, message=first_of(faults), details=faults)
        raise DeadError(refusal) from None
    job_id = getattr(request, "job_id", None)
    if command == "job.create":  # in one lane with what comes for that job: a late repetition must not overtake its end
        job_id = job_id_of(_key_of(delivery))
    return Understood(command, request, job_id or delivery.message_id or str(id(delivery)))


_UNREAD = {"recursion limit exceeded": "nested too deeply", "hex escape": "half of a surrogate pair"}
"""What pydantic's reader refuses though `json` takes it, by a part of its words."""


def _unread(error: ValidationError) -> str | None:
    """Why pydantic could not read the body at all; None: it did, and its fields are wrong."""
    first = error.errors(include_url=False)[0]
    if first["type"] != "json_invalid":
        return None
    said, at, place = str(first.get("ctx", {}).get("error", "")).partition(" at line ")
    return next((words for part, words in _UNREAD.items() if part in said), said) + at + place


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _dead(code: ReplyErrorCode, message: str) -> DeadError:
    return DeadError(ReplyError(code=code, message=message))


async def _work(ctx: Context, lanes: Lanes[_Ordered], lane: Lane[_Ordered]) -> None:
    async for ordered in lane.items():
        with command_span(ordered.understood.command, ordered.delivery.trace):
            await _carry_out(ctx, ordered, lanes, lane.waiting)
        lanes.done(ordered.key)


async def _carry_out(ctx: Context, ordered: _Ordered, lanes: Lanes[_Ordered], behind: deque[_Ordered]) -> None:
    """Carry out one command: effect stored, reply sent, then acknowledged."""
    delivery, understood = ordered.delivery, ordered.understood
    query = understood.command in QUERIES
    wait_s = 0.2
    while True:
        if _has_expired(ctx, ordered):
            text = f"it expired {delivery.expires_in_s:g} s after it came, and could not be carried out before"
            await _bury(ctx, delivery, ReplyError(code=ReplyErrorCode.UNAVAILABLE, message=text))
            return
        try:
            reply = await _reply_to(ctx, delivery, understood)
            if not query:
                reply = await _remember(ctx, delivery, reply)
            break
        except UnavailableError as error:
            log.warning("command_waits", str(error), command=understood.command, **_job_of(ordered))
            for late in [other for other in behind if _is_late(ctx, other)]:
                behind.remove(late)
                await _answer(ctx, late, _unavailable(late, error))
                lanes.done(late.key)
            if _is_late(ctx, ordered):
                reply = _unavailable(ordered, error)
                break
        except DeadError as dead:
            await _bury(ctx, delivery, dead.error)
            return
        except ElsewhereError as elsewhere:
            if await _sent_on(ctx, delivery, elsewhere.node_id):
                return
            text = f"{elsewhere}, and its daemon is not there; ask again when it is back"
            reply = _refusal(understood.command, ReplyErrorCode.UNAVAILABLE, text)
            break
        except Exception as error:  # a bug in one handler must not stop the others
            log.crash("command_failed", "a bug in its handler", error, command=understood.command, **_job_of(ordered))
            text = "the daemon failed inside; its log has the trace. The command may be sent again"
            reply = _refusal(understood.command, ReplyErrorCode.INTERNAL, text)
            break
        await ctx.clock.sleep(wait_s)
        wait_s = min(5.0, wait_s * 2)
    await _answer(ctx, ordered, reply)
    if query:  # it changed nothing, so its answer need not wait for that
        with contextlib.suppress(UnavailableError):
            await _remember(ctx, delivery, reply)
    code = reply.error.code if reply.error else "ok"
    say = log.debug if query else log.info
    say("command_done", code, command=understood.command, **_job_of(ordered, reply))


def _job_of(ordered: _Ordered, reply: Reply | None = None) -> dict[str, object]:
    """What names the job in a line of the log. A new one has its id in its reply, and before by its message."""
    job_id = getattr(ordered.understood.request, "job_id", None)
    if ordered.understood.command == "job.create":
        if reply is not None:
            job_id = reply.result.get("job_id") if reply.result else None
        elif ordered.key is not None:
            job_id = job_id_of(ordered.key)
    return {} if job_id is None else {"job_id": job_id}


async def _sent_on(ctx: Context, delivery: Delivery, node_id: str) -> bool:
    """Hand a query to the node that can answer it, which then replies. False: its daemon is not there."""
    if delivery.sent_on:  # it went from there to there meanwhile
        return False
    try:
        if not await ctx.bus.send_on(delivery, node_id):
            return False
        await ctx.bus.ack(delivery)
    except UnavailableError as outage:  # not acknowledged: the broker sends it again
        log.warning("query_waits", str(outage), command=delivery.routing_key[:80])
    return True


def _is_late(ctx: Context, ordered: _Ordered) -> bool:
    """Whether somebody has waited for this reply for so long that it is told that it has to come again."""
    return ordered.delivery.reply_to is not None and ctx.clock.monotonic() - ordered.since_s >= PATIENCE_S


def _has_expired(ctx: Context, ordered: _Ordered) -> bool:
    """Whether its sender wanted it carried out by now or not at all; 0 asks the broker to deliver it at once."""
    limit_s = ordered.delivery.expires_in_s
    return bool(limit_s) and ctx.clock.monotonic() - ordered.since_s >= limit_s


async def _answer(ctx: Context, ordered: _Ordered, reply: Reply) -> None:
    """Reply, then acknowledge."""
    body = reply.encoded()
    if len(body) > MAX_REPLY_BYTES:
        body = _too_large(ordered, len(body)).encoded()
    try:
        await ctx.bus.reply(ordered.delivery, body)
        await ctx.bus.ack(ordered.delivery)
    except UnavailableError as outage:  # not acknowledged: the broker sends it again, and the effect stays one
        log.warning("reply_waits", str(outage), command=ordered.understood.command, **_job_of(ordered, reply))
        return
    command = ordered.understood.command
    ctx.meters.observe(COMMAND, ctx.clock.monotonic() - ordered.since_s, command=command)
    ctx.meters.add(COMMANDS_DONE, command=command, outcome=reply.error.code if reply.error else "ok")


async def _reply_to(ctx: Context, delivery: Delivery, understood: Understood) -> Reply:
    """The reply: the remembered one of this `message_id`, or that of carrying it out now."""
    message_id = _key_of(delivery)
    if message_id is not None:
        remembered = await ctx.store.find_reply(message_id)
        if remembered is not None:
            if understood.command == "job.create" and delivery.redelivered:
                await withdraw_if_deleted(ctx, job_id_of(message_id))
            return Reply.model_validate_json(remembered)
    sender = Sender(owner=delivery.user_id, message_id=message_id, trace=current_context())
    try:
        result = await HANDLERS[understood.command](ctx, understood.request, sender)
        payload = result.model_dump(mode="json") if isinstance(result, BaseModel) else result
        reply = Reply(ok=True, command=understood.command, result=payload)
    except RepliedError as before:
        reply = before.reply
    except RefusedError as refused:
        error = ReplyError(code=refused.code, message=refused.message, details=refused.details)
        if refused.code is ReplyErrorCode.INVALID_REQUEST:
            raise DeadError(error) from None
        reply = Reply(ok=False, command=understood.command, error=error)
    return reply


async def _remember(ctx: Context, delivery: Delivery, reply: Reply) -> Reply:
    """Keep a reply for this `message_id`, and say which one counts: the first one, which another daemon that got the
    same message may have kept meanwhile."""
    message_id = _key_of(delivery)
    encoded = reply.encoded()
    if message_id is None or _passing(reply) or len(encoded) > MOST_REMEMBERED:
        return reply
    if await ctx.store.remember_reply(message_id, encoded):
        return reply
    if delivery.routing_key == "job.create":
        await withdraw_if_deleted(ctx, job_id_of(message_id))
    first = await ctx.store.find_reply(message_id)
    return reply if first is None else Reply.model_validate_json(first)


def _key_of(delivery: Delivery) -> str | None:
    """What the message is remembered by: its id, which is its sender's own, whom the broker has checked."""
    return f"{delivery.user_id or ''}\n{delivery.message_id}" if delivery.message_id else None


def _passing(reply: Reply) -> bool:
    """Whether a refusal may be another one at the next try, so that it must not be remembered."""
    return reply.error is not None and reply.error.code in {ReplyErrorCode.UNAVAILABLE, ReplyErrorCode.INTERNAL}


def _unavailable(ordered: _Ordered, outage: UnavailableError) -> Reply:
    return _refusal(ordered.understood.command, ReplyErrorCode.UNAVAILABLE, str(outage))


def _too_large(ordered: _Ordered, size: int) -> Reply:
    text = f"the answer has {size} bytes, more than {MAX_REPLY_BYTES}; ask for less (size, tail, limit, max_points)"
    return _refusal(ordered.understood.command, ReplyErrorCode.INVALID_REQUEST, text)


def _refusal(command: str, code: ReplyErrorCode, message: str) -> Reply:
    return Reply(ok=False, command=command, error=ReplyError(code=code, message=message))


async def _bury(ctx: Context, delivery: Delivery, error: ReplyError) -> None:
    """Tell the sender, then keep the command in the dead-letter queue; store or broker may be away meanwhile."""
    log.warning("command_dead", error.message, command=delivery.routing_key[:80], code=error.code)
    reply = Reply(ok=False, command=delivery.routing_key[:MOST_NAME], error=error)
    with contextlib.suppress(UnavailableError):  # then this one says it again, if it comes again
        reply = await _remember(ctx, delivery, reply)
    try:
        await ctx.bus.reply(delivery, reply.encoded())
        await ctx.bus.dead_letter(delivery, f"{error.code}: {error.message}")
    except UnavailableError as outage:  # not acknowledged: the broker sends it again
        log.warning("command_dead_waits", str(outage), command=delivery.routing_key[:80])
        return
    command = delivery.routing_key if delivery.routing_key in COMMANDS else "unknown"  # a stranger's word is no label
    ctx.meters.add(COMMANDS_DONE, command=command, outcome=error.code)
