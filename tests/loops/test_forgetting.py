"""A node that is gone for good is forgotten: nothing shows it. If it comes back, it is the node that it was."""

import pytest

from daemon.adapters.memory_runs import MemoryRuns
from daemon.loops.handling.nodes import FORGOTTEN
from daemon.loops.heartbeat import go_offline
from daemon.loops.readings import Readings
from daemon.metrics import NODE_UP
from schemas.enums import NodeState, ReplyErrorCode
from schemas.replies import NodeList
from tests.loops.jobs import S, running
from tests.loops.rig import World

LANES = ("intake", "scheduling", "outbox", "heartbeat", "telemetry", "neighbours")
DEAF = tuple(lane for lane in LANES if lane != "intake")
LOST_S = 120.0


async def shown(world: World) -> list[str]:
    """The nodes of `node.list`, and those whose devices `gpu.list` shows."""
    nodes = NodeList.model_validate(await world.result("node.list")).nodes
    gpus = (await world.result("gpu.list"))["gpus"]
    assert isinstance(gpus, list)
    assert {device["node_id"] for device in gpus} == {node.node_id for node in nodes if node.devices}  # pyright: ignore[reportUnknownVariableType]
    return [node.node_id for node in nodes]


async def refused(world: World, node_id: str) -> tuple[ReplyErrorCode, str]:
    reply = await world.reply("node.forget", {"node_id": node_id})
    assert reply.error is not None
    return reply.error.code, reply.error.message


async def test_a_node_that_is_gone_is_left_out_of_everything(world: World) -> None:
    async with world.daemon(*DEAF, node_id="node-b", devices=1) as gone:
        await go_offline(gone.ctx)
    async with world.daemon(*LANES) as daemon:
        await world.clock.advance(40)
        readings = Readings(daemon.ctx)
        up = {sample.labels["node_id"]: sample.value for sample in await readings.take() if sample.metric is NODE_UP}
        assert up == {"node-a": 1, "node-b": 0}
        assert await shown(world) == ["node-a", "node-b"]
        told = len(world.broker.events_of("node-b"))
        result = await world.result("node.forget", {"node_id": "node-b"})
        assert result == {"node_id": "node-b", "state": "offline", "message": FORGOTTEN}
        assert await shown(world) == ["node-a"]
        await world.clock.advance(5)
        up = {sample.labels["node_id"]: sample.value for sample in await readings.take() if sample.metric is NODE_UP}
        assert up == {"node-a": 1}
        assert len(world.broker.events_of("node-b")) == told, "that somebody leaves it out changes nothing of the node"


async def test_forgetting_twice_is_no_error_and_nothing_else_can_be_ordered_of_it(world: World) -> None:
    async with world.daemon(*DEAF, node_id="node-b", devices=1):
        pass
    async with world.daemon(*LANES):
        await world.clock.advance(40)
        for _ in range(2):
            assert (await world.result("node.forget", {"node_id": "node-b"}))["state"] == "offline"
        for command in ("node.drain", "node.resume"):
            reply = await world.reply(command, {"node_id": "node-b"})
            assert reply.error is not None
            assert reply.error.code is ReplyErrorCode.NOT_FOUND
        assert (await refused(world, "node-c"))[0] is ReplyErrorCode.NOT_FOUND


@pytest.mark.parametrize("node_id", ["node-a", "node-b"])
async def test_a_node_that_is_not_offline_is_not_forgotten(world: World, node_id: str) -> None:
    async with world.daemon(*LANES), world.daemon(*DEAF, node_id="node-b", devices=1):
        code, message = await refused(world, node_id)
        assert code is ReplyErrorCode.CONFLICT
        assert "is online" in message
        await world.result("node.drain", {"node_id": node_id})
        assert "is drained" in (await refused(world, node_id))[1]
        assert await shown(world) == ["node-a", "node-b"]


async def test_a_node_that_jobs_are_on_is_not_forgotten_before_they_are_found_lost(world: World) -> None:
    async with world.daemon(*LANES, node_id="node-b", devices=1):
        job_id, _ = await running(world)
        assert (await world.job(job_id)).node_id == "node-b"
    async with world.daemon(*LANES, devices=0):
        await world.clock.advance(40)
        code, message = await refused(world, "node-b")
        assert code is ReplyErrorCode.CONFLICT
        assert job_id in message
    world.hosts["node-b"] = MemoryRuns(world.files)  # another machine under the same id, as the message says
    async with world.daemon(*DEAF, node_id="node-b", devices=1) as stand_in:
        await world.clock.advance(10)
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (S.FAILED, "killed")
        assert "lost" in str(job.error_message)
        await go_offline(stand_in.ctx)
    async with world.daemon(*LANES, devices=0):
        await world.clock.advance(40)
        await world.result("node.forget", {"node_id": "node-b"})
        assert await shown(world) == ["node-a"]


async def test_one_that_comes_back_is_the_node_that_it_was(world: World) -> None:
    """Drained as before, and its events go on with the next number: a subscriber that drops known ids misses none."""
    async with world.daemon(*LANES, node_id="node-b", devices=1):
        await world.result("node.drain", {"node_id": "node-b"})
        await world.clock.settle()
        before = world.sequences("node-b")
    async with world.daemon(*LANES):
        await world.clock.advance(40)
        await world.result("node.forget", {"node_id": "node-b"})
        async with world.daemon(*DEAF, node_id="node-b", devices=1):
            await world.clock.advance(11)
            nodes = NodeList.model_validate(await world.result("node.list")).nodes
            assert [(node.node_id, node.state) for node in nodes][1] == ("node-b", NodeState.DRAINED)
            await world.result("node.resume", {"node_id": "node-b"})
            await world.clock.settle()
            assert world.sequences("node-b") == [*before, before[-1] + 1]


async def test_a_lost_node_that_was_forgotten_still_ends_its_runs_before_it_is_back(world: World) -> None:
    async with world.daemon(*LANES, node_id="node-b", node_lost_seconds=LOST_S):
        job_id = await world.create()
        await world.clock.settle()
    world.hosts["node-b"].leased_until_s = None  # its runner did not end it, whatever held it up
    async with world.daemon(*LANES, node_lost_seconds=LOST_S):
        await world.clock.advance(2 * LOST_S)
        assert (await world.job(job_id)).node_id == "node-a"
        await world.result("node.forget", {"node_id": "node-b"})
        world.process(job_id, node_id="node-b").end(-9)
        async with world.daemon(*DEAF, node_id="node-b", node_lost_seconds=LOST_S):
            await world.clock.advance(11)
            assert world.hosts["node-b"].processes == ()
            node = await world.store.get_node("node-b")
            assert node is not None
            assert (node.internal.epoch, node.internal.lost, node.internal.forgotten) == (1, False, False)
            assert await shown(world) == ["node-a", "node-b"]


async def test_a_heartbeat_in_the_same_moment_keeps_it(world: World) -> None:
    async with world.daemon(*DEAF, node_id="node-b", devices=1):
        pass
    async with world.daemon(*LANES):
        await world.clock.advance(40)
        before = await world.store.get_node("node-b")
        assert before is not None

        async def beat() -> None:
            assert await world.store.put_node(before.model_copy(update={"last_heartbeat": world.clock.now()}))

        world.faults.meddlers["update_node"] = beat
        code, message = await refused(world, "node-b")
        assert code is ReplyErrorCode.CONFLICT
        assert "is online" in message
        assert await shown(world) == ["node-a", "node-b"]
