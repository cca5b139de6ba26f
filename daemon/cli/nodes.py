"""Queue, devices and nodes: what waits and why, what is free, and what shall start nothing new."""

from typing import Annotated

import typer

from daemon.cli.completing import node_ids
from daemon.cli.output import age_text, say, show_document, show_fields
from daemon.cli.session import EXIT_USAGE, AsJson, Url, fail, run
from daemon.cli.tables import Column, Excess, show_fitted
from daemon.client import Client, Json

Node = Annotated[str, typer.Argument(help="a node's id, as `nodes` shows it", autocompletion=node_ids)]
Devices = Annotated[str | None, typer.Option(help="only these devices, by index: 0,2")]
QUEUE_COLUMNS = (
    Column("#", 0),
    Column("JOB", 1, ids=True),
    Column("WORK", 9),
    Column("PRIORITY", 4),
    Column("DEVICES", 5),
    Column("OWNER", 6),
    Column("WAITS", 3),
    Column("NODE", 7, Excess.CUT, least=12),
    Column("STARTS BY", 8),
    Column("REASON", 2, Excess.FOLD, least=30),
)
GPU_COLUMNS = (
    Column("NODE", 0, Excess.CUT, least=12),
    Column("INDEX", 1),
    Column("NAME", 7, Excess.CUT, least=12),
    Column("STATE", 2),
    Column("MEMORY MIB", 5),
    Column("USE", 6),
    Column("TEMP", 8),
    Column("POWER", 9),
    Column("JOB", 3, ids=True),
    Column("REASON", 4, Excess.FOLD, least=24),
)
NODE_COLUMNS = (
    Column("NODE", 0, Excess.CUT, least=12),
    Column("STATE", 1),
    Column("DEVICES", 5),
    Column("HEARTBEAT", 2),
    Column("STARTED", 6),
    Column("CLOCK", 7),
    Column("VERSIONS", 4, Excess.FOLD, least=24),
    Column("REASON", 3, Excess.FOLD, least=24),
)


def queue(*, as_json: AsJson = False, url: Url = None) -> None:
    """Show what waits, in the order of the turns, each with the reason."""

    async def act(client: Client) -> None:
        found = await client.call("queue.list")
        if as_json:
            show_document(found)
            return
        show_fitted(QUEUE_COLUMNS, map(_queued, found["jobs"]), empty="nothing waits")
        if found["total"] > len(found["jobs"]):
            say(f"the first {len(found['jobs'])} of {found['total']}")

    run(url, act)


def _queued(job: Json) -> tuple[object, ...]:
    return (
        job["position"],
        job["job_id"],
        job["work"],
        job["priority"],
        job["gpu_id"] or job["devices_needed"],
        job["owner"],
        age_text(job["queued_at"]),
        job["node_id"],
        job["expected_start"],
        job["wait_reason"],
    )


def gpus(*, as_json: AsJson = False, url: Url = None) -> None:
    """Show every node's devices: use, state, and the job or the reason."""

    async def act(client: Client) -> None:
        found = await client.call("gpu.list")
        if as_json:
            show_document(found)
            return
        show_fitted(GPU_COLUMNS, map(_device, found["gpus"]), empty="no devices")

    run(url, act)


def _device(device: Json) -> tuple[object, ...]:
    return (
        device["node_id"],
        device["index"],
        device["name"],
        device["state"],
        _of(device["memory_used_mib"], device["memory_total_mib"]),
        _unit(device["utilization"], "%"),
        _unit(device["temperature"], "°C"),
        _unit(device["power"], "W"),
        device["job_id"],
        device["reason"],
    )


def _unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.0f}{unit}"


def _of(used: float | None, total: float | None) -> str:
    return "" if used is None or total is None else f"{used:.0f}/{total:.0f}"


def nodes(*, as_json: AsJson = False, url: Url = None) -> None:
    """Show the nodes with their state, heartbeat and versions."""

    async def act(client: Client) -> None:
        found = await client.call("node.list")
        if as_json:
            show_document(found)
            return
        show_fitted(NODE_COLUMNS, map(_node, found["nodes"]), empty="no node was ever seen")

    run(url, act)


def _node(node: Json) -> tuple[object, ...]:
    skew = node["clock_skew_seconds"]
    return (
        node["node_id"],
        node["state"],
        len(node["devices"]),
        age_text(node["last_heartbeat"]),
        age_text(node["started_at"]),
        "" if skew is None else f"{-skew:+.1f}s",
        node["versions"],
        node["reason"],
    )


def drain(
    node: Node,
    *,
    devices: Devices = None,
    deadline: Annotated[
        float | None, typer.Option(min=0, help="seconds until what still runs saves and goes on elsewhere")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Let a node, or some of its devices, start nothing new. What runs there finishes."""
    _order("node.drain", node, devices, {} if deadline is None else {"deadline_seconds": deadline}, as_json, url)


def undrain(node: Node, *, devices: Devices = None, as_json: AsJson = False, url: Url = None) -> None:
    """Bring a drained node, or some of its devices, back to work."""
    _order("node.resume", node, devices, {}, as_json, url)


def forget(node: Node, *, as_json: AsJson = False, url: Url = None) -> None:
    """Leave a node that is gone for good out of all lists. One that comes back is in them again."""
    _order("node.forget", node, None, {}, as_json, url)


def _order(command: str, node: str, devices: str | None, more: Json, as_json: bool, url: str | None) -> None:
    body: Json = {"node_id": node, **more}
    if devices is not None:
        body["devices"] = device_indices(devices)

    async def act(client: Client) -> None:
        result = await client.call(command, body)
        if as_json:
            show_document(result)
        else:
            say(f"{result['node_id']}: {result['message']}")

    run(url, act)


def device_indices(text: str) -> list[int]:
    """The indices in `0,2`; a mistake is told and ends the program."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        fail(f"--devices {text}: give indices with commas between, as 0,2", EXIT_USAGE)
    return [int(word) for word in words]


def status(*, as_json: AsJson = False, url: Url = None) -> None:
    """Show broker, store, devices and ms-swift, and how many jobs there are of each status."""

    async def act(client: Client) -> None:
        found = await client.call("system.status")
        if as_json:
            show_document(found)
        else:
            parts = ("status", "broker", "store", "devices", "swift", "node_id", "versions")
            show_fields({**{name: found[name] for name in parts}, "jobs": found["counts"]})

    run(url, act)
