"""Drained devices: each starts nothing new and lets its job finish, until somebody brings it back.

A drain stands in the node's document, so it outlives the daemon, and is told of by a durable event of the node. The
device is known again by NVML's id, where it has one: another card in the same slot is another device, and a card whose
index has changed is the same.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from daemon.core.nodes import node_told
from schemas.enums import DeviceState
from schemas.events import Device
from schemas.nodes import DeviceDrain, DeviceStrike, NodeRecord


def is_of(record: DeviceDrain | DeviceStrike, device: Device | DeviceDrain) -> bool:
    """Whether both are about one device; told by index only where an id is not known."""
    if record.uuid is None or device.uuid is None:
        return record.index == device.index
    return record.uuid == device.uuid


def drain_of(device: Device | DeviceDrain, drains: Iterable[DeviceDrain]) -> DeviceDrain | None:
    """Why this device is drained; None: it is not."""
    return next((drain for drain in drains if is_of(drain, device)), None)


def new_drain(device: Device, reason: str, at: datetime) -> DeviceDrain:
    """A drain of this device."""
    return DeviceDrain(index=device.index, uuid=device.uuid, reason=reason, at=at)


def drained(node: NodeRecord, drains: Iterable[DeviceDrain], *, at: datetime, by: str) -> NodeRecord:
    """The node with these drains, each told of by an event of its own; as it was where it has them all."""
    for drain in drains:
        if drain_of(drain, node.internal.drains) is None:
            node = node_told(
                node,
                f"device {drain.index} is drained: {drain.reason}",
                at=at,
                by=by,
                devices=(drain.index,),
                drains=(*node.internal.drains, drain),
                strikes=tuple(strike for strike in node.internal.strikes if not is_of(strike, drain)),
            )
    return node


def undrained(node: NodeRecord, drains: Collection[DeviceDrain], *, at: datetime, by: str) -> NodeRecord:
    """The node without these of its drains, told of in one event; as it was where there are none."""
    if not drains:
        return node
    indices = tuple(sorted(drain.index for drain in drains))
    return node_told(
        node,
        f"{named(indices)} brought back: starts jobs again",
        at=at,
        by=by,
        devices=indices,
        drains=tuple(drain for drain in node.internal.drains if drain not in drains),
    )


def named(indices: Collection[int]) -> str:
    """Devices, for a person."""
    return f"device{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices))}"


def with_drains(devices: Iterable[Device], drains: tuple[DeviceDrain, ...]) -> tuple[Device, ...]:
    """The devices, with those marked DRAINED that are; the reason also has what else is wrong with them now."""
    return tuple(_marked(device, drain_of(device, drains)) for device in devices)


def _marked(device: Device, drain: DeviceDrain | None) -> Device:
    if drain is None:
        return device
    also = f" (and it is unhealthy: {device.reason})" if device.state is DeviceState.UNHEALTHY else ""
    return device.model_copy(update={"state": DeviceState.DRAINED, "reason": f"{drain.reason}; see node.resume{also}"})
