"""Exports: devices of their own, a status of their own."""

import pytest

from schemas.enums import ExportStatus
from tests.loops.jobs import POLL_S, S, completed, running
from tests.loops.rig import World


async def test_an_export_after_a_completion_has_a_device_from_the_scheduler(world: World) -> None:
    async with world.daemon(devices=1):
        job_id, training = await completed(world)
        await world.clock.settle()
        job = await world.job(job_id)
        assert (job.export_status, job.internal.export_devices) == (ExportStatus.RUNNING, (0,))
        spec = world.export_process(job_id).spec
        assert spec.argv[1:4] == ("export", "--adapters", f"{training.run_dir}/checkpoint-8")
        waiting = await world.create()
        await world.clock.advance(POLL_S)
        assert f"device 0 runs job {job_id}" in ((await world.job(waiting)).wait_reason or "")
        world.files.make_folder(f"{training.run_dir}/exports/checkpoint-8-merged")
        world.export_process(job_id).end(0)
        await world.clock.advance(1)
        assert (await world.job(job_id)).export_completed
        assert (await world.job(waiting)).status is S.STARTING


async def test_an_export_waits_for_a_device_like_a_training(world: World) -> None:
    async with world.daemon(devices=1):
        first, training = await running(world)
        second = await world.create(priority=5)
        training.finish(steps=(5,))
        await world.clock.advance(1)
        assert (await world.job(second)).status is S.STARTING
        assert (await world.job(first)).export_status is ExportStatus.QUEUED


@pytest.mark.parametrize("how", ["code 1", "code 0 without a folder", "lost"])
async def test_a_failed_export_never_changes_the_status(world: World, how: str) -> None:
    async with world.daemon():
        job_id, _ = await completed(world)
        process = world.export_process(job_id)
        if how == "lost":
            process.lose()
        else:
            process.write("ValueError: Can't find adapter_config.json\n")
            process.end(1 if how == "code 1" else 0)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.progress, job.error_code) == (S.COMPLETED, 100.0, None)
        assert (job.export_status, job.export_completed, job.export_path) == (ExportStatus.FAILED, False, None)
        assert job.export_error
        if how == "code 1":
            assert job.export_error == "ValueError: Can't find adapter_config.json"
        assert job.internal.export_devices == ()


async def test_an_export_is_taken_up_by_the_next_daemon(world: World) -> None:
    async with world.daemon():
        job_id, training = await completed(world)
        await world.clock.settle()
    world.files.make_folder(f"{training.run_dir}/exports/checkpoint-8-merged")
    world.export_process(job_id).end(0)
    async with world.daemon():
        await world.clock.advance(2)
        assert (await world.job(job_id)).export_status is ExportStatus.COMPLETED
    assert world.routes(job_id)[-1] == "export.completed"


async def test_no_export_follows_where_none_was_asked_for_or_nothing_can_be_merged(world: World) -> None:
    async with world.daemon():
        for fields in ({"auto_export": False}, {"train_type": "full"}):
            job_id, _ = await completed(world, **fields)
            await world.clock.advance(1)
            assert (await world.job(job_id)).export_status is ExportStatus.NONE
