"""What is read when somebody asks how the daemon is: the gauges of an answer, and whether it is ready.

Nothing here runs while nobody asks. An answer is a few seconds old at most and made by one asker for all, so any number
of them costs the store a handful of small queries each few seconds; what does not answer in time is said to be away.
"""

import asyncio
import platform
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from daemon import __version__
from daemon import metrics as m
from daemon.core.work import Held
from daemon.loops.context import Context, Stage
from daemon.loops.fleet import devices_of, state_of
from daemon.metrics import Sample
from daemon.ports import UnavailableError
from schemas.enums import DeviceState, NodeState, TrainingStatus, TrainingType
from schemas.events import Device
from schemas.nodes import NodeRecord

T = TypeVar("T")

KEPT_S = 3.0
LIMIT_S = 4.0
"""Less than the ten seconds that Prometheus waits."""
MOST_OUTBOXES = 1000
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the store says."""

    census: dict[tuple[TrainingType, TrainingStatus], int]
    outboxes: int
    nodes: list[NodeRecord]
    held: list[Held]


class Readings:
    """The gauges, read anew when the last ones are older than a few seconds."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._reading = asyncio.Lock()
        self._taken: tuple[Sample, ...] = ()
        self._taken_s = float("-inf")

    async def take(self) -> tuple[Sample, ...]:
        """The gauges; waits for the store and the broker for so long at most."""
        async with self._reading:
            if self._ctx.clock.monotonic() - self._taken_s >= KEPT_S:
                self._taken = await _read(self._ctx)
                self._taken_s = self._ctx.clock.monotonic()
            return self._taken


async def not_ready(ctx: Context) -> str | None:
    """Why the daemon takes no commands now; None: it does."""
    if ctx.life.stage is not Stage.RUNNING:
        return f"the daemon is {ctx.life.stage}"
    broker, store = await asyncio.gather(_within(ctx.bus.check(), "no answer"), _within(ctx.store.check(), "no answer"))
    problems = [f"{name}: {found}" for name, found in (("broker", broker), ("store", store)) if found != "ok"]
    return "; ".join(problems) or None


async def _within(asked: Awaitable[T], otherwise: T) -> T:
    """What is answered in time and without an outage, else something else."""
    try:
        async with asyncio.timeout(LIMIT_S):
            return await asked
    except (TimeoutError, UnavailableError):
        return otherwise


async def _read(ctx: Context) -> tuple[Sample, ...]:
    broker, stored = await asyncio.gather(_within(ctx.bus.check(), "no answer"), _within(_ask_store(ctx), None))
    live = ctx.bus.statistics()
    samples = [
        Sample(m.BUILD_INFO, 1, _versions(ctx)),
        Sample(m.BROKER_UP, broker == "ok"),
        Sample(m.STORE_UP, stored is not None),
        Sample(m.LIVE_WAITING, live.waiting),
        Sample(m.LIVE_DROPPED, live.dropped),
    ]
    own = None
    if stored is not None:
        samples += _of_jobs(stored)
        samples += [
            Sample(m.NODE_UP, state_of(ctx, node) is not NodeState.OFFLINE, {"node_id": node.node_id})
            for node in stored.nodes
        ]
        own = next((node for node in stored.nodes if node.node_id == ctx.node_id), None)
    devices = devices_of(ctx, own, stored.held) if own and stored else ctx.board.current()
    return (*samples, *(sample for device in devices for sample in _of_device(device)))


async def _ask_store(ctx: Context) -> _Stored | None:
    census, outboxes, nodes, held = await asyncio.gather(
        ctx.store.census(), ctx.store.outbox_subjects(MOST_OUTBOXES), ctx.store.nodes(), ctx.store.held()
    )
    return _Stored(census, len(outboxes), nodes, held)


def _versions(ctx: Context) -> dict[str, str]:
    known = ctx.toolchain.known
    return {"version": __version__, "ms_swift": known.version if known else "", "python": platform.python_version()}


def _of_jobs(stored: _Stored) -> list[Sample]:
    counted = [
        Sample(m.JOBS, number, {"training_type": kind, "status": status})
        for (kind, status), number in stored.census.items()
    ]
    return [*counted, Sample(m.OUTBOX_DOCUMENTS, stored.outboxes)]


def _of_device(device: Device) -> Iterator[Sample]:
    index = {"device": str(device.index)}
    used = {**index, "job_id": device.job_id or ""}
    yield Sample(m.DEVICE_INFO, 1, {**index, "uuid": device.uuid or "", "name": device.name})
    for state in DeviceState:
        yield Sample(m.DEVICE_STATE, device.state is state, {**index, "state": state})
    if device.memory_total_mib is not None:
        yield Sample(m.DEVICE_MEMORY_TOTAL, device.memory_total_mib * MIB, index)
    if device.memory_used_mib is not None:
        yield Sample(m.DEVICE_MEMORY, device.memory_used_mib * MIB, used)
    if device.utilization is not None:
        yield Sample(m.DEVICE_USE, device.utilization / 100, used)
    if device.temperature is not None:
        yield Sample(m.DEVICE_TEMPERATURE, device.temperature, used)
    if device.power is not None:
        yield Sample(m.DEVICE_POWER, device.power, used)
