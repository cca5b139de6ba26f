"""The nodes and their devices as the documents and this node's newest reading have them, and the plan made of that.

Shared by the scheduling loop, telemetry and the commands that ask; decides nothing itself.
"""

import asyncio

from daemon.core.devices import left_mib, mark_foreign
from daemon.core.drains import with_drains
from daemon.core.scheduler import plan
from daemon.core.work import Held, NodeView, Plan
from daemon.loops.context import Context
from daemon.metrics import PLAN
from daemon.ports import UnavailableError
from schemas.enums import DeviceState, NodeState
from schemas.events import Device
from schemas.nodes import NodeRecord

MOST_WAITING = 1000
"""Queued work that one round looks at first."""
LOOK_FURTHER = 4
MOST_LOOKED_AT = 64 * MOST_WAITING


async def plan_now(ctx: Context, at_least: int = 0) -> Plan:
    """What would start now, and why the rest waits; of the front of the queue, or of so much of it as is asked for.

    Looks at more than the front of a long queue only where a device is left that nothing there can use: a thousand
    jobs that wait for one busy device, or for one that does not exist, hold up nobody behind them.
    """
    limit = max(MOST_WAITING, at_least)
    while (waiting := await ctx.store.waiting(limit)).work:
        after = {job_id for work in waiting.work for job_id in work.after}
        nodes, held = await asyncio.gather(ctx.store.nodes(), ctx.store.held())
        began_s = ctx.clock.monotonic()
        decided = plan(
            waiting.work,
            [_view(ctx, node) for node in nodes],
            held,
            ctx.clock.now(),
            shares=ctx.settings.shares,
            blocked=_postponed(ctx),
            statuses=await ctx.store.statuses(after) if after else {},
            cut=waiting.cut,
            preempts=ctx.settings.preemption,
        )
        ctx.meters.observe(PLAN, ctx.clock.monotonic() - began_s)
        reached = len(decided.turns) >= at_least or not waiting.cut  # of each owner's, it reads a share of the limit
        if (reached and not decided.left) or limit >= MOST_LOOKED_AT:
            return decided
        limit *= LOOK_FURTHER
    return Plan(starts=(), waits=())


def _postponed(ctx: Context) -> dict[str, str]:
    """The reasons that still hold, by job; the others are forgotten."""
    now_s = ctx.clock.monotonic()
    for job_id in [job_id for job_id, entry in ctx.postponed.items() if entry.until_s <= now_s]:
        del ctx.postponed[job_id]
    return {job_id: entry.reason for job_id, entry in ctx.postponed.items()}


def state_of(ctx: Context, node: NodeRecord) -> NodeState:
    """A node's state, offline where its heartbeat is older than a lease."""
    if node.node_id == ctx.node_id:
        return node.state
    silent_s = ctx.sightings.silent_s(node, ctx.clock.now(), ctx.clock.monotonic())
    return NodeState.OFFLINE if silent_s > ctx.settings.lease_seconds else node.state


def _view(ctx: Context, node: NodeRecord) -> NodeView:
    return NodeView(node_id=node.node_id, state=state_of(ctx, node), devices=_devices(ctx, node))


def _devices(ctx: Context, node: NodeRecord) -> tuple[Device, ...]:
    if node.node_id == ctx.node_id:
        return with_drains(ctx.board.current(), (*node.internal.drains, *ctx.board.drains))
    return with_drains(node.devices, node.internal.drains)


def devices_of(ctx: Context, node: NodeRecord, held: list[Held]) -> tuple[Device, ...]:
    """A node's devices, leased ones with their job, those of a drained node as drained."""
    leases = {index: item.job_id for item in held if item.node_id == node.node_id for index in item.devices}
    state = state_of(ctx, node)
    return tuple(_shown(device, leases.get(device.index), state) for device in _devices(ctx, node))


def _shown(device: Device, job_id: str | None, state: NodeState) -> Device:
    if job_id is not None and device.state in {DeviceState.UNHEALTHY, DeviceState.DRAINED}:
        return device.model_copy(update={"job_id": job_id})
    if job_id is not None:
        return device.model_copy(update={"state": DeviceState.LEASED, "job_id": job_id, "reason": None})
    if state is NodeState.OFFLINE:
        return device.model_copy(update={"state": DeviceState.UNHEALTHY, "reason": "its node is offline"})
    if state is NodeState.DRAINED and device.state is DeviceState.FREE:
        return device.model_copy(update={"state": DeviceState.DRAINED, "reason": "its node is drained"})
    return device


async def read_devices(ctx: Context) -> None:
    """Put a new reading of this node's devices on the board; a device that has become free wakes the scheduler."""
    before = {device.index for device in ctx.board.current() if device.state is DeviceState.FREE}
    devices = await ctx.devices.read()
    try:
        held = await ctx.store.held()
    except UnavailableError:
        ctx.board.devices = _as_before(ctx.board.devices, devices)
        return
    ours = {index for item in held if item.node_id == ctx.node_id for index in item.devices}
    ctx.board.devices = mark_foreign(devices, frozenset(ours), ctx.settings.gpu_foreign_mib)
    after = {device.index for device in ctx.board.current() if device.state is DeviceState.FREE}
    if after - before:
        ctx.signals.scheduling.give()


def _as_before(known: tuple[Device, ...], devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """New figures with the states that were known: without the store nobody can tell a job's process from another's."""
    states = {device.index: {"state": device.state, "reason": device.reason} for device in known}
    return tuple(
        device.model_copy(update=states[device.index])
        if device.state is DeviceState.FREE and device.index in states
        else device
        for device in devices
    )


async def memory_left_mib(ctx: Context, devices: tuple[int, ...]) -> float | None:
    """Memory that is held on devices whose job has just ended, MiB; None where that is not known of all of them.

    CPU slots have none. Nor has a device that is out of use now: what is told of it may be what was last read.
    """
    if not ctx.devices.uses_cuda:
        return None
    read = {device.index: device for device in await ctx.devices.read() if device.state is not DeviceState.UNHEALTHY}
    left = [left_mib(read[index]) if index in read else None for index in devices]
    return None if None in left else sum(each or 0.0 for each in left)
