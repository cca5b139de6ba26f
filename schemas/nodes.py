"""A node's document: what `node.list` shows, and the daemon's own part."""

from schemas.base import Wire
from schemas.events import OutboxEvent
from schemas.replies import Node


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
    outbox: tuple[OutboxEvent, ...] = ()


class NodeRecord(Node):
    """One daemon's node as it is stored, under its `node_id`."""

    internal: NodeInternal = NodeInternal()
