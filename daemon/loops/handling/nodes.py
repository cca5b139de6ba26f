"""The commands that change a node: drain and resume, of all of it or of some of its devices; and forget."""

from datetime import timedelta

from daemon.core.drains import drain_of, drained, named, new_drain, undrained
from daemon.core.nodes import node_forgotten, node_moved, node_vacated
from daemon.core.reasons import at
from daemon.loops.context import Context, NodeStep, change_node
from daemon.loops.fleet import state_of
from daemon.loops.handling.common import RefusedError, Sender
from schemas.commands import DrainRequest, ForgetRequest, NodeRef
from schemas.enums import NodeState, ReplyErrorCode
from schemas.events import Device
from schemas.nodes import NodeRecord
from schemas.replies import NodeAccepted

STARTS_NOTHING = "drained: starts nothing new"
DRAINED = f"{STARTS_NOTHING}, its jobs finish"
RESUMED = "resumed: starts jobs again"
FORGOTTEN = "forgotten, until it sends a heartbeat"
MOST_NAMED = 5


async def drain(ctx: Context, request: DrainRequest, _sender: Sender) -> NodeAccepted:
    """Let a node, or some of its devices, start nothing new; their jobs finish, or give way at the deadline."""
    wait_s = request.deadline_seconds
    vacates_at = None if wait_s is None else ctx.clock.now() + timedelta(seconds=wait_s)
    said = DRAINED if vacates_at is None else f"{STARTS_NOTHING}; what runs at {at(vacates_at)} goes on elsewhere"

    def step(node: NodeRecord) -> NodeRecord:
        now, by = ctx.clock.now(), ctx.node_id
        if request.devices is not None:
            devices = _devices(node, request.devices)
            return drained(node, [new_drain(device, "drained on request", now) for device in devices], at=now, by=by)
        if node.state is NodeState.DRAINED and vacates_at is None:
            return node
        return node_vacated(node_moved(node, NodeState.DRAINED, said, at=now, by=by), vacates_at)

    what = "" if request.devices is None else f"{named(request.devices)} "
    return await _change(ctx, request.node_id, step, f"{what}{said}")


async def resume(ctx: Context, request: NodeRef, _sender: Sender) -> NodeAccepted:
    """Let a drained node with all its devices, or some of its devices, start jobs again."""

    def step(node: NodeRecord) -> NodeRecord:
        now, by = ctx.clock.now(), ctx.node_id
        if request.devices is not None:
            found = [drain_of(device, node.internal.drains) for device in _devices(node, request.devices)]
            return undrained(node, [one for one in found if one is not None], at=now, by=by)
        online = node if node.state is NodeState.ONLINE else node_moved(node, NodeState.ONLINE, RESUMED, at=now, by=by)
        return undrained(node_vacated(online, None), node.internal.drains, at=now, by=by)

    what = "" if request.devices is None else f"{named(request.devices)} "
    return await _change(ctx, request.node_id, step, f"{what}{RESUMED}")


async def forget(ctx: Context, request: ForgetRequest, _sender: Sender) -> NodeAccepted:
    """Leave a node that is gone for good out of all that is shown. Forgetting twice is no error."""
    node_id = request.node_id
    jobs = sorted({item.job_id for item in await ctx.store.held() if item.node_id == node_id})

    def step(node: NodeRecord) -> NodeRecord:
        if node.internal.forgotten:
            return node
        state = state_of(ctx, node)
        if state is not NodeState.OFFLINE:
            text = f"node {node_id} is {state}, so it can't be forgotten; stop its daemon and wait until it is offline"
            raise RefusedError(ReplyErrorCode.CONFLICT, text)
        if jobs:
            named = ", ".join(jobs[:MOST_NAMED]) + (", ..." if len(jobs) > MOST_NAMED else "")
            text = (
                f"node {node_id} can't be forgotten while jobs are on it: {named}; start a daemon with this "
                "SWIFT_TRAINER_NODE_ID on any host, which ends what is lost"
            )
            raise RefusedError(ReplyErrorCode.CONFLICT, text)
        return node_forgotten(node)

    node = await change_node(ctx, node_id, step)
    if node is None:
        raise _unknown(node_id)
    return NodeAccepted(node_id=node_id, state=NodeState.OFFLINE, message=FORGOTTEN)


async def _change(ctx: Context, node_id: str, step: NodeStep, message: str) -> NodeAccepted:
    unchanged = False

    def checked(node: NodeRecord) -> NodeRecord:
        nonlocal unchanged
        if node.internal.forgotten:
            raise _unknown(node_id)
        if node.internal.lost:
            raise RefusedError(ReplyErrorCode.CONFLICT, f"node {node_id} is lost; try again when it is back")
        changed = step(node)
        unchanged = changed is node
        if not unchanged and node.state is NodeState.OFFLINE:
            raise RefusedError(ReplyErrorCode.CONFLICT, f"node {node_id} is offline")
        return changed

    node = await change_node(ctx, node_id, checked)
    if node is None:
        raise _unknown(node_id)
    if unchanged:
        return NodeAccepted(node_id=node_id, state=node.state, message=f"already {message}")
    ctx.signals.scheduling.give()
    ctx.signals.devices.give()
    return NodeAccepted(node_id=node_id, state=node.state, message=message)


def _unknown(node_id: str) -> RefusedError:
    return RefusedError(ReplyErrorCode.NOT_FOUND, f"there is no node {node_id}; node.list shows them")


def _devices(node: NodeRecord, indices: tuple[int, ...]) -> list[Device]:
    """The node's devices of these indices, or a refusal that names those that it has not."""
    known = {device.index: device for device in node.devices}
    missing = sorted(set(indices) - set(known))
    if missing:
        has = f"it has {named(sorted(known))}" if known else "it has none"
        raise RefusedError(ReplyErrorCode.NOT_FOUND, f"node {node.node_id} has no {named(missing)}; {has}")
    return [known[index] for index in dict.fromkeys(indices)]
