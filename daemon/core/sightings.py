"""What a node has seen of the others' heartbeats: how long they are silent.

Silence is the time for which a heartbeat stayed the same, by this node's own clock that never goes back. So hosts'
clocks may differ; they are compared only for a node that was just met.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.nodes import NodeRecord


@dataclass(slots=True)
class _Sighting:
    heartbeat: datetime
    since_s: float
    """When this heartbeat was first seen, by the clock that never goes back."""
    age_s: float
    """How old it was then by the two hosts' clocks, where nothing better was known; else 0."""


@dataclass(slots=True)
class Sightings:
    """What was seen of the other nodes, by id."""

    _seen: dict[str, _Sighting] = field(default_factory=dict[str, _Sighting])

    def see(self, nodes: Iterable[NodeRecord], now: datetime, now_s: float) -> None:
        """Note the nodes' newest heartbeats."""
        for node in nodes:
            known = self._seen.get(node.node_id)
            if known is None:
                age_s = (now - node.last_heartbeat).total_seconds()
                self._seen[node.node_id] = _Sighting(node.last_heartbeat, now_s, max(0.0, age_s))
            elif known.heartbeat != node.last_heartbeat:
                known.heartbeat, known.since_s, known.age_s = node.last_heartbeat, now_s, 0.0
            else:
                known.since_s = min(known.since_s, now_s)

    def forget(self) -> None:
        """Nobody could be seen for a while: silence counts from now on."""
        for known in self._seen.values():
            known.since_s = float("inf")

    def silent_s(self, node: NodeRecord, now: datetime, now_s: float) -> float:
        """How long a node seems silent; for one that was just met, by the two hosts' clocks."""
        known = self._seen.get(node.node_id)
        if known is None:
            return (now - node.last_heartbeat).total_seconds()
        return known.age_s + self.watched_s(node, now_s) if known.heartbeat == node.last_heartbeat else 0.0

    def watched_s(self, node: NodeRecord, now_s: float) -> float:
        """How long a node was certainly silent, watched all the while."""
        known = self._seen.get(node.node_id)
        if known is None or known.heartbeat != node.last_heartbeat:
            return 0.0
        return max(0.0, now_s - known.since_s)
