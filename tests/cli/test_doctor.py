"""What the doctor makes of what the bus tells."""

from typing import Any

import pytest

from daemon.cli.doctor import Verdict, of_dead, of_devices, of_nodes, of_parts

NODE: dict[str, Any] = {
    "node_id": "n1",
    "state": "online",
    "reason": "",
    "last_heartbeat": "2026-01-01T00:00:00Z",
    "clock_skew_seconds": 0.1,
    "devices": [],
}


def test_a_part_that_is_not_ok_comes_with_advice() -> None:
    status = {"broker": "ok", "store": "away", "devices": "ok", "swift": "ok", "versions": {"ms-swift": "4.6.0"}}
    found = {finding.part: finding for finding in of_parts(status)}
    assert {part for part, finding in found.items() if finding.verdict is Verdict.WRONG} == {"store"}
    assert "SWIFT_TRAINER_MONGODB_URL" in found["store"].advice
    assert found["swift"].said == "4.6.0"


@pytest.mark.parametrize(
    ("change", "verdicts", "said"),
    [
        ({}, ["ok", "ok"], "online"),
        ({"clock_skew_seconds": 7.0}, ["ok", "wrong"], "7.0 s behind"),
        ({"clock_skew_seconds": -7.0}, ["ok", "wrong"], "7.0 s ahead of"),
        ({"clock_skew_seconds": None}, ["ok"], "online"),
        ({"state": "offline"}, ["wrong"], "last heard of"),
        ({"state": "drained", "reason": "asked for"}, ["note", "ok"], "asked for"),
    ],
)
def test_nodes_and_clocks(change: dict[str, Any], verdicts: list[str], said: str) -> None:
    found = of_nodes([NODE | change])
    assert [finding.verdict for finding in found] == verdicts
    assert said in " ".join(finding.said for finding in found)


@pytest.mark.parametrize(
    ("state", "verdicts"), [("free", []), ("unhealthy", ["wrong"]), ("drained", ["note"]), ("foreign", ["note"])]
)
def test_devices(state: str, verdicts: list[str]) -> None:
    device = {"node_id": "n1", "index": 3, "state": state, "reason": None}
    assert [finding.verdict for finding in of_devices([device])] == verdicts


def test_dead_letters() -> None:
    assert [of_dead(number).verdict for number in (None, 0, 2)] == ["note", "ok", "note"]
