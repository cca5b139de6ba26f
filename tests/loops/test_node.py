"""Heartbeat and telemetry: a node comes, goes, is drained, falls silent; its devices are told of where they differ."""

import asyncio
from datetime import timedelta

import pytest

from daemon.loops.disks import LOOK_S
from daemon.loops.heartbeat import HEARTBEATS_PER_LEASE, go_offline
from schemas.enums import DeviceState, NodeState, TrainingStatus
from schemas.events import Device, DeviceProcess
from schemas.nodes import NodeRecord
from schemas.replies import NodeList
from tests.loops.gpu_board import GpuBoard
from tests.loops.rig import World

ALL = ("intake", "scheduling", "outbox", "heartbeat", "telemetry")


async def the_node(world: World, node_id: str = "node-a") -> NodeRecord:
    node = await world.store.get_node(node_id)
    assert node is not None
    return node


def told(world: World, index: int = 0) -> list[Device]:
    return [Device.model_validate(event.data) for event in world.live(f"gpu.node-a.{index}")]


def states(world: World) -> list[str]:
    return [event.routing_key for event in world.broker.events_of("node-a")]


# ---------------------------------------------------------------- coming and going


async def test_a_node_says_that_it_is_there(world: World) -> None:
    async with world.daemon(*ALL):
        assert states(world) == ["node.node-a.online"]
        event = world.broker.events_of("node-a")[0].event
        assert (event.data["state"], event.data["reason"]) == ("online", "daemon started")
        node = await the_node(world)
        assert (node.state, len(node.devices), node.started_at) == (NodeState.ONLINE, 2, world.clock.now())


async def test_a_heartbeat_renews_three_times_a_lease(world: World) -> None:
    async with world.daemon(*ALL, lease_seconds=30):
        before = world.faults.calls["put_node"]
        await world.clock.advance(300)
        assert world.faults.calls["put_node"] - before == 10 * HEARTBEATS_PER_LEASE
        assert (await the_node(world)).last_heartbeat == world.clock.now()


async def test_a_disk_that_hangs_holds_up_no_heartbeat_and_is_asked_once(world: World) -> None:
    """With a lease of what runs, it would end healthy trainings."""
    gate, asked = asyncio.Event(), list[str]()

    async def hang(name: str) -> None:
        if name == "free_mib":
            asked.append(name)
            await gate.wait()

    world.files.free = 5000.0
    async with world.daemon(*ALL, lease_seconds=30, node_lost_seconds=60) as daemon:
        world.files.before_call = hang
        await world.clock.advance(300)
        node = await the_node(world)
        assert world.clock.now() - node.last_heartbeat <= timedelta(seconds=10 + LOOK_S)
        assert daemon.ctx.lease.holds(world.clock.monotonic())
        assert {disk.free_mib for disk in node.disks} == {5000.0}
        assert len(asked) == len(node.disks) == 2
        gate.set()
        world.files.free = 6000.0
        await world.clock.advance(20)
        assert {disk.free_mib for disk in (await the_node(world)).disks} == {6000.0}


async def test_a_heartbeat_goes_on_behind_an_outage(world: World) -> None:
    async with world.daemon(*ALL, lease_seconds=30):
        world.faults.away = True
        await world.clock.advance(300)
        world.faults.away = False
        await world.clock.advance(10)
        assert world.clock.now() - (await the_node(world)).last_heartbeat <= timedelta(seconds=10)


async def test_a_silent_node_is_shown_as_offline_and_its_devices_out_of_use(world: World) -> None:
    async with world.daemon(*ALL, node_id="node-b", devices=1):
        pass
    async with world.daemon(*ALL, lease_seconds=30):
        await world.clock.advance(31)
        nodes = NodeList.model_validate(await world.result("node.list")).nodes
        assert [(node.node_id, node.state) for node in nodes] == [("node-a", "online"), ("node-b", "offline")]
        assert nodes[1].devices[0].reason == "its node is offline"


async def test_the_version_of_ms_swift_is_in_the_heartbeat_once_it_is_known(world: World) -> None:
    async with world.daemon(*ALL) as daemon:
        assert "ms-swift" not in (await the_node(world)).versions
        await daemon.toolchain.installed()
        await world.clock.advance(10)
        assert (await the_node(world)).versions["ms-swift"] == "4.6.0"


async def test_a_drained_node_stays_drained_over_a_restart(world: World) -> None:
    async with world.daemon(*ALL) as daemon:
        await world.result("node.drain", {"node_id": "node-a"})
        await go_offline(daemon.ctx)
    async with world.daemon(*ALL):
        assert (await the_node(world)).state is NodeState.DRAINED
        job_id = await world.create()
        await world.clock.advance(5)
        assert (await world.job(job_id)).status is TrainingStatus.QUEUED
        await world.result("node.resume", {"node_id": "node-a"})
        await world.clock.settle()
        assert (await world.job(job_id)).status is TrainingStatus.STARTING
    assert states(world) == ["node.node-a.online", "node.node-a.drained", "node.node-a.online"]
    assert world.sequences("node-a") == [1, 2, 3]


async def test_a_drained_node_lets_its_jobs_finish(world: World) -> None:
    async with world.daemon(*ALL):
        job_id = await world.create(auto_export=False)
        await world.clock.settle()
        await world.result("node.drain", {"node_id": "node-a"})
        (await world.training(job_id)).finish()
        await world.clock.advance(3)
        assert (await world.job(job_id)).status is TrainingStatus.COMPLETED


async def test_draining_twice_is_no_error_and_tells_once(world: World) -> None:
    async with world.daemon(*ALL):
        for _ in range(2):
            result = await world.result("node.drain", {"node_id": "node-a"})
            assert result["state"] == "drained"
        await world.clock.settle()
        assert states(world) == ["node.node-a.online", "node.node-a.drained"]


async def test_a_node_event_whose_answer_was_lost_is_told_once(world: World) -> None:
    async with world.daemon(*ALL) as daemon:
        world.faults.losing["update_node"] = 1
        reply = await world.reply("node.drain", {"node_id": "node-a"}, within_s=5)
        assert reply.ok
        await world.clock.advance(5)
        assert states(world) == ["node.node-a.online", "node.node-a.drained"]
        assert daemon.ctx.node_id == "node-a"


# ---------------------------------------------------------------- devices


async def test_devices_are_told_at_first_and_then_where_they_differ(world: World) -> None:
    gpus = GpuBoard(2, "node-a")
    async with world.daemon(*ALL, devices=gpus, gpu_interval_seconds=10):
        assert [device.state for device in (*told(world, 0), *told(world, 1))] == [DeviceState.FREE] * 2
        await world.clock.advance(100)
        assert len(told(world, 0)) == 1
        gpus.set(1, utilization=55.0)
        await world.clock.advance(10)
        assert len(told(world, 0)) == 1
        assert told(world, 1)[-1].utilization == 55.0
        assert gpus.reads <= 14


async def test_a_lease_is_told_without_any_time_passing(world: World) -> None:
    async with world.daemon(*ALL, devices=GpuBoard(1, "node-a")):
        job_id = await world.create(auto_export=False)
        await world.clock.settle()
        assert [(device.state, device.job_id) for device in told(world)] == [
            (DeviceState.FREE, None),
            (DeviceState.LEASED, job_id),
        ]
        (await world.training(job_id)).process.end(1)
        await world.clock.advance(1)
        assert (told(world)[-1].state, told(world)[-1].job_id) == (DeviceState.FREE, None)


async def test_the_ids_of_device_events_are_never_the_same(world: World) -> None:
    gpus = GpuBoard(2, "node-a")
    async with world.daemon(*ALL, devices=gpus):
        for number in range(5):
            gpus.set(0, utilization=float(number))
            gpus.set(1, utilization=float(number))
            await world.clock.advance(10)
        events = [event for index in (0, 1) for event in world.live(f"gpu.node-a.{index}")]
        assert len({event.id for event in events}) == len(events) >= 10


async def test_telemetry_goes_on_behind_an_outage_and_states_stand_meanwhile(world: World) -> None:
    gpus = GpuBoard(1, "node-a")
    async with world.daemon(*ALL, devices=gpus) as daemon:
        job_id = await world.create()
        await world.clock.settle()
        world.faults.away = True
        gpus.set(0, processes=(DeviceProcess(pid=9, memory_mib=70_000, user="me", command="python"),))
        await world.clock.advance(60)
        assert daemon.ctx.board.current()[0].state is not DeviceState.FOREIGN, "the job's own process is not foreign"
        world.faults.away = False
        await world.clock.advance(10)
        assert told(world)[-1].job_id == job_id
        assert told(world)[-1].processes[0].pid == 9


async def test_progress_and_status_show_the_use_of_the_leased_devices(world: World) -> None:
    gpus = GpuBoard(2, "node-a")
    async with world.daemon(*ALL, devices=gpus):
        job_id = await world.create(gpu_id="1")
        await world.clock.settle()
        training = await world.training(job_id)
        gpus.set(1, memory_used_mib=40_000, utilization=97.0)
        await world.clock.advance(10)
        training.begin()
        training.step(1)
        await world.clock.advance(2)
        (use,) = world.progress(job_id)[-1]["gpus"]  # type: ignore[misc]
        assert (use["index"], use["memory_used_mib"], use["utilization"]) == (1, 40_000, 97.0)
        status = await world.result("job.status", {"job_id": job_id})
        assert status["gpu_memory_usage"] == {
            "1": {"memory_used": 40_000, "memory_total": 81559, "utilization": 97.0},
        }


async def test_status_shows_the_devices_of_the_node_that_runs_the_job(world: World) -> None:
    """Asked of node-a, whose device of the same index is another one."""
    asked, runs = GpuBoard(2, "node-a"), GpuBoard(2, "node-b")
    async with world.daemon("intake", "heartbeat", devices=asked):
        asked.set(1, memory_used_mib=7, utilization=1.0)
        async with world.daemon("scheduling", "heartbeat", "telemetry", "outbox", node_id="node-b", devices=runs):
            await world.result("node.drain", {"node_id": "node-a"})
            job_id = await world.create(gpu_id="1")
            await world.clock.advance(5)
            training = await world.training(job_id)
            training.load()
            training.begin()
            training.step(1)
            runs.set(1, memory_used_mib=40_000, utilization=97.0)
            await world.clock.advance(30)
            status = await world.result("job.status", {"job_id": job_id})
            assert status["status"] == "running"
            assert status["gpu_memory_usage"] == {
                "1": {"memory_used": 40_000, "memory_total": 81559, "utilization": 97.0},
            }
        await world.clock.advance(120)
        assert (await world.result("job.status", {"job_id": job_id}))["gpu_memory_usage"] == {}, "nobody knows any more"


@pytest.mark.parametrize(
    ("reading", "left"),
    [
        ({"memory_used_mib": 1500.0}, 1500.0),
        ({"memory_used_mib": 1500.0, "processes": (DeviceProcess(pid=7),)}, 1500.0),
        ({"memory_used_mib": None, "state": DeviceState.UNHEALTHY, "reason": "NVML: GPU is lost"}, None),
        ({"memory_used_mib": 0.0, "state": DeviceState.UNHEALTHY, "reason": "the driver has not answered"}, None),
    ],
)
async def test_no_memory_is_said_to_be_free_that_was_not_looked_at(
    world: World, reading: dict[str, object], left: float | None
) -> None:
    gpus = GpuBoard(2, "node-a")
    async with world.daemon(*ALL, devices=gpus):
        job_id = await world.create(gpu_count=2)
        await world.clock.settle()
        await world.result("job.stop", {"job_id": job_id})
        gpus.set(1, **reading)
        world.process(job_id).end(-15)
        await world.clock.advance(1)
        data = world.broker.events_of(job_id)[-1].event.data
        assert (data["status"], data["processes_left"], data["memory_left_mib"]) == ("cancelled", 0, left)


async def test_the_end_of_a_stopped_job_says_what_memory_is_left(world: World) -> None:
    gpus = GpuBoard(1, "node-a")
    async with world.daemon(*ALL, devices=gpus):
        job_id = await world.create()
        await world.clock.settle()
        await world.result("job.stop", {"job_id": job_id})
        world.process(job_id).end(-15)
        await world.clock.advance(1)
        data = world.broker.events_of(job_id)[-1].event.data
        assert (data["status"], data["processes_left"], data["memory_left_mib"]) == ("cancelled", 0, 0.0)
