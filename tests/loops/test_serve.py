"""The whole daemon: it starts behind its outside, stops inside out, within budgets, and never lives on half dead."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from daemon import app
from daemon.loops.context import Context
from daemon.loops.handling.table import HANDLERS
from schemas.enums import NodeState, TrainingStatus
from tests.loops.rig import CREATE, Daemon, World

S = TrainingStatus
SHORT_S = 0.02
"""Of real time: the budgets are asyncio's."""


class Served:
    """`serve` at work."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.world = daemon.world
        self.stopping, self.ready = asyncio.Event(), asyncio.Event()
        self.task = asyncio.ensure_future(app.serve(daemon.ctx, self.stopping, self.ready))

    async def stop(self) -> None:
        """Ask for the end; returns when all has happened that can without time passing."""
        self.stopping.set()
        await self.world.clock.settle()

    async def over(self) -> None:
        """Wait for the end in real time, as budgets need it."""
        async with asyncio.timeout(5):
            await asyncio.wait({self.task})
        await self.daemon.bus.close()


@asynccontextmanager
async def served(world: World, **settings: object) -> AsyncGenerator[Served]:
    """A served daemon, ready; cancelled at the end where it still runs."""
    running = Served(world.make(**settings))  # type: ignore[arg-type]
    await world.clock.settle()
    try:
        yield running
    finally:
        running.task.cancel()
        await asyncio.wait({running.task})
        await running.daemon.bus.close()


def node_events(world: World) -> list[str]:
    return [event.routing_key.rpartition(".")[2] for event in world.broker.events_of("node-a")]


# ---------------------------------------------------------------- start


async def test_a_daemon_is_ready_when_its_loops_run(world: World) -> None:
    async with served(world) as running:
        assert running.ready.is_set()
        job_id = await world.create()
        await world.clock.settle()
        assert world.process(job_id).alive
        node = await world.store.get_node("node-a")
        assert node is not None
        assert node.versions["ms-swift"] == "4.6.0", "ms-swift is asked early"


async def test_a_daemon_waits_for_its_store(world: World) -> None:
    world.faults.away = True
    async with served(world) as running:
        await world.clock.advance(120)
        assert not running.ready.is_set()
        assert not running.task.done()
        world.faults.away = False
        await world.clock.advance(20)
        assert running.ready.is_set()


async def test_a_daemon_without_an_ms_swift_lives_and_says_so(world: World) -> None:
    daemon = world.make()
    daemon.toolchain.missing = "no such command: swift"
    running = Served(daemon)
    await world.clock.settle()
    assert running.ready.is_set()
    status = await world.result("system.status")
    assert (status["status"], status["swift"]) == ("degraded", "no such command: swift")
    await running.stop()
    await running.over()
    running.task.result()


async def test_what_ran_under_an_earlier_daemon_is_taken_up_before_anything_new_is_begun(world: World) -> None:
    async with served(world, devices=1):
        first = await world.create(auto_export=False)
        await world.clock.settle()
    world.broker.send("job.create", {**CREATE, "start": True})
    async with served(world, devices=1):
        assert [process.run_id for process in world.hosts["node-a"].alive] == [f"{first}-1"]
        (await world.training(first)).finish()
        await world.clock.advance(3)
        assert (await world.job(first)).status is S.COMPLETED
        assert len(world.hosts["node-a"].spawned) == 2


# ---------------------------------------------------------------- stop


async def test_a_stop_leaves_the_trainings_and_ends_by_itself(world: World) -> None:
    async with served(world) as running:
        job_id = await world.create()
        await world.clock.settle()
        await running.stop()
        await running.over()
        running.task.result()
    assert world.process(job_id).alive
    assert not world.process(job_id).stops
    assert (await world.job(job_id)).status is S.STARTING


async def test_a_node_says_that_it_goes_before_its_daemon_ends(world: World) -> None:
    async with served(world) as running:
        await running.stop()
        await running.over()
    node = await world.store.get_node("node-a")
    assert node is not None
    assert node.state is NodeState.OFFLINE
    assert node_events(world) == ["online", "offline"]


async def test_the_intake_ends_first_and_the_outbox_is_flushed_last(world: World) -> None:
    async with served(world) as running:
        flushing = world.faults.gates["outbox_subjects"] = asyncio.Event()
        job_id = await world.create()
        await world.clock.settle()
        acked = len(world.broker.acked)
        await running.stop()
        assert not running.task.done(), "it flushes"
        world.broker.send("job.stop", {"job_id": job_id})
        await world.clock.advance(60)
        assert len(world.broker.acked) == acked, "nothing is acknowledged behind the intake's end"
        assert world.broker.waiting == 1
        flushing.set()
        await running.over()
        running.task.result()
    assert world.routes(job_id) == ["status.pending", "status.queued", "status.starting"]
    assert (await world.job(job_id)).internal.outbox == ()


async def test_a_command_that_is_under_way_is_finished_and_told_of(world: World) -> None:
    async with served(world) as running:
        job_id = await world.create(start=False)
        gate = world.faults.gates["update_job"] = asyncio.Event()
        world.broker.send("job.stop", {"job_id": job_id}, reply_to="q", correlation_id="c")
        await world.clock.settle()
        await running.stop()
        assert not running.task.done()
        gate.set()
        await world.clock.settle()
        await running.over()
    assert world.broker.answers_to("c")[0].reply.ok
    assert world.broker.unacknowledged == 0
    assert world.routes(job_id) == ["status.pending", "status.cancelled"]


async def test_a_command_that_hangs_is_left_behind_its_budget_and_comes_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "INTAKE_BUDGET_S", SHORT_S)

    async def hang(_ctx: Any, _request: Any, _sender: Any) -> Any:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setitem(HANDLERS, "node.list", hang)
        async with served(world) as running:
            world.broker.send("node.list", reply_to="q", correlation_id="c")
            await world.clock.settle()
            await running.stop()
            await running.over()
            running.task.result()
    assert world.broker.waiting == 1
    assert not world.broker.acked
    async with served(world):
        assert world.broker.answers_to("c")[0].reply.ok


async def test_an_outbox_that_hangs_is_left_behind_its_budget_and_the_next_start_publishes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "OUTBOX_BUDGET_S", SHORT_S)
    monkeypatch.setattr(app, "NODE_BUDGET_S", SHORT_S)
    async with served(world) as running:
        running.daemon.bus_faults.gates["publish"] = asyncio.Event()
        job_id = await world.create(start=False)
        await running.stop()
        await running.over()
        running.task.result()
    assert world.routes(job_id) == []
    async with served(world):
        await world.clock.advance(5)
        assert world.routes(job_id) == ["status.pending"]


async def test_a_store_that_is_away_does_not_keep_a_daemon_from_ending(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "INTAKE_BUDGET_S", SHORT_S)
    async with served(world) as running:
        job_id = await world.create()
        await world.clock.settle()
        world.faults.away = True
        world.broker.send("job.stop", {"job_id": job_id})
        await world.clock.settle()
        await running.stop()
        await running.over()
        running.task.result()
    assert world.process(job_id).alive
    assert world.broker.waiting == 1


async def test_a_stop_on_exit_saves_and_ends_the_trainings_and_tells_of_it(world: World) -> None:
    async with served(world, on_exit="stop", stop_grace_seconds=20) as running:
        job_id = await world.create()
        await world.clock.settle()
        training = await world.training(job_id)
        training.begin()
        training.step(1)
        await world.clock.advance(2)
        await running.stop()
        (order,) = training.process.stops
        assert (order.grace_s, order.save) == (20, True)
        await world.clock.advance(5)
        assert not running.task.done()
        training.checkpoint(2)
        training.process.end(0)
        await world.clock.advance(1)
        await running.over()
        running.task.result()
    job = await world.job(job_id)
    assert (job.status, job.checkpoint_path) == (S.CANCELLED, f"{training.run_dir}/checkpoint-2")
    assert world.routes(job_id)[-3:] == ["status.stopping", "checkpoint", "status.cancelled"]


async def test_a_stop_on_exit_that_hangs_is_left_behind_its_budget(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "STOP_MARGIN_S", SHORT_S)
    async with served(world, on_exit="stop", stop_grace_seconds=0) as running:
        job_id = await world.create()
        await world.clock.settle()
        await running.stop()
        await running.over()
        running.task.result()
    assert (await world.job(job_id)).status is S.STOPPING
    async with served(world):
        world.process(job_id).end(-9)
        await world.clock.advance(1)
        assert (await world.job(job_id)).status is S.CANCELLED


async def test_a_stop_on_exit_starts_nothing_in_their_place(world: World) -> None:
    async with served(world, on_exit="stop", devices=1) as running:
        first, second = await world.create(), await world.create()
        await world.clock.settle()
        await running.stop()
        world.process(first).end(-15)
        await world.clock.advance(5)
        await running.over()
        running.task.result()
    assert (await world.job(second)).status is S.QUEUED
    assert len(world.hosts["node-a"].spawned) == 1


@pytest.mark.parametrize("name", ["telemetry", "heartbeat"])
async def test_a_loop_that_swallows_a_cancellation_does_not_hold_up_the_stop(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As Python 3.11's `wait_for` does when what it waits for comes in the same moment."""
    monkeypatch.setattr(app, "CANCEL_AGAIN_S", 0.01)

    async def deaf(_ctx: Context, *_more: object) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    monkeypatch.setattr(app, name, deaf)
    async with served(world) as running:
        await running.stop()
        await running.over()
        running.task.result()


# ---------------------------------------------------------------- half dead

LOOPS = ("heartbeat", "neighbours", "wakeups", "telemetry", "outbox", "scheduling", "intake")


@pytest.mark.parametrize("name", LOOPS)
async def test_a_loop_that_ends_on_its_own_brings_the_daemon_down(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ending = asyncio.Event()

    async def short(_ctx: Context, *_more: object) -> None:
        await ending.wait()

    monkeypatch.setattr(app, name, short)
    async with served(world) as running:
        assert running.ready.is_set()
        ending.set()
        await running.over()
        found = running.task.exception()
        assert found is not None
        (loop_ended,) = leaves(found)
        assert isinstance(loop_ended, app.LoopEndedError)
        assert name in str(loop_ended)


@pytest.mark.parametrize("name", LOOPS)
async def test_a_loop_that_crashes_brings_the_daemon_down_and_leaves_the_trainings(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with served(world):
        job_id = await world.create()
        await world.clock.settle()

    async def crash(_ctx: Context, *_more: object) -> None:
        await asyncio.sleep(0)
        raise KeyError("a bug")

    monkeypatch.setattr(app, name, crash)
    async with served(world) as running:
        await running.over()
        found = running.task.exception()
        assert found is not None
        assert [type(leaf) for leaf in leaves(found)] == [KeyError]
    assert world.process(job_id).alive
    assert not world.process(job_id).stops


def leaves(found: BaseException) -> list[BaseException]:
    """The errors inside groups inside groups."""
    if not isinstance(found, BaseExceptionGroup):
        return [found]
    group = cast("BaseExceptionGroup[BaseException]", found)
    return [leaf for error in group.exceptions for leaf in leaves(error)]


async def test_a_cancelled_daemon_ends_and_leaves_the_trainings(world: World) -> None:
    async with served(world) as running:
        job_id = await world.create()
        await world.clock.settle()
        running.task.cancel()
        await running.over()
        assert running.task.cancelled()
    assert world.process(job_id).alive
    assert not world.process(job_id).stops
