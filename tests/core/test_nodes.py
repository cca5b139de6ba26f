"""A node's change of state and its event are one value, numbered without a gap."""

from daemon.core.nodes import node_moved
from schemas.enums import NodeState
from schemas.nodes import NodeRecord
from tests.core.factory import NOW


def test_every_move_of_a_node_tells_of_itself_under_the_next_number() -> None:
    node = NodeRecord(node_id="n1", state=NodeState.ONLINE, last_heartbeat=NOW, started_at=NOW, versions={}, devices=())
    states = [NodeState.ONLINE, NodeState.DRAINED, NodeState.ONLINE, NodeState.OFFLINE]
    for state in states:
        node = node_moved(node, state, f"now {state}", at=NOW, by="n2")
        assert (node.state, node.reason) == (state, f"now {state}")
    outbox = node.internal.outbox
    assert [entry.sequence for entry in outbox] == [1, 2, 3, 4]
    assert [entry.event.id for entry in outbox] == [f"node-n1-{number}" for number in (1, 2, 3, 4)]
    assert [entry.routing_key for entry in outbox] == [f"node.n1.{state}" for state in states]
    last = outbox[-1].event
    assert (last.subject, last.source) == ("n1", "/swift-trainer/nodes/n2")
    assert last.data == {"node_id": "n1", "state": "offline", "reason": "now offline", "devices": []}
