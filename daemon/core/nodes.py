"""The changes of a node, each a pure function from one document to the next, with its durable event."""

from datetime import datetime

from daemon.core.moves import source_of
from schemas.enums import NodeState
from schemas.events import NODE_TYPE, CloudEvent, NodeData, OutboxEvent
from schemas.nodes import NodeRecord


def node_lost(node: NodeRecord, reason: str, *, at: datetime, by: str) -> NodeRecord:
    """The node without its lease. One that was drained is so still when it comes back."""
    told = node_moved(node, NodeState.OFFLINE, reason, at=at, by=by)
    return _with_internal(told, epoch=node.internal.epoch + 1, lost=True, drained=node.state is NodeState.DRAINED)


def node_back(node: NodeRecord, reason: str, *, at: datetime, by: str) -> NodeRecord:
    """A lost node that runs nothing of the time before: it may lease again."""
    state = NodeState.DRAINED if node.internal.drained else NodeState.ONLINE
    return _with_internal(node_moved(node, state, reason, at=at, by=by), lost=False, drained=False)


def node_vacated(node: NodeRecord, at: datetime | None) -> NodeRecord:
    """The node with the time at which its jobs give way; None: they need not."""
    return node if node.internal.vacates_at == at else _with_internal(node, vacates_at=at)


def node_forgotten(node: NodeRecord) -> NodeRecord:
    """The node, left out of all that is shown until it sends a heartbeat."""
    return _with_internal(node, forgotten=True)


def _with_internal(node: NodeRecord, **changes: object) -> NodeRecord:
    return node.model_copy(update={"internal": node.internal.model_copy(update=changes)})


def node_moved(node: NodeRecord, state: NodeState, reason: str, *, at: datetime, by: str) -> NodeRecord:
    """The node in its new state, and the event that tells of it."""
    return node_told(node.model_copy(update={"state": state, "reason": reason}), reason, at=at, by=by)


def node_told(
    node: NodeRecord, reason: str, *, at: datetime, by: str, devices: tuple[int, ...] = (), **internal: object
) -> NodeRecord:
    """The node with other changes to its internal part, and the event that tells why; `devices`: of which of them."""
    sequence = node.internal.sequence + 1
    data = NodeData(node_id=node.node_id, state=node.state, reason=reason, devices=devices)
    event = CloudEvent(
        id=f"node-{node.node_id}-{sequence}",
        source=source_of(by),
        type=NODE_TYPE,
        subject=node.node_id,
        time=at,
        sequence=sequence,
        data=data.model_dump(mode="json"),
    )
    entry = OutboxEvent(sequence=sequence, routing_key=f"node.{node.node_id}.{node.state}", event=event)
    return _with_internal(node, sequence=sequence, outbox=(*node.internal.outbox, entry), **internal)
