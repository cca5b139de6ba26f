"""The scheduler: who starts where, and why everybody else waits. A pure function of what is known.

Order is priority, then age. Work that can't start yet holds back what it would need, so that smaller work behind it
can't take those devices for ever: a pinned one holds back its devices, another one all free devices of the node that
comes closest to fitting it. Work that no node could ever run says so and holds back nothing. Within a node the lowest
free indices are taken, and among nodes the one that is left with the fewest free devices, which keeps large gaps for
large work.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.enums import DeviceState, NodeState
from schemas.events import Device


class WorkKind(StrEnum):
    """What is to run."""

    TRAIN = "train"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class Work:
    """A training or an export that waits for devices."""

    job_id: str
    kind: WorkKind
    priority: int
    queued_at: datetime
    count: int
    """Devices needed."""
    pinned: tuple[int, ...] = ()
    """Exactly these indices, where not empty."""
    not_before: datetime | None = None
    avoid: tuple[int, ...] = ()
    """Indices to leave alone while others would do."""
    training_type: str = "llm"
    owner: str | None = None
    wait_reason: str | None = None
    """The reason that is stored now."""


@dataclass(frozen=True, slots=True)
class Held:
    """Devices that are given away."""

    job_id: str
    kind: WorkKind
    node_id: str
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeView:
    """What the scheduler knows of a node."""

    node_id: str
    state: NodeState
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Start this work on these devices."""

    work: Work
    node_id: str
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What starts now, and what waits, in order, each with its reason."""

    starts: tuple[Start, ...]
    waits: tuple[tuple[Work, str], ...]
    left: int = 0
    """Devices that are still free and kept for nobody: work that was not looked at could have them."""


_Shape = tuple[int, tuple[int, ...]]
"""What work needs: a number of devices, or exactly these."""


def order(work: Iterable[Work]) -> list[Work]:
    """By priority (highest first), then age, then id, so that the order is total."""
    return sorted(work, key=lambda item: (-item.priority, item.queued_at, item.job_id, item.kind))


def plan(waiting: Sequence[Work], nodes: Sequence[NodeView], held: Sequence[Held], now: datetime) -> Plan:
    """Decide what starts now. The answer depends on the arguments alone, not on their order."""
    leased = {(item.node_id, index): item.job_id for item in held for index in item.devices}
    online = sorted((node for node in nodes if node.state is NodeState.ONLINE), key=lambda node: node.node_id)
    free = {
        node.node_id: {
            device.index
            for device in node.devices
            if device.state is DeviceState.FREE and (node.node_id, device.index) not in leased
        }
        for node in online
    }
    reserved: dict[tuple[str, int], str] = {}
    starts: list[Start] = []
    waits: list[tuple[Work, str]] = []
    stuck: dict[_Shape, str | None] = {}
    """What fits nowhere any more, because what is free only shrinks within a round; and why, while that is still so."""
    for work in order(waiting):
        if work.not_before is not None and work.not_before > now:
            waits.append((work, f"waits until {work.not_before:%Y-%m-%d %H:%M:%S} UTC before its next attempt"))
            continue
        shape = (work.count, work.pinned)
        start = None if shape in stuck else _place(work, online, free)
        if start is not None:
            starts.append(start)
            free[start.node_id] -= set(start.devices)
            leased.update({(start.node_id, index): work.job_id for index in start.devices})
            stuck = dict.fromkeys(stuck)
            continue
        reason = stuck.get(shape)
        if reason is None:
            reason = stuck[shape] = _why(work, nodes, online, free, leased, reserved)
            kept = _hold_back(work, online, free)
            for key in kept:
                reserved[key] = work.job_id
                free[key[0]].discard(key[1])
            if kept:
                stuck = dict.fromkeys(stuck)
        waits.append((work, reason))
    return Plan(starts=tuple(starts), waits=tuple(waits), left=sum(map(len, free.values())))


def _place(work: Work, online: Sequence[NodeView], free: Mapping[str, set[int]]) -> Start | None:
    """The best fit for this work among what is free, or None."""
    fits: list[tuple[int, int, str, tuple[int, ...]]] = []
    for node in online:
        available = free[node.node_id]
        if work.pinned:
            if available.issuperset(work.pinned):
                fits.append((0, len(available), node.node_id, work.pinned))
        elif len(available) >= work.count:
            preferred = sorted(available, key=lambda index: (index in work.avoid, index))[: work.count]
            avoided = sum(index in work.avoid for index in preferred)
            fits.append((avoided, len(available), node.node_id, tuple(sorted(preferred))))
    if not fits:
        return None
    _, _, node_id, devices = min(fits)
    return Start(work=work, node_id=node_id, devices=devices)


def _could_ever(work: Work, node: NodeView) -> bool:
    indices = {device.index for device in node.devices}
    return indices.issuperset(work.pinned) if work.pinned else len(indices) >= work.count


def _hold_back(work: Work, online: Sequence[NodeView], free: Mapping[str, set[int]]) -> list[tuple[str, int]]:
    """The free devices that must not go to smaller work behind this one."""
    able = [node for node in online if _could_ever(work, node)]
    if not able:
        return []
    if work.pinned:
        return [(node.node_id, index) for node in able for index in work.pinned if index in free[node.node_id]]
    closest = max(able, key=lambda node: (len(free[node.node_id]), node.node_id))
    return [(closest.node_id, index) for index in sorted(free[closest.node_id])]


def _why(
    work: Work,
    nodes: Sequence[NodeView],
    online: Sequence[NodeView],
    free: Mapping[str, set[int]],
    leased: Mapping[tuple[str, int], str],
    reserved: Mapping[tuple[str, int], str],
) -> str:
    """Why this work can't start, in words for a person."""
    if not online:
        drained = sorted(node.node_id for node in nodes if node.state is NodeState.DRAINED)
        return f"every node is drained ({', '.join(drained)})" if drained else "no node is online"
    able = [node for node in online if _could_ever(work, node)]
    if not able:
        return _why_never(work, online)
    if work.pinned:
        return "; ".join(
            _why_device(node, index, leased, reserved)
            for node in able
            for index in work.pinned
            if index not in free[node.node_id]
        )
    most = max(able, key=lambda node: (len(free[node.node_id]), node.node_id))
    count, available = work.count, len(free[most.node_id])
    need = f"needs {count} device{'s' if count > 1 else ''}, {available} of {len(most.devices)} free on {most.node_id}"
    taken = [
        _why_device(most, device.index, leased, reserved)
        for device in most.devices
        if device.index not in free[most.node_id]
    ]
    return f"{need}: {'; '.join(taken[:8])}" if taken else need


def _why_never(work: Work, online: Sequence[NodeView]) -> str:
    if work.pinned:
        known = "; ".join(f"{node.node_id} has {_indices(node) or 'none'}" for node in online)
        return f"no node has the devices {','.join(map(str, work.pinned))} ({known})"
    largest = max(online, key=lambda node: (len(node.devices), node.node_id))
    return f"needs {work.count} devices on one node; the largest, {largest.node_id}, has {len(largest.devices)}"


def _indices(node: NodeView) -> str:
    return ",".join(str(device.index) for device in node.devices)


def _why_device(
    node: NodeView, index: int, leased: Mapping[tuple[str, int], str], reserved: Mapping[tuple[str, int], str]
) -> str:
    job_id = leased.get((node.node_id, index))
    if job_id is not None:
        return f"device {index} runs job {job_id}"
    job_id = reserved.get((node.node_id, index))
    if job_id is not None:
        return f"device {index} is kept for job {job_id}, which is ahead"
    device = next(device for device in node.devices if device.index == index)
    return f"device {index} is {device.state}" + (f" ({device.reason})" if device.reason else "")
