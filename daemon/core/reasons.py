"""Why work can't start, in words for a person: which devices it would need, and who or what has each of them."""

from collections.abc import Sequence
from datetime import datetime

from daemon.core.devices import is_mig
from daemon.core.places import Group, Keeping, Places, Spot
from daemon.core.work import NodeView, Shares, Work
from schemas.enums import NodeState

MOST_NAMED = 8
"""Devices, or nodes, that one reason names."""


def at(time: datetime) -> str:
    """A time as reasons say it."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def why_no_node(nodes: Sequence[NodeView]) -> str:
    """Where no node is online."""
    drained = sorted(node.node_id for node in nodes if node.state is NodeState.DRAINED)
    return f"every node is drained ({', '.join(drained[:MOST_NAMED])})" if drained else "no node is online"


def why_never(work: Work, places: Places, group: Group) -> str:
    """Where no node that is online has what the work needs, free or not."""
    wanted = _wanted(work)
    if work.pinned:
        known = "; ".join(f"{spot.view.node_id} has {_indices(spot)}" for spot in places.spots[:MOST_NAMED])
        return f"no node has the devices {','.join(map(str, work.pinned))}{wanted} ({known})"
    place = max(range(len(places.spots)), key=lambda number: (len(group.allowed[number]), -number))
    largest, has = places.spots[place].view.node_id, len(group.allowed[place])
    cut = any(is_mig(device) for spot in places.spots for device in spot.devices.values())
    why = "; of MIG instances a job can have one at most" if cut and work.count > 1 else ""
    if has == 0:
        return f"needs {_devices(work.count)}{wanted}, and no node has any{why}"
    return f"needs {_devices(work.count)}{wanted} on one node; the largest, {largest}, has {has}{why}"


def why_kept(work: Work, places: Places, group: Group, keeping: Keeping) -> str:
    """Where some devices are kept for the work, and the others are not free."""
    reason = _why_on(work, places, group, keeping.place, keeping.devices)
    return reason if keeping.starts_at is None else f"{reason}; expected to start by {at(keeping.starts_at)}"


def why_behind(work: Work, places: Places, group: Group) -> str:
    """Where nothing is free anywhere; says it of the first node."""
    able = [place for place, allowed in enumerate(group.allowed) if len(allowed) >= work.count]
    reason = _why_on(work, places, group, able[0], ())
    return reason if len(able) == 1 else f"{reason}; nor is there room on {_others(len(able) - 1)}"


def _others(count: int) -> str:
    return "the other node" if count == 1 else f"the {count} other nodes"


def why_quota(work: Work, shares: Shares, has: int) -> str:
    """Where the owner may not have so many devices at once."""
    most = shares.most_devices(work.owner) or 0
    if work.count > most:
        return f"needs {_devices(work.count)}; {_owner(work)} may have {most} at once, so it can never start"
    return f"needs {_devices(work.count)}; {_owner(work)} has {has} and may have {most} at once"


def why_after_other(work: Work, job_id: str) -> str:
    """Where older work of the same owner waits for the owner's quota."""
    return f"job {job_id} is ahead, and waits until {_owner(work)} may have more devices at once"


def _owner(work: Work) -> str:
    return f"owner {work.owner}" if work.owner else "who has no owner"


def _devices(count: int) -> str:
    return f"{count} device{'s' if count > 1 else ''}"


def _wanted(work: Work) -> str:
    named = f" named {work.device_name}" if work.device_name is not None else ""
    return named + (f" with {work.memory_mib} MiB" if work.memory_mib is not None else "")


def _indices(spot: Spot) -> str:
    return ",".join(map(str, sorted(spot.devices))) or "none"


def _why_on(work: Work, places: Places, group: Group, place: int, own: tuple[int, ...]) -> str:
    spot = places.spots[place]
    allowed = group.allowed[place]
    taken = "; ".join([_why_device(spot, index) for index in sorted(allowed) if index not in own][:MOST_NAMED])
    if work.pinned:
        return taken
    free = f"{len(own)} of {len(allowed)} free on {spot.view.node_id}"
    return f"needs {_devices(work.count)}{_wanted(work)}, {free}: {taken}"


def _why_device(spot: Spot, index: int) -> str:
    if index in spot.leased:
        return f"device {index} runs job {spot.leased[index][0]}"
    if index in spot.kept:
        return f"device {index} is kept for job {spot.kept[index]}, which is ahead"
    device = spot.devices[index]
    return f"device {index} is {device.state}" + (f" ({device.reason})" if device.reason else "")
