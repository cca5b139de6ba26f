"""A node's document: what `node.list` shows, and the daemon's own part."""

from schemas.base import Wire
from schemas.events import OutboxEvent
from schemas.replies import Node


class NodeInternal(Wire):
    """The daemon's own part of a node document."""

    revision: int = 0
    sequence: int = 0
    outbox: tuple[OutboxEvent, ...] = ()


class NodeRecord(Node):
    """One daemon's node as it is stored, under its `node_id`."""

    internal: NodeInternal = NodeInternal()
