"""More than one host: a silent node's jobs go elsewhere, none runs twice at once, one that comes back begins anew."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from daemon.adapters.memory_files import MemoryFiles
from daemon.adapters.memory_hooks import no_hook
from daemon.core.lifecycle import HOLDS_DEVICES
from daemon.loops.heartbeat import FENCED_AFTER, come_online
from daemon.loops.neighbours import look_around
from daemon.ports import Store, UnavailableError
from schemas.enums import ExportStatus, NodeState
from schemas.nodes import NodeRecord
from schemas.replies import NodeList
from tests.loops.jobs import S, completed, running, started
from tests.loops.rig import Daemon, World

LANES = ("intake", "scheduling", "outbox", "heartbeat", "neighbours")
LOST_S = 60.0
LIVES: dict[str, Any] = {"node_lost_seconds": LOST_S, "lease_seconds": 30, "poll_seconds": 2}


@dataclass(slots=True)
class Cut:
    """A store that one daemon can be cut off from."""

    store: Store
    away: bool = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)

        async def call(*args: Any, **options: Any) -> Any:
            if self.away:
                raise UnavailableError("cut off")
            answer = await found(*args, **options)
            if self.away:
                raise UnavailableError("cut off before the answer")
            return answer

        return call


def cut_off(daemon: Daemon) -> Cut:
    """Give a daemon that does not run yet a store that it can be cut off from."""
    cut = Cut(daemon.ctx.store)
    daemon.ctx = replace(daemon.ctx, store=cast("Store", cut))
    return cut


@asynccontextmanager
async def runners(world: World) -> AsyncGenerator[None]:
    """The runners of all hosts: they keep to the lease without any daemon. And no job ever runs twice at once."""

    async def watch() -> None:
        while True:
            for host in world.hosts.values():
                host.fence()
            alive = [process.run_id.rpartition("-")[0] for host in world.hosts.values() for process in host.alive]
            assert len(alive) == len(set(alive)), alive
            await world.clock.sleep(0.5)

    task = asyncio.create_task(watch())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()


async def the_node(world: World, node_id: str) -> NodeRecord:
    node = await world.store.get_node(node_id)
    assert node is not None
    return node


async def test_the_job_of_a_node_that_dies_goes_on_elsewhere_from_its_checkpoint(world: World) -> None:
    async with runners(world):
        async with world.make("node-b", **LIVES).running(*LANES):
            job_id, training = await running(world)
            training.checkpoint(4)
            await world.clock.advance(5)
            assert (await world.job(job_id)).node_id == "node-b"
        async with world.make("node-a", **LIVES).running(*LANES):
            await world.clock.advance(LOST_S - 16)
            assert (await world.job(job_id)).node_id == "node-b"
            assert not world.process(job_id, node_id="node-b").alive, "its runner has ended it before"
            await world.clock.advance(40)
            job = await world.job(job_id)
            assert (job.status, job.node_id, job.attempt) == (S.STARTING, "node-a", 2)
            resumed = job.swift_argv[job.swift_argv.index("--resume_from_checkpoint") + 1]
            assert resumed.endswith("checkpoint-4")
            node = await the_node(world, "node-b")
            assert (node.state, node.internal.epoch, node.internal.lost) == (NodeState.OFFLINE, 1, True)
            assert "its jobs go to other nodes" in node.reason
        assert world.routes(job_id)[-2:] == ["status.queued", "status.starting"]


async def test_a_node_that_is_cut_off_has_ended_its_runs_before_others_take_them(world: World) -> None:
    daemon = world.make("node-b", **LIVES)
    cut = cut_off(daemon)
    async with runners(world), daemon.running(*LANES):
        job_id, _ = await running(world)
        async with world.make("node-a", **LIVES).running(*LANES):
            await world.clock.advance(20)
            cut.away = True
            await world.clock.advance(2 * LOST_S)
            job = await world.job(job_id)
            assert (job.status, job.node_id, job.attempt) == (S.STARTING, "node-a", 2)
            cut.away = False
            await world.clock.advance(30)
            node = await the_node(world, "node-b")
            assert (node.state, node.internal.epoch, node.internal.lost) == (NodeState.ONLINE, 1, False)
            assert daemon.ctx.lease.epoch == 1
            assert daemon.ctx.lease.holds(world.clock.monotonic())
            assert (await world.job(job_id)).attempt == 2
            assert world.process(job_id, 2, "node-a").alive


async def test_what_a_cut_off_attempt_had_to_tell_is_not_told_of_the_next_one(world: World) -> None:
    """What waited in node-b's recorder is written when it is back; node-a, whose disk is another, has not begun."""
    old = world.make("node-b", **LIVES)
    cut = cut_off(old)
    new = world.make("node-a", **LIVES)
    new.ctx = replace(new.ctx, files=MemoryFiles(world.clock))
    async with runners(world), old.running(*LANES):
        job_id, training = await started(world)
        async with new.running(*LANES):
            await world.clock.advance(5)
            cut.away = True
            training.load()
            training.begin()
            training.saving(4)
            training.checkpoint(4)
            await world.clock.advance(2 * LOST_S)
            cut.away = False
            await world.clock.advance(30)
            job = await world.job(job_id)
            assert (job.status, job.node_id, job.attempt) == (S.STARTING, "node-a", 2)
            assert (job.checkpoint_path, job.internal.checkpoint_step) == (None, 0)
    assert world.routes(job_id)[-2:] == ["status.queued", "status.starting"]


async def test_where_nobody_else_was_there_a_node_that_was_cut_off_takes_its_own_job_up_again(world: World) -> None:
    daemon = world.make("node-b", **LIVES)
    cut = cut_off(daemon)
    async with runners(world), daemon.running(*LANES):
        job_id, training = await running(world)
        training.checkpoint(2)
        await world.clock.advance(5)
        cut.away = True
        await world.clock.advance(10 * LOST_S)
        assert not world.process(job_id, node_id="node-b").alive
        cut.away = False
        await world.clock.advance(60)
        job = await world.job(job_id)
        assert (job.status, job.attempt, job.internal.retries_used) == (S.STARTING, 2, 0)
    told = [event.event.data.get("reason") for event in world.broker.events_of(job_id)]
    assert any("cut off from the store for too long" in str(reason) for reason in told)


async def test_an_outage_of_the_store_for_all_makes_nobody_lost(world: World) -> None:
    one, two = [world.make(node_id, **LIVES).running(*LANES) for node_id in ("node-a", "node-b")]
    async with runners(world), one, two:
        job_id = await world.create()
        await world.clock.advance(30)
        world.faults.away = True
        await world.clock.advance(10 * LOST_S)
        world.faults.away = False
        await world.clock.advance(2 * LOST_S)
        assert [node.internal.epoch for node in await world.store.nodes()] == [0, 0]
        assert (await world.job(job_id)).attempt == 2, "its node had ended it, because it could not know"


async def test_a_node_without_that_promise_keeps_its_jobs(world: World) -> None:
    async with runners(world):
        async with world.make("node-b").running(*LANES):
            job_id, _ = await running(world)
        async with world.make("node-a", **LIVES).running(*LANES):
            await world.clock.advance(50 * LOST_S)
            job = await world.job(job_id)
            assert (job.status, job.node_id, job.attempt) == (S.RUNNING, "node-b", 1)
            assert world.process(job_id, node_id="node-b").alive


async def test_a_silent_node_that_runs_nothing_is_only_offline(world: World) -> None:
    async with runners(world):
        async with world.make("node-b", **LIVES).running(*LANES):
            pass
        async with world.make("node-a", **LIVES).running(*LANES):
            await world.clock.advance(5 * LOST_S)
            assert (await the_node(world, "node-b")).internal.epoch == 0


async def test_a_heartbeat_in_the_same_moment_keeps_the_lease(world: World) -> None:
    async with world.make("node-b", **LIVES).running(*LANES):
        job_id, _ = await running(world)
        before = await the_node(world, "node-b")
    watcher = world.make("node-a", **LIVES)
    await look_around(watcher.ctx)
    await world.clock.advance(LOST_S)

    async def beat() -> None:
        assert await world.store.put_node(before.model_copy(update={"last_heartbeat": world.clock.now()}))

    world.faults.meddlers["update_node"] = beat
    await look_around(watcher.ctx)
    assert (await the_node(world, "node-b")).internal.epoch == 0
    assert (await world.job(job_id)).status in HOLDS_DEVICES


async def test_a_takeover_that_dies_on_the_way_is_carried_on_by_others(world: World) -> None:
    async with runners(world):
        async with world.make("node-b", devices=2, **LIVES).running(*LANES):
            jobs = [(await running(world))[0] for _ in range(2)]
        dying = world.make("node-a", **LIVES)
        await look_around(dying.ctx)
        await world.clock.advance(LOST_S)
        world.faults.failing["update_job"] = 1
        with suppress(UnavailableError):
            await look_around(dying.ctx)
        assert (await the_node(world, "node-b")).internal.lost
        async with world.make("node-c", **LIVES).running(*LANES):
            await world.clock.advance(10)
            assert {(await world.job(job_id)).node_id for job_id in jobs} == {"node-c"}


async def test_one_that_was_being_stopped_is_cancelled(world: World) -> None:
    async with runners(world):
        async with world.make("node-b", **LIVES).running(*LANES):
            job_id, _ = await running(world)
            await world.result("job.stop", {"job_id": job_id, "grace_seconds": 500})
        async with world.make("node-a", **LIVES).running(*LANES):
            await world.clock.advance(2 * LOST_S)
            assert (await world.job(job_id)).status is S.CANCELLED
            told = world.broker.events_of(job_id)[-1].event.data
            assert (told["status"], told["processes_left"]) == ("cancelled", None), "nobody has looked there"


async def test_an_export_of_a_lost_node_runs_elsewhere(world: World) -> None:
    async with runners(world):
        async with world.make("node-b", **LIVES).running(*LANES):
            job_id, _ = await completed(world)
            await world.clock.advance(5)
            assert (await world.job(job_id)).export_status is ExportStatus.RUNNING
        async with world.make("node-a", **LIVES).running(*LANES):
            await world.clock.advance(2 * LOST_S)
            job = await world.job(job_id)
            assert (job.export_status, job.internal.export_node_id) == (ExportStatus.RUNNING, "node-a")
            assert job.internal.export_attempt == 2


async def test_a_daemon_that_comes_back_ends_what_is_no_longer_its_own(world: World) -> None:
    """Its runner did not, whatever held it up."""
    async with world.make("node-b", **LIVES).running(*LANES):
        job_id, _ = await running(world)
    async with world.make("node-a", **LIVES).running(*LANES):
        world.hosts["node-b"].leased_until_s = None
        process = world.process(job_id, node_id="node-b")
        process.end(-9)  # so that nothing runs twice; its record is still there
        await world.clock.advance(2 * LOST_S)
        assert (await world.job(job_id)).node_id == "node-a"
    async with world.make("node-b", **LIVES).running(*LANES):
        await world.clock.advance(5)
        assert world.hosts["node-b"].processes == ()
        node = await the_node(world, "node-b")
        assert (node.internal.epoch, node.internal.lost, node.state) == (1, False, NodeState.ONLINE)


@pytest.mark.parametrize("before_s", [0.0, 10 * LOST_S])
async def test_no_promise_is_made_that_the_runners_do_not_know_of(world: World, before_s: float) -> None:
    """Of a shorter time, or of one at all: the lease can't be written, and then the node dies."""
    async with runners(world):
        before: dict[str, Any] = {**LIVES, "node_lost_seconds": before_s}
        async with world.make("node-b", **before).running(*LANES):
            job_id, _ = await running(world)
            node = await the_node(world, "node-b")
        host = world.hosts["node-b"]
        host.before_call = _away
        dying = asyncio.create_task(come_online(world.make("node-b", **LIVES).ctx, world.clock.now()))
        await world.clock.advance(20)
        assert (await the_node(world, "node-b")).last_heartbeat > node.last_heartbeat
        dying.cancel()
        async with world.make("node-a", **LIVES).running(*LANES):
            await world.clock.advance(5 * LOST_S)
            job = await world.job(job_id)
            assert (job.status, job.node_id, job.attempt) == (S.RUNNING, "node-b", 1)
            assert world.process(job_id, node_id="node-b").alive
            host.before_call = no_hook
            async with world.make("node-b", **LIVES).running(*LANES):
                assert (await the_node(world, "node-b")).lost_after_seconds == LOST_S
                assert host.leased_until_s == world.clock.monotonic() + LOST_S * FENCED_AFTER


async def _away(name: str) -> None:
    if name == "lease":
        raise UnavailableError("the disk of the lease is full")


@pytest.mark.parametrize("phase_s", [0.0, 3.5, 9.0])
@pytest.mark.parametrize("ahead_s", [0.0, 5.0, -5.0])
async def test_the_clocks_of_nodes_are_compared(world: World, phase_s: float, ahead_s: float) -> None:
    """Whenever in the other's pace a node's heartbeats come: that time stays the same, and is no clock that is off."""
    world.ahead_s["node-b"] = ahead_s
    deaf = (lane for lane in LANES if lane != "intake")
    async with world.make("node-a", **LIVES).running(*LANES):
        await world.clock.advance(phase_s)
        async with world.make("node-b", **LIVES).running(*deaf):
            await world.clock.advance(60)
            nodes = NodeList.model_validate(await world.result("node.list")).nodes
            assert {node.lost_after_seconds for node in nodes} == {LOST_S}
            found = {node.node_id: node.clock_skew_seconds for node in nodes}
            assert found == {"node-a": None, "node-b": pytest.approx(-ahead_s)}
            assert {node.node_id: node.state for node in nodes} == dict.fromkeys(found, NodeState.ONLINE)


async def test_a_store_that_answers_late_says_nothing_of_a_clock(world: World) -> None:
    deaf = (lane for lane in LANES if lane != "intake")
    async with world.make("node-a", **LIVES).running(*LANES), world.make("node-b", **LIVES).running(*deaf):
        world.faults.meddlers["now"] = lambda: world.clock.sleep(1.5)
        await world.clock.advance(15)
        nodes = NodeList.model_validate(await world.result("node.list")).nodes
        assert [node.store_skew_seconds for node in nodes].count(None) == 1
        assert {node.clock_skew_seconds for node in nodes} == {None}
        await world.clock.advance(20)
        nodes = NodeList.model_validate(await world.result("node.list")).nodes
        assert {node.store_skew_seconds for node in nodes} == {0.0}
        assert [node.clock_skew_seconds for node in nodes] == [None, 0.0]


async def test_a_retry_after_a_sick_device_goes_to_the_other_node(world: World) -> None:
    one = world.make("node-a", devices=1, **LIVES)
    async with one.running(*LANES), world.make("node-b", devices=1, **LIVES).running(*LANES):
        job_id = await world.create(max_retries=1)
        await world.clock.advance(5)
        assert (await world.job(job_id)).node_id == "node-a"
        training = await world.training(job_id)
        training.process.write("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251\n")
        training.process.end(1)
        await world.clock.advance(20)
        job = await world.job(job_id)
        assert (job.status, job.attempt, job.node_id, job.devices) == (S.STARTING, 2, "node-b", (0,))


# ---------------------------------------------------------------- what one daemon does for another


async def test_a_job_that_another_daemon_queued_or_stopped_is_seen_at_once(world: World) -> None:
    deaf = world.make("node-a", 0).running("intake", "outbox")
    async with world.daemon(*LANES, "wakeups", node_id="node-b", devices=2), deaf:
        jobs = [await world.create() for _ in range(2)]
        await world.clock.settle()
        assert {(await world.job(job_id)).status for job_id in jobs} == {S.STARTING}
        for job_id in jobs:
            await world.result("job.stop", {"job_id": job_id})
        await world.clock.settle()
        assert all(world.process(job_id, node_id="node-b").stops for job_id in jobs)
