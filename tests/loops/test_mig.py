"""Jobs on MIG instances: one each, by its own id for CUDA and by its index for everybody else."""

from schemas.enums import TrainingStatus
from tests.loops.gpu_board import GpuBoard
from tests.loops.rig import World

ALL = ("intake", "scheduling", "outbox", "heartbeat", "telemetry", "draining")


def board() -> GpuBoard:
    """A whole GPU and one that is cut into two instances."""
    gpus = GpuBoard(3, "node-a")
    for place, (index, uuid) in enumerate(((0, "GPU-0"), (1010, "MIG-a"), (1011, "MIG-b"))):
        gpus.devices[place] = gpus.devices[place].model_copy(update={"index": index, "uuid": uuid})
    return gpus


async def test_a_job_finds_its_instance_by_the_instances_own_id(world: World) -> None:
    async with world.daemon(*ALL, devices=board()):
        pinned = await world.create(gpu_id="1011", auto_export=False)
        whole = await world.create(gpu_id="0", auto_export=False)
        await world.clock.settle()
        env = world.process(pinned).spec.env
        assert (env["CUDA_VISIBLE_DEVICES"], env["SWIFT_TRAINER_JOB_DEVICES"]) == ("MIG-b", "1011")
        assert (await world.job(pinned)).devices == (1011,)
        env = world.process(whole).spec.env
        assert (env["CUDA_VISIBLE_DEVICES"], env["SWIFT_TRAINER_JOB_DEVICES"]) == ("GPU-0", "0")


async def test_a_job_of_several_devices_waits_for_whole_gpus_and_says_so(world: World) -> None:
    async with world.daemon(*ALL, devices=board()):
        several = await world.create(gpu_count=2)
        await world.clock.advance(3)
        job = await world.job(several)
        assert job.status is TrainingStatus.QUEUED
        assert str(job.wait_reason).endswith("of MIG instances a job can have one at most")
        pinned = await world.create(gpu_id="1010,1011")
        await world.clock.advance(3)
        assert "a job can have one MIG instance at most" in str((await world.job(pinned)).wait_reason)
        single = await world.create()
        await world.clock.settle()
        assert (await world.job(single)).status is TrainingStatus.STARTING, "it holds up nobody"
