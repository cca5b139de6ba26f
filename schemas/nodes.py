"""A node's document: what `node.list` shows, and the daemon's own part."""

from datetime import datetime

from schemas.base import Wire
from schemas.enums import ErrorCode
from schemas.events import OutboxEvent
from schemas.replies import Node


class DeviceDrain(Wire):
    """A device that starts nothing new until it is brought back."""

    index: int
    """Its index when it was drained."""
    uuid: str | None = None
    """NVML's id, by which it is known again where indices have changed; null for a CPU slot."""
    reason: str
    """The evidence, or who asked, in words for a person."""
    at: datetime
    """UTC."""


class DeviceStrike(Wire):
    """An attempt that failed on a device in a way that the device may have caused."""

    index: int
    """Its index at that time."""
    uuid: str | None = None
    """As in a drain."""
    job_id: str
    """Whose attempt it was."""
    attempt: int
    """Which one."""
    error_code: ErrorCode
    """Why it failed."""
    at: datetime
    """UTC."""


class NodeInternal(Wire):
    """The daemon's own part of a node document."""

    revision: int = 0
    sequence: int = 0
    epoch: int = 0
    """Of the node's lease: goes up when another node declares it lost, and it can't renew the old one any more."""
    lost: bool = False
    """It was declared lost and has not come back: its jobs are to be requeued."""
    drained: bool = False
    """It was drained when it was declared lost."""
    forgotten: bool = False
    """An operator left it out: nothing shows it or counts on it, until it sends a heartbeat. Its document stays, with
    the lease's epoch and the number of its events, so that one that is back is the node that it was."""
    vacates_at: datetime | None = None
    """It was drained with a deadline (UTC): what runs there then gives way."""
    outbox: tuple[OutboxEvent, ...] = ()
    drains: tuple[DeviceDrain, ...] = ()
    """Drained devices, over restarts of the daemon."""
    strikes: tuple[DeviceStrike, ...] = ()
    """At most one a device: the newest, until an attempt completes there."""


class NodeRecord(Node):
    """One daemon's node as it is stored, under its `node_id`."""

    internal: NodeInternal = NodeInternal()
