"""Sick devices: taken out with the evidence, over restarts and outages, until somebody brings them back."""

import pytest

from schemas.enums import DeviceState, TrainingStatus
from schemas.events import Device
from tests.loops.gpu_board import GpuBoard
from tests.loops.jobs import running
from tests.loops.rig import World

ALL = ("intake", "scheduling", "outbox", "heartbeat", "telemetry", "draining")
NCCL = "[rank0]: torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error\n"
ECC = "[rank0]: torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered\n"
PORT = "RuntimeError: The server socket has failed to listen: EADDRINUSE, address already in use\n"


async def shown(world: World, index: int) -> tuple[str, str | None, str | None]:
    """State, reason and job of a device in `gpu.list`."""
    gpus = (await world.result("gpu.list"))["gpus"]
    assert isinstance(gpus, list)
    device = Device.model_validate(gpus[index])
    return device.state, device.reason, device.job_id


def told(world: World) -> list[tuple[object, object]]:
    """Devices and reason of the node's events about devices."""
    data = [event.event.data for event in world.broker.events_of("node-a")]
    return [(entry["devices"], entry["reason"]) for entry in data if entry["devices"]]


async def failed(world: World, job_id: str, line: str, attempt: int = 1) -> None:
    """An attempt that runs and fails with this line."""
    await world.clock.settle()
    training = await world.training(job_id, attempt)
    training.begin()
    training.step(1)
    training.process.write(line)
    training.process.end(1)
    await world.clock.advance(1)


async def test_a_sick_device_starts_nothing_new_and_lets_its_job_finish(world: World) -> None:
    gpus = GpuBoard(2, "node-a")
    async with world.daemon(*ALL, devices=gpus):
        job_id = await world.create(gpu_id="0", auto_export=False)
        await world.clock.settle()
        gpus.sicken(0, "Xid 48, memory error")
        await world.clock.settle()
        drained = "Xid 48, memory error; see node.resume"
        assert await shown(world, 0) == (DeviceState.DRAINED, drained, job_id)
        assert told(world) == [([0], "device 0 is drained: Xid 48, memory error")]
        assert world.live("gpu.node-a.0")[-1].data["state"] == "drained"
        (await world.training(job_id)).finish()
        await world.clock.advance(3)
        assert (await world.job(job_id)).status is TrainingStatus.COMPLETED
        waiting = await world.create(gpu_id="0")
        await world.clock.advance(3)
        assert (await world.job(waiting)).wait_reason == f"device 0 is drained ({drained})"
        other = await world.create()
        await world.clock.settle()
        assert (await world.job(other)).devices == (1,)


async def test_a_drained_device_stays_so_over_a_restart_until_it_is_brought_back(world: World) -> None:
    gpus = GpuBoard(2, "node-a")
    async with world.daemon(*ALL, devices=gpus):
        gpus.sicken(1, "Xid 79, GPU has fallen off the bus")
        await world.clock.settle()
    async with world.daemon(*ALL, devices=gpus):
        job_id = await world.create(gpu_id="1")
        await world.clock.advance(3)
        assert (await world.job(job_id)).status is TrainingStatus.QUEUED
        result = await world.result("node.resume", {"node_id": "node-a", "devices": [1]})
        assert result["message"] == "device 1 resumed: starts jobs again"
        await world.clock.settle()
        assert (await world.job(job_id)).devices == (1,)
        again = await world.result("node.resume", {"node_id": "node-a", "devices": [1]})
        assert again["message"] == "already device 1 resumed: starts jobs again"
        gpus.sicken(1, "Xid 79, GPU has fallen off the bus")
        await world.clock.settle()
        assert (await shown(world, 1))[0] == DeviceState.DRAINED
    assert [devices for devices, _ in told(world)] == [[1], [1], [1]]
    assert world.sequences("node-a") == [1, 2, 3, 4, 5]


async def test_while_the_store_is_away_a_sick_device_is_out_already_and_told_of_later(world: World) -> None:
    gpus = GpuBoard(1, "node-a")
    async with world.daemon(*ALL, devices=gpus, gpu_interval_seconds=10):
        world.faults.failing["get_node"] = 3
        gpus.sicken(0, "Xid 62, halted")
        await world.clock.settle()
        job_id = await world.create()
        await world.clock.advance(1)
        assert (await world.job(job_id)).status is TrainingStatus.QUEUED
        await world.clock.advance(60)
        assert told(world) == [([0], "device 0 is drained: Xid 62, halted")]


async def test_the_second_attempt_in_a_row_that_fails_for_nccl_drains_its_device(world: World) -> None:
    async with world.daemon(*ALL, devices=GpuBoard(1, "node-a")):
        first = await world.create(auto_export=False)
        await failed(world, first, NCCL)
        assert (await shown(world, 0))[0] == DeviceState.FREE
        second = await world.create(auto_export=False)
        await failed(world, second, NCCL)
        state, reason, job_id = await shown(world, 0)
        assert (state, job_id) == (DeviceState.DRAINED, None)
        assert str(reason).startswith(
            f"two attempts in a row failed on it: of job {first} with nccl_error, of job {second} with nccl_error ("
        )
        assert [devices for devices, _ in told(world)] == [[0]]


async def test_an_attempt_that_completes_between_two_failures_clears_its_device(world: World) -> None:
    async with world.daemon(*ALL, devices=GpuBoard(1, "node-a")):
        await failed(world, await world.create(auto_export=False), ECC)
        job_id = await world.create(auto_export=False)
        await world.clock.settle()
        (await world.training(job_id)).finish()
        await world.clock.advance(3)
        assert (await world.job(job_id)).status is TrainingStatus.COMPLETED
        await failed(world, await world.create(auto_export=False), ECC)
        assert (await shown(world, 0))[0] == DeviceState.FREE


@pytest.mark.parametrize("line", [PORT, "ValueError: no such thing\n"])
async def test_failures_that_no_device_causes_drain_nothing(world: World, line: str) -> None:
    async with world.daemon(*ALL, devices=GpuBoard(1, "node-a")):
        for _ in range(3):
            await failed(world, await world.create(auto_export=False), line)
        assert (await shown(world, 0))[0] == DeviceState.FREE
        assert told(world) == []


async def test_a_retry_after_a_hardware_error_goes_elsewhere(world: World) -> None:
    async with world.daemon(*ALL, devices=GpuBoard(2, "node-a")):
        job_id = await world.create(auto_export=False, max_retries=1)
        await failed(world, job_id, ECC)
        await world.clock.advance(15)
        job = await world.job(job_id)
        assert (job.attempt, job.devices) == (2, (1,))


# ---------------------------------------------------------------- the commands


async def test_devices_are_drained_on_request_and_come_back_with_their_node(world: World) -> None:
    async with world.daemon(*ALL):
        result = await world.result("node.drain", {"node_id": "node-a", "devices": [1]})
        assert result == {
            "node_id": "node-a",
            "state": "online",
            "message": "device 1 drained: starts nothing new, its jobs finish",
        }
        assert await shown(world, 1) == (DeviceState.DRAINED, "drained on request; see node.resume", None)
        await world.result("node.drain", {"node_id": "node-a"})
        await world.result("node.resume", {"node_id": "node-a", "devices": [0]})
        assert (await shown(world, 0))[:2] == (DeviceState.DRAINED, "its node is drained")
        result = await world.result("node.resume", {"node_id": "node-a"})
        assert result == {"node_id": "node-a", "state": "online", "message": "resumed: starts jobs again"}
        assert [(await shown(world, index))[0] for index in (0, 1)] == [DeviceState.FREE] * 2
        result = await world.result("node.resume", {"node_id": "node-a"})
        assert result["message"] == "already resumed: starts jobs again"
    assert [devices for devices, _ in told(world)] == [[1], [1]]


async def test_a_device_that_the_node_does_not_have_is_refused_by_name(world: World) -> None:
    async with world.daemon(*ALL):
        reply = await world.reply("node.drain", {"node_id": "node-a", "devices": [1, 7]})
        assert reply.error is not None
        assert (reply.error.code, reply.error.message) == (
            "not_found",
            "node node-a has no device 7; it has devices 0, 1",
        )
        reply = await world.reply("node.drain", {"node_id": "node-z", "devices": [1]})
        assert reply.error is not None
        assert reply.error.code == "not_found"
        reply = await world.reply("node.drain", {"node_id": "node-a", "devices": []})
        assert reply.error is not None
        assert reply.error.code == "invalid_request"


# ---------------------------------------------------------------- a drain with a deadline


async def test_at_the_deadline_of_a_drain_its_jobs_save_and_go_on_elsewhere(world: World) -> None:
    async with world.daemon(*ALL, gpu_interval_seconds=30):
        job_id, training = await running(world)
        result = await world.result("node.drain", {"node_id": "node-a", "deadline_seconds": 100})
        assert "what runs at 2" in str(result["message"])
        await world.clock.advance(99)
        assert not training.process.stops
        await world.clock.advance(2)
        assert [stop.save for stop in training.process.stops] == [True]
        training.checkpoint(4)
        training.process.end(0)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.attempt, job.internal.retries_used) == (TrainingStatus.QUEUED, 2, 0)
        told = world.broker.events_of(job_id)[-1].event.data["reason"]
        assert str(told).startswith("interrupted because node node-a is drained at step 1; goes on from ")
        async with world.daemon("scheduling", node_id="node-b"):
            await world.clock.advance(3)
            job = await world.job(job_id)
            assert (job.status, job.node_id, job.attempt) == (TrainingStatus.STARTING, "node-b", 2)


async def test_a_node_that_is_resumed_before_the_deadline_keeps_its_jobs(world: World) -> None:
    async with world.daemon(*ALL):
        _, training = await running(world)
        await world.result("node.drain", {"node_id": "node-a"})
        await world.result("node.drain", {"node_id": "node-a", "deadline_seconds": 20})
        await world.result("node.resume", {"node_id": "node-a"})
        await world.clock.advance(100)
        await world.result("node.drain", {"node_id": "node-a"})
        await world.clock.advance(100)
        assert not training.process.stops


async def test_a_deadline_is_a_whole_nodes(world: World) -> None:
    async with world.daemon("intake"):
        body = {"node_id": "node-a", "devices": [0], "deadline_seconds": 5}
        reply = await world.reply("node.drain", body)
        assert reply.error is not None
        assert "deadline_seconds goes with a whole node" in reply.error.message
