"""What the doctor makes of what the bus tells."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon import __version__
from daemon.cli.findings import (
    LITTLE_MIB,
    SCARCE_MIB,
    Verdict,
    of_clocks,
    of_dead,
    of_devices,
    of_nodes,
    of_parts,
    of_rights,
    of_versions,
)

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
        ({"clock_skew_seconds": 7.0}, ["ok", "wrong"], "behind the node that answers by 7.0 s"),
        ({"clock_skew_seconds": -7.0}, ["ok", "wrong"], "ahead of the node that answers by 7.0 s"),
        ({"clock_skew_seconds": None}, ["ok"], "online"),
        ({"disks": [{"path": "/var", "free_mib": LITTLE_MIB}]}, ["ok", "ok", "ok"], "10.0 GiB free below /var"),
        ({"disks": [{"path": "/var", "free_mib": LITTLE_MIB - 1}]}, ["ok", "ok", "note"], "free below /var"),
        ({"disks": [{"path": "/var", "free_mib": SCARCE_MIB - 1}]}, ["ok", "ok", "wrong"], "free below /var"),
        ({"state": "offline", "disks": [{"path": "/var", "free_mib": 0}]}, ["wrong"], "last heard of"),
        ({"state": "drained", "reason": "asked for"}, ["note", "ok"], "asked for"),
    ],
)
def test_nodes_and_clocks(change: dict[str, Any], verdicts: list[str], said: str) -> None:
    found = of_nodes([NODE | change])
    assert [finding.verdict for finding in found] == verdicts
    assert said in " ".join(finding.said for finding in found)


def test_that_a_node_is_drained_is_said_once() -> None:
    found, _clock = of_nodes([NODE | {"state": "drained", "reason": "drained: starts nothing new"}])
    assert found.said == "drained: starts nothing new"


@pytest.mark.parametrize(
    ("state", "verdicts"), [("free", []), ("unhealthy", ["wrong"]), ("drained", ["note"]), ("foreign", ["note"])]
)
def test_devices(state: str, verdicts: list[str]) -> None:
    device = {"node_id": "n1", "index": 3, "state": state, "reason": None}
    assert [finding.verdict for finding in of_devices([device], [NODE])] == verdicts


def test_a_device_of_an_offline_node_is_not_told_again() -> None:
    device = {"node_id": "n1", "index": 3, "state": "unhealthy", "reason": "its node is offline"}
    assert of_devices([device], [NODE | {"state": "offline"}]) == []


@pytest.mark.parametrize(
    ("time_s", "store_s", "verdicts", "said"),
    [
        (0.5, 0.1, ["ok", "ok"], ""),
        (-1.9, 0.0, ["ok", "ok"], ""),
        (9.0, 0.0, ["wrong", "ok"], "this machine's is behind the clock of n1 by 8.0 s"),
        (-9.0, 0.0, ["wrong", "ok"], "this machine's is ahead of the clock of n1 by 9.0 s"),
        (0.5, 3.0, ["ok", "wrong"], "the store's is behind that of n1 by 3.0 s"),
        (0.5, -3.0, ["ok", "wrong"], "the store's is ahead of that of n1 by 3.0 s"),
    ],
)
def test_clocks_of_this_machine_and_of_the_store(time_s: float, store_s: float, verdicts: list[str], said: str) -> None:
    asked = datetime(2026, 1, 1, tzinfo=UTC)
    told = {"node_id": "n1", "time": (asked + timedelta(seconds=time_s)).isoformat(), "store_skew_seconds": store_s}
    found = of_clocks(told, asked, asked + timedelta(seconds=1))
    assert [finding.verdict for finding in found] == verdicts
    assert said in " ".join(finding.said for finding in found)


def test_an_older_daemon_tells_no_clocks() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert of_clocks({"node_id": "n1"}, now, now) == []


def test_versions() -> None:
    same = NODE | {"versions": {"swift-trainer": __version__, "ms-swift": "4.6.0"}}
    assert [finding.verdict for finding in of_versions([same])] == ["ok", "ok"]
    other = NODE | {"node_id": "n2", "versions": {"swift-trainer": "9.9", "ms-swift": "3.12.6"}}
    found = of_versions([same, other])
    assert [finding.verdict for finding in found] == ["note", "note"]
    assert "9.9 (n2)" in found[0].said
    assert [finding.verdict for finding in of_versions([same, other | {"state": "offline"}])] == ["ok", "ok"]


def test_rights() -> None:
    found = of_rights({"order jobs": None, "order nodes": "ACCESS_REFUSED"})
    assert [(finding.part, finding.verdict) for finding in found] == [
        ("may order jobs", "ok"),
        ("may order nodes", "note"),
    ]
    assert "ACCESS_REFUSED" in found[1].said


def test_dead_letters() -> None:
    assert [of_dead(number).verdict for number in (None, 0, 2)] == ["note", "ok", "note"]
