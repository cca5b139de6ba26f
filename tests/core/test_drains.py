"""Drained devices: known by their own ids, told of once each, and brought back."""

from daemon.core.drains import drain_of, drained, new_drain, undrained, with_drains
from schemas.enums import DeviceState, NodeState
from schemas.events import Device
from schemas.nodes import NodeRecord
from tests.core.factory import NOW


def make_node(**fields: object) -> NodeRecord:
    """An online node of four devices."""
    base = {"node_id": "n", "state": NodeState.ONLINE, "last_heartbeat": NOW, "started_at": NOW, "devices": GPUS}
    return NodeRecord.model_validate({**base, **fields})


def gpu(index: int, uuid: str | None = None) -> Device:
    """A device with an id of its own."""
    return Device(node_id="n", index=index, uuid=uuid or f"GPU-{index}", name="H100")


GPUS = tuple(gpu(index) for index in range(4))


def told(node: NodeRecord) -> list[tuple[str, object, object]]:
    """What the node's events say: routing key, devices, reason."""
    return [
        (entry.routing_key, entry.event.data["devices"], entry.event.data["reason"]) for entry in node.internal.outbox
    ]


def test_each_drain_is_told_of_once_and_leaves_the_nodes_own_state() -> None:
    node = make_node(reason="daemon started")
    for _ in range(2):
        node = drained(node, [new_drain(GPUS[1], "Xid 79", NOW), new_drain(GPUS[3], "Xid 48", NOW)], at=NOW, by="n")
    assert told(node) == [
        ("node.n.online", [1], "device 1 is drained: Xid 79"),
        ("node.n.online", [3], "device 3 is drained: Xid 48"),
    ]
    assert (node.state, node.reason, node.internal.sequence) == (NodeState.ONLINE, "daemon started", 2)
    assert drained(node, [new_drain(GPUS[1], "Xid 62", NOW)], at=NOW, by="n") is node


def test_a_drained_device_is_shown_with_the_evidence() -> None:
    drains = (new_drain(GPUS[2], "Xid 79", NOW),)
    shown = with_drains(GPUS, drains)
    assert [device.state for device in shown] == [DeviceState.FREE] * 2 + [DeviceState.DRAINED, DeviceState.FREE]
    assert shown[2].reason == "Xid 79; see node.resume"
    lost = GPUS[2].model_copy(update={"state": DeviceState.UNHEALTHY, "reason": "NVML: GPU is lost"})
    assert with_drains([lost], drains)[0].reason == "Xid 79; see node.resume (and it is unhealthy: NVML: GPU is lost)"


def test_a_device_is_known_by_its_id_and_by_its_index_where_it_has_none() -> None:
    drain = new_drain(gpu(2, "GPU-x"), "sick", NOW)
    assert drain_of(gpu(5, "GPU-x"), [drain]) is drain, "the same card under another index"
    assert drain_of(gpu(2, "GPU-y"), [drain]) is None, "another card in the same slot"
    slot = Device(node_id="n", index=2, name="CPU slot 2")
    assert drain_of(slot, [drain]) is drain
    assert drain_of(slot, [new_drain(gpu(3), "sick", NOW)]) is None


def test_bringing_back_is_told_in_one_event_and_nothing_where_there_is_nothing() -> None:
    node = drained(make_node(), [new_drain(GPUS[index], "sick", NOW) for index in (3, 0, 1)], at=NOW, by="n")
    assert undrained(node, [], at=NOW, by="n") is node
    back = undrained(node, [drain for drain in node.internal.drains if drain.index != 1], at=NOW, by="m")
    assert told(back)[3:] == [("node.n.online", [0, 3], "devices 0, 3 brought back: starts jobs again")]
    assert [drain.index for drain in back.internal.drains] == [1]
    assert (
        told(undrained(back, back.internal.drains, at=NOW, by="m"))[4][2] == "device 1 brought back: starts jobs again"
    )
