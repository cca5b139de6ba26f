"""What the doctor makes of what the bus tells: a verdict a part and, where something is wrong, what to do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from daemon import __version__
from daemon.cli.output import age_text
from daemon.client import Json
from schemas.enums import DeviceState, NodeState

MOST_SKEW_S = 2.0
SCARCE_MIB, LITTLE_MIB = 1024, 10 * 1024
"""Free space below which a node's own folders are wrong, and below which they are worth a look."""
RIGHTS_PAGE = "deploy/rabbitmq/README.md says which user may do what"
NTP = "keep the clocks by NTP (timedatectl set-ntp true)"
ADVICE = {
    "broker": "look at RabbitMQ and at SWIFT_TRAINER_AMQP_URL of the node that answers",
    "store": "look at MongoDB and at SWIFT_TRAINER_MONGODB_URL of the node that answers",
    "devices": "look at `swift-trainer gpus`, and at nvidia-smi on the node",
    "swift": "look at SWIFT_TRAINER_SWIFT_COMMAND; `swift-trainerd --check` on the node says more",
}
NO_BROKER = "start RabbitMQ (systemctl status rabbitmq-server), or correct SWIFT_TRAINER_AMQP_URL (or --url) here"
NO_DAEMON = "start swift-trainerd (systemctl status swift-trainer); its log says why it ended"


class Verdict(StrEnum):
    """How a part is."""

    OK = "ok"
    NOTE = "note"
    """Worth a look; nothing is broken."""
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """What was found of one part."""

    part: str
    verdict: Verdict
    said: str
    advice: str = ""


def of_parts(status: Json) -> list[Finding]:
    """What the node that answers says of its parts."""
    return [
        Finding(part, Verdict.OK, status["versions"].get("ms-swift", "ok") if part == "swift" else "ok")
        if status[part] == "ok"
        else Finding(part, Verdict.WRONG, status[part], advice)
        for part, advice in ADVICE.items()
    ]


def of_rights(refused: Mapping[str, str | None]) -> list[Finding]:
    """What the user of this address may do: by what was tried, None or what the broker said."""
    return [
        Finding(f"may {what}", Verdict.OK, "yes")
        if said is None
        else Finding(f"may {what}", Verdict.NOTE, f"no: {said}", f"if it should, give it the right; {RIGHTS_PAGE}")
        for what, said in refused.items()
    ]


def of_dead(number: int | None) -> Finding:
    """Commands that could not be understood."""
    if number is None:
        return Finding("dead letters", Verdict.NOTE, "this user may not look", "ask with an operator's user")
    if number:
        return Finding(
            "dead letters", Verdict.NOTE, f"{number} commands were not understood", "`swift-trainer dead list`"
        )
    return Finding("dead letters", Verdict.OK, "none")


# ---------------------------------------------------------------- clocks and versions


def of_clocks(status: Json, asked: datetime, answered: datetime) -> list[Finding]:
    """This machine's clock and the store's, against that of the node that answers."""
    found: list[Finding] = []
    if status.get("time") is not None:
        there = datetime.fromisoformat(status["time"])
        ahead_s = max((asked - there).total_seconds(), (there - answered).total_seconds(), 0.0)
        here = "this machine's is behind" if there > answered else "this machine's is ahead of"
        found.append(_clock("clock of this machine", ahead_s, f"{here} the clock of {status['node_id']}"))
    if status.get("store_skew_seconds") is not None:
        skew: float = status["store_skew_seconds"]
        said = f"the store's is {'behind' if skew > 0 else 'ahead of'} that of {status['node_id']}"
        found.append(_clock("clock of the store", abs(skew), said))
    return found


def _clock(part: str, skew_s: float, said: str) -> Finding:
    if skew_s <= MOST_SKEW_S:
        return Finding(part, Verdict.OK, f"within {MOST_SKEW_S:g} s")
    return Finding(part, Verdict.WRONG, f"{said} by {skew_s:.1f} s", NTP)


def of_versions(nodes: list[Json]) -> list[Finding]:
    """Whether this command line and the nodes are of one version, and the nodes' ms-swift."""
    online = [node for node in nodes if node["state"] != NodeState.OFFLINE]
    ours = {"this command line": __version__} | _versions(online, "swift-trainer")
    return [_of_versions("swift-trainer", ours), _of_versions("ms-swift", _versions(online, "ms-swift"))]


def _versions(nodes: list[Json], program: str) -> dict[str, str]:
    return {node["node_id"]: node["versions"][program] for node in nodes if program in node["versions"]}


def _of_versions(program: str, found: Mapping[str, str]) -> Finding:
    name = f"versions of {program}"
    if len(set(found.values())) <= 1:
        return Finding(name, Verdict.OK, next(iter(found.values()), "none known"))
    said = ", ".join(f"{version} ({who})" for who, version in found.items())
    return Finding(name, Verdict.NOTE, said, "fine while you upgrade; bring all to one version")


# ---------------------------------------------------------------- nodes


def of_nodes(nodes: list[Json]) -> list[Finding]:
    """Nodes that are away or drained, clocks that differ, and folders that are nearly full."""
    return [finding for node in nodes for finding in (_of_node(node), *_of_clock(node), *_of_disks(node))]


def _of_node(node: Json) -> Finding:
    name, reason = f"node {node['node_id']}", node["reason"]
    if node["state"] == NodeState.OFFLINE:
        said = f"offline, last heard of {age_text(node['last_heartbeat'])} ago" + (f": {reason}" if reason else "")
        gone = f"or, if it is gone for good, `swift-trainer forget {node['node_id']}`"
        return Finding(name, Verdict.WRONG, said, f"start swift-trainerd there (its log says why it ended), {gone}")
    if node["state"] == NodeState.DRAINED:
        said = "drained" + (f": {reason.removeprefix('drained: ')}" if reason else "")
        return Finding(name, Verdict.NOTE, said, f"`swift-trainer undrain {node['node_id']}` when it may work again")
    return Finding(name, Verdict.OK, f"{node['state']}, {len(node['devices'])} devices")


def _of_clock(node: Json) -> list[Finding]:
    skew: float | None = node["clock_skew_seconds"]
    if skew is None or node["state"] == NodeState.OFFLINE:
        return []
    said = f"{'behind' if skew > 0 else 'ahead of'} the node that answers"
    return [_clock(f"clock of {node['node_id']}", abs(skew), said)]


def _of_disks(node: Json) -> list[Finding]:
    if node["state"] == NodeState.OFFLINE:
        return []
    return [_of_disk(node["node_id"], disk["path"], disk["free_mib"]) for disk in node.get("disks", ())]


def _of_disk(node_id: str, path: str, free_mib: float) -> Finding:
    name, said = f"disk of {node_id}", f"{free_mib / 1024:.1f} GiB free below {path}"
    if free_mib >= LITTLE_MIB:
        return Finding(name, Verdict.OK, said)
    advice = (
        f"make room there: logs of ended jobs are in {path}/logs, `swift-trainer delete JOB --purge` removes outputs"
    )
    return Finding(name, Verdict.WRONG if free_mib < SCARCE_MIB else Verdict.NOTE, said, advice)


# ---------------------------------------------------------------- devices


def of_devices(devices: list[Json], nodes: list[Json]) -> list[Finding]:
    """Devices that can't be given to a job, with the evidence; of an offline node its own finding is enough."""
    away = {node["node_id"] for node in nodes if node["state"] == NodeState.OFFLINE}
    here = [device for device in devices if device["node_id"] not in away]
    return [found for device in here if (found := _of_device(device)) is not None]


def _of_device(device: Json) -> Finding | None:
    name = f"device {device['node_id']}/{device['index']}"
    reason = f"{device['state']}: {device['reason'] or 'no reason'}"
    if device["state"] == DeviceState.UNHEALTHY:
        return Finding(name, Verdict.WRONG, reason, "look at nvidia-smi and dmesg on the node")
    if device["state"] == DeviceState.DRAINED:
        back = f"`swift-trainer undrain {device['node_id']} --devices {device['index']}` when it is repaired"
        return Finding(name, Verdict.NOTE, reason, back)
    if device["state"] == DeviceState.FOREIGN:
        return Finding(name, Verdict.NOTE, reason, "end that process, or leave the device out of SWIFT_TRAINER_DEVICES")
    return None
