"""`swift-trainer doctor`: what is wrong and what to do, as far as the bus can tell.

`swift-trainerd --check`, on a node, sees the rest: its folders, its disk and its own settings.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum

import typer

from daemon.cli.dead_letters import count_dead
from daemon.cli.output import age_text, show_document, show_table
from daemon.cli.session import EXIT_REFUSED, AsJson, Url, run
from daemon.client import Client, Json
from schemas.enums import DeviceState, NodeState

MOST_SKEW_S = 2.0
ANSWER_LIMIT_S = 10.0
ADVICE = {
    "broker": "look at RabbitMQ and at SWIFT_TRAINER_AMQP_URL of the node that answers",
    "store": "look at MongoDB and at SWIFT_TRAINER_MONGODB_URL of the node that answers",
    "devices": "look at `swift-trainer gpus`, and at nvidia-smi on the node",
    "swift": "look at SWIFT_TRAINER_SWIFT_COMMAND; `swift-trainerd --check` on the node says more",
}


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


def doctor(*, as_json: AsJson = False, url: Url = None) -> None:
    """Say what is wrong with broker, store, devices, ms-swift, nodes and clocks, and what to do; then exit with 1."""

    async def act(client: Client) -> None:
        status = await client.call("system.status", timeout_s=ANSWER_LIMIT_S)
        found = [
            *of_parts(status),
            *of_nodes((await client.call("node.list", timeout_s=ANSWER_LIMIT_S))["nodes"]),
            *of_devices((await client.call("gpu.list", timeout_s=ANSWER_LIMIT_S))["gpus"]),
            of_dead(await count_dead(client)),
        ]
        if as_json:
            show_document([asdict(finding) for finding in found])
        else:
            rows = [(item.part, item.verdict, item.said, item.advice) for item in found]
            show_table(("PART", "", "FOUND", "WHAT TO DO"), rows, empty="nothing was found")
        if any(finding.verdict is Verdict.WRONG for finding in found):
            raise typer.Exit(EXIT_REFUSED)

    run(url, act)


def of_parts(status: Json) -> list[Finding]:
    """What the node that answers says of its parts."""
    return [
        Finding(part, Verdict.OK, status["versions"].get("ms-swift", "ok") if part == "swift" else "ok")
        if status[part] == "ok"
        else Finding(part, Verdict.WRONG, status[part], advice)
        for part, advice in ADVICE.items()
    ]


def of_nodes(nodes: list[Json]) -> list[Finding]:
    """Nodes that are away or drained, and clocks that differ."""
    return [finding for node in nodes for finding in (_of_node(node), *_of_clock(node))]


def _of_node(node: Json) -> Finding:
    name, reason = f"node {node['node_id']}", node["reason"]
    if node["state"] == NodeState.OFFLINE:
        said = f"offline, last heard of {age_text(node['last_heartbeat'])} ago" + (f": {reason}" if reason else "")
        return Finding(name, Verdict.WRONG, said, "start swift-trainerd there; its log says why it ended")
    if node["state"] == NodeState.DRAINED:
        said = "drained" + (f": {reason}" if reason else "")
        return Finding(name, Verdict.NOTE, said, f"`swift-trainer undrain {node['node_id']}` when it may work again")
    return Finding(name, Verdict.OK, f"{node['state']}, {len(node['devices'])} devices")


def _of_clock(node: Json) -> list[Finding]:
    skew: float | None = node["clock_skew_seconds"]
    if skew is None or node["state"] == NodeState.OFFLINE:
        return []
    name = f"clock of {node['node_id']}"
    if abs(skew) <= MOST_SKEW_S:
        return [Finding(name, Verdict.OK, f"within {MOST_SKEW_S:g} s")]
    said = f"{abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} the node that answers"
    return [Finding(name, Verdict.WRONG, said, "keep the clocks by NTP (timedatectl set-ntp true)")]


def of_devices(devices: list[Json]) -> list[Finding]:
    """Devices that can't be given to a job, with the evidence."""
    return [found for device in devices if (found := _of_device(device)) is not None]


def _of_device(device: Json) -> Finding | None:
    name, reason = (
        f"device {device['node_id']}/{device['index']}",
        f"{device['state']}: {device['reason'] or 'no reason'}",
    )
    if device["state"] == DeviceState.UNHEALTHY:
        return Finding(name, Verdict.WRONG, reason, "look at nvidia-smi and dmesg on the node")
    if device["state"] == DeviceState.DRAINED:
        back = f"`swift-trainer undrain {device['node_id']} --devices {device['index']}` when it is repaired"
        return Finding(name, Verdict.NOTE, reason, back)
    if device["state"] == DeviceState.FOREIGN:
        return Finding(name, Verdict.NOTE, reason, "end that process, or leave the device out of SWIFT_TRAINER_DEVICES")
    return None


def of_dead(number: int | None) -> Finding:
    """Commands that could not be understood."""
    if number is None:
        return Finding("dead letters", Verdict.NOTE, "this user may not look", "ask with an operator's user")
    if number:
        return Finding(
            "dead letters", Verdict.NOTE, f"{number} commands were not understood", "`swift-trainer dead list`"
        )
    return Finding("dead letters", Verdict.OK, "none")
