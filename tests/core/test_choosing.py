"""Which devices work gets: those that suit it, and for several those that are close to each other."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.links import best_connected, closeness
from daemon.core.scheduler import plan
from daemon.core.work import NodeView, Work
from schemas.enums import NodeState
from schemas.events import Device
from tests.core.factory import NOW
from tests.core.test_scheduler import held, reasons, work

A100, H100 = ("NVIDIA A100-SXM4-40GB", 40_960.0), ("NVIDIA H100 80GB HBM3", 81_559.0)


def gpus(name: str, *models: tuple[str, float | None]) -> NodeView:
    devices = tuple(
        Device(node_id=name, index=index, name=model, memory_total_mib=memory_mib)
        for index, (model, memory_mib) in enumerate(models)
    )
    return NodeView(name, NodeState.ONLINE, devices)


MIXED = [gpus("a", A100, A100, H100), gpus("h", H100, H100, A100)]


def wants(count: int = 1, **fields: object) -> Work:
    return replace(work("j", count), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wish", "node_id", "devices"),
    [
        (wants(memory_mib=60_000), "a", (2,)),
        (wants(2, memory_mib=60_000), "h", (0, 1)),
        (wants(device_name="*h100*"), "a", (2,)),
        (wants(device_name="nvidia A1??-*40gb"), "h", (2,)),
        (wants(2, device_name="*A100*", memory_mib=40_960), "a", (0, 1)),
        (wants(pinned=(2,), device_name="*H100*"), "a", (2,)),
    ],
)
def test_a_device_has_what_is_asked_for(wish: Work, node_id: str, devices: tuple[int, ...]) -> None:
    (start,) = plan([wish], MIXED, [], NOW).starts
    assert (start.node_id, start.devices) == (node_id, devices)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (wants(3, memory_mib=60_000), "needs 3 devices with 60000 MiB on one node; the largest, h, has 2"),
        (wants(device_name="*B200*"), "needs 1 device named *B200*, and no node has any"),
        (
            wants(pinned=(0, 1, 2), memory_mib=60_000),
            "no node has the devices 0,1,2 with 60000 MiB (a has 0,1,2; h has 0,1,2)",
        ),
    ],
)
def test_what_no_device_has_is_said(wish: Work, reason: str) -> None:
    decided = plan([wish], MIXED, [], NOW)
    assert reasons(decided) == {"j": reason}
    assert decided.reservations == ()


def test_a_slot_without_memory_has_never_enough() -> None:
    assert plan([wants(memory_mib=1)], [gpus("c", ("cpu", None))], [], NOW).starts == ()


def test_only_what_suits_is_kept_and_named() -> None:
    decided = plan([wants(2, memory_mib=60_000), work("other", age_s=-1)], MIXED[1:], [held("x", 0, on="h")], NOW)
    assert reasons(decided) == {
        "j": "needs 2 devices with 60000 MiB, 1 of 2 free on h: device 0 runs job x",
    }
    assert decided.starts[0].devices == (2,)


def linked(*links: tuple[int, int, int], count: int) -> dict[int, Device]:
    """Devices with so many points of closeness between them."""
    peers: dict[int, dict[str, int]] = {index: {} for index in range(count)}
    for one, other, close in links:
        peers[one][str(other)] = peers[other][str(one)] = close
    return {index: Device(node_id="n", index=index, name="gpu", peers=peers[index]) for index in range(count)}


def test_the_best_connected_are_taken() -> None:
    pairs = linked((0, 1, 10), (2, 3, 104), (1, 2, 40), (0, 3, 10), count=4)
    assert best_connected(range(4), 2, pairs) == (2, 3)
    assert best_connected([0, 1, 2], 2, pairs) == (1, 2)
    assert best_connected(range(4), 4, pairs) == (0, 1, 2, 3)
    assert best_connected(range(4), 1, pairs) == (0,)
    assert best_connected([3, 1], 1, linked(count=4)) == (3,)
    assert best_connected(range(4), 3, linked(count=4)) == (0, 1, 2)


def test_two_islands_are_not_mixed() -> None:
    islands = [(a, b, 112) for group in ((0, 2, 4, 6), (1, 3, 5, 7)) for a in group for b in group if a < b]
    devices = linked(*islands, count=8)
    node = NodeView("n", NodeState.ONLINE, tuple(devices.values()))
    assert plan([work("j", 4)], [node], [], NOW).starts[0].devices == (0, 2, 4, 6)
    assert plan([work("j", 4)], [node], [held("x", 0, on="n")], NOW).starts[0].devices == (1, 3, 5, 7)
    avoiding = replace(work("j", 2), avoid=(("n", 0), ("n", 2), ("n", 4)))
    assert plan([avoiding], [node], [], NOW).starts[0].devices == (1, 3)


@given(
    links=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([10, 40, 100, 118])), max_size=15),
    count=st.integers(1, 6),
    there=st.permutations(range(6)),
)
def test_a_choice_is_right_in_number_and_the_same_whatever_the_order(
    links: list[tuple[int, int, int]], count: int, there: list[int]
) -> None:
    devices = linked(*links, count=6)
    chosen = best_connected(sorted(there), count, devices)
    assert len(set(chosen)) == count
    if any(device.peers for device in devices.values()) and count > 1:
        assert best_connected(there, count, devices) == chosen
        if count == 2:
            best = max(closeness(devices, a, b) for a in range(6) for b in range(6) if a != b)
            assert closeness(devices, *chosen) == best
