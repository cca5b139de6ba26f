"""The composition root: the only place where real things are made and wired. The story of start and stop.

Start: the broker and the store are waited for; the devices are read and the node is made known; what ran here under an
earlier daemon is taken up; then the loops run, in scopes that lie inside each other.

Stop, inside out, each stage with a budget: (1) intake and scheduling: nothing new is begun; (2) supervision: it
detaches and the trainings run on, or, by setting, they are stopped; (3) the outbox publishes what waits; (4) heartbeat
and telemetry end, the node says that it is offline; (5) connections. `/metrics`, `/healthz` and `/readyz`, where they
are wanted, answer from before the first to the last of this. A loop that ends on its own is a bug and brings the daemon
down. A second signal skips to the end of the process; nothing is lost by that either.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from daemon.adapters.clock import SystemClock
from daemon.adapters.device_setting import DriverSilentError, awaited_devices, make_devices
from daemon.adapters.files import LocalFiles
from daemon.adapters.http_endpoint import Answer, HttpEndpoint
from daemon.adapters.mongo import MongoStore
from daemon.adapters.processes import LocalRuns
from daemon.adapters.rabbit import RabbitBus
from daemon.adapters.state_folder import state_folder
from daemon.adapters.toolchain import SwiftToolchain
from daemon.core.moves import export_stopped, stop_ordered
from daemon.logs import get_log
from daemon.loops.context import Context, Stage, change_job, persistently, reached
from daemon.loops.draining import draining
from daemon.loops.fleet import read_devices
from daemon.loops.heartbeat import beat, come_online, go_offline, heartbeat
from daemon.loops.intake import intake
from daemon.loops.neighbours import neighbours
from daemon.loops.outbox import flush, outbox
from daemon.loops.readings import Readings, not_ready
from daemon.loops.scheduling import scheduling
from daemon.loops.supervision import Supervision
from daemon.loops.telemetry import telemetry
from daemon.loops.wakeups import wakeups
from daemon.metrics import DAEMON
from daemon.ports import Devices, ToolchainError, UnavailableError
from daemon.prometheus import CONTENT_TYPE, PrometheusMeters
from daemon.settings import Settings
from schemas.enums import TrainingStatus
from schemas.jobs import StopOrder, TrainingJob

log = get_log("app")

INTAKE_BUDGET_S: Final = 10.0
SUPERVISION_BUDGET_S: Final = 5.0
OUTBOX_BUDGET_S: Final = 10.0
NODE_BUDGET_S: Final = 5.0
HTTP_BUDGET_S: Final = 2.0
CLOSE_BUDGET_S: Final = 5.0
CANCEL_AGAIN_S: Final = 1.0
STOP_MARGIN_S: Final = 15.0
"""Beyond a training's own grace time, when the daemon stops its trainings as well."""


class LoopEndedError(RuntimeError):
    """A loop returned that never should."""


@contextlib.asynccontextmanager
async def real_ports(settings: Settings) -> AsyncGenerator[Context]:
    """The real things, connected, and closed at the end."""
    with state_folder(settings.state_path):
        async with _connected(settings) as ctx:
            yield ctx


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncGenerator[Context]:
    bus = RabbitBus(
        settings.amqp_url.get_secret_value(),
        node_id=settings.node_id,
        ca_file=settings.amqp_ca_path,
    )
    store = MongoStore(settings.mongodb_url.get_secret_value(), settings.mongodb_database)
    devices = await _devices(settings, store)
    meters = PrometheusMeters(DAEMON)
    ctx = Context(
        settings=settings,
        clock=SystemClock(),
        bus=bus,
        store=store,
        devices=devices,
        runs=LocalRuns(settings.state_path),
        files=LocalFiles(),
        toolchain=SwiftToolchain(
            settings.swift_command, version=settings.swift_version, cache_dir=settings.state_path / "cache"
        ),
        meters=meters,
        environment=dict(os.environ),
    )
    try:
        async with _watched(ctx, meters):
            await persistently(ctx, "the store", store.prepare)
            await bus.start()
            yield ctx
    finally:
        async with _budget("connections", CLOSE_BUDGET_S):
            await bus.close()
            await store.close()
            await devices.close()


async def _devices(settings: Settings, store: MongoStore) -> Devices:
    """This host's devices. A driver that has them no more keeps no daemon from watching what runs on them."""
    try:
        return await asyncio.to_thread(make_devices, settings.devices, settings.node_id)
    except DriverSilentError as silent:
        log.warning("driver_silent", str(silent))
        node = await reached(SystemClock(), "the devices of before", lambda: store.get_node(settings.node_id))
        return awaited_devices(silent, node.devices if node is not None else ())


@contextlib.asynccontextmanager
async def _watched(ctx: Context, meters: PrometheusMeters) -> AsyncGenerator[None]:
    """Answer who watches the daemon, where a port is set: from before the broker and the store are there."""
    if not ctx.settings.http_port:
        yield
        return
    readings = Readings(ctx)

    async def metrics() -> Answer:
        return Answer(200, meters.render(await readings.take()), CONTENT_TYPE)

    async def ready() -> Answer:
        problem = await not_ready(ctx)
        return Answer(503, f"{problem}\n".encode()) if problem else Answer(200, b"ready\n")

    async def live() -> Answer:
        return Answer(200, f"live, {ctx.life.stage}\n".encode())  # a loop that ended would have ended this one

    routes = {"/metrics": metrics, "/healthz": live, "/readyz": ready}
    endpoint = HttpEndpoint(ctx.settings.http_host, ctx.settings.http_port, routes)
    async with _running(finish=_Finish("HTTP endpoint", HTTP_BUDGET_S, endpoint.stop), http=endpoint.run()):
        yield


async def serve(ctx: Context, stopping: asyncio.Event, ready: asyncio.Event) -> None:
    """Run the daemon on connected ports until `stopping` is set; sets `ready` when all its loops run."""
    started_at = ctx.clock.now()
    await read_devices(ctx)
    await come_online(ctx, started_at)
    async with (
        _aside("asking ms-swift", _ask_swift(ctx, started_at)),
        _running(
            heartbeat=heartbeat(ctx, started_at),
            neighbours=neighbours(ctx),
            telemetry=telemetry(ctx),
            draining=draining(ctx),
        ),
        _finally("node offline", NODE_BUDGET_S, lambda: _leave(ctx)),
        _running(outbox=outbox(ctx), wakeups=wakeups(ctx)),
        _finally("outbox flush", OUTBOX_BUDGET_S, lambda: flush(ctx)),
        asyncio.TaskGroup() as group,
    ):
        supervision = Supervision(ctx, group)
        await supervision.recover()
        async with (
            _finally("supervision", _supervision_budget_s(ctx), lambda: _let_go(ctx, supervision)),
            _running(scheduling=scheduling(ctx, supervision.begin), unfollowed=supervision.look_after()),
            _running(finish=_Finish("intake", INTAKE_BUDGET_S, ctx.bus.stop_consuming), intake=intake(ctx)),
        ):
            ready.set()
            ctx.life.stage = Stage.RUNNING
            log.info("daemon_started", "ready", node_id=ctx.node_id, devices=len(ctx.board.devices))
            await stopping.wait()
            ctx.life.stage = Stage.STOPPING
            log.info("daemon_stopping", "stopping", running=supervision.running, on_exit=ctx.settings.on_exit)


async def _leave(ctx: Context) -> None:
    """Say that the node is offline; the outbox's loop has ended, so that is published here."""
    await go_offline(ctx)
    await flush(ctx)


async def _ask_swift(ctx: Context, started_at: datetime) -> None:
    """Ask ms-swift for its version and options early (the first time takes seconds), so that no job waits for that."""
    try:
        await ctx.toolchain.installed()
        await beat(ctx, started_at)
    except ToolchainError as error:
        log.warning("swift_missing", str(error))
    except UnavailableError as error:
        log.debug("heartbeat_waits", str(error))


def _supervision_budget_s(ctx: Context) -> float:
    if ctx.settings.on_exit == "leave":
        return SUPERVISION_BUDGET_S
    return ctx.settings.stop_grace_seconds + STOP_MARGIN_S


async def _let_go(ctx: Context, supervision: Supervision) -> None:
    """Leave the trainings running, or stop them first, as the setting says."""
    try:
        if ctx.settings.on_exit == "stop":
            for job in await ctx.store.jobs_on(ctx.node_id):
                await change_job(ctx, job.id, lambda now: _stopped(ctx, now))
            while supervision.running:
                await ctx.clock.sleep(0.1)
    finally:
        supervision.detach()


def _stopped(ctx: Context, job: TrainingJob) -> TrainingJob | None:
    grace_s, at, by = ctx.settings.stop_grace_seconds, ctx.clock.now(), ctx.node_id
    if job.status in {TrainingStatus.STARTING, TrainingStatus.RUNNING}:
        return stop_ordered(job, StopOrder(grace_s=grace_s, save=True, requested_at=at), by=by)
    if job.internal.export_node_id == by:
        return export_stopped(job, f"node {by} is stopping", grace_s=grace_s, at=at, by=by, again=True)
    return None


@dataclass(frozen=True, slots=True)
class _Finish:
    """How loops are told to come to their own end, and how long they may take for it."""

    stage: str
    budget_s: float
    act: Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def _running(finish: _Finish | None = None, **loops: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Run loops beside the body; one that ends before it brings everything down. Cancelled at the end."""
    leaving = False

    async def guarded(name: str, loop: Coroutine[None, None, None]) -> None:
        await loop
        if not leaving:
            raise LoopEndedError(f"the loop {name!r} ended on its own")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(guarded(name, loop), name=name) for name, loop in loops.items()]
        try:
            yield
        finally:
            leaving = True
            if finish is not None:
                async with _budget(finish.stage, finish.budget_s):
                    await finish.act()
                    await asyncio.wait(tasks)
            await _end(tasks)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel loops until they have ended.

    Once is not enough: Python 3.11's `wait_for`, which the broker's client is full of, swallows a cancellation that
    comes in the moment in which what it waits for is there, and the loop would go on for ever.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


@contextlib.asynccontextmanager
async def _aside(name: str, work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Do something once beside the body; cancelled where the body ends first."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work, name=name)
        try:
            yield
        finally:
            task.cancel()


@contextlib.asynccontextmanager
async def _finally(stage: str, budget_s: float, act: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """At the end of the body do one last thing, within a budget; an outage then is said and left."""
    try:
        yield
    finally:
        async with _budget(stage, budget_s):
            await act()


@contextlib.asynccontextmanager
async def _budget(stage: str, budget_s: float) -> AsyncGenerator[None]:
    """A stage of the stop: what it can't do in time, or without its outside, is left for the next start."""
    try:
        async with asyncio.timeout(budget_s):
            yield
    except TimeoutError:
        log.warning("stage_late", f"{stage} did not end within {budget_s:g} s; the next start goes on from there")
    except UnavailableError as error:
        log.warning("stage_away", f"{stage}: {error}; the next start goes on from there")
