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


# ---------------------------------------------------------------- stops


async def test_an_export_can_be_stopped(world: World) -> None:
    async with world.daemon():
        job_id, _ = await completed(world)
        await world.clock.settle()
        process = world.export_process(job_id)
        answer = await world.result("job.stop", {"job_id": job_id, "grace_seconds": 7}, message_id="m-1")
        assert answer["status"] == "stopping"
        assert await world.result("job.stop", {"job_id": job_id, "grace_seconds": 7}, message_id="m-1") == answer
        await world.clock.settle()
        assert [(stop.grace_s, stop.save) for stop in process.stops] == [(7, False)]
        await world.result("job.stop", {"job_id": job_id, "grace_seconds": 2})
        await world.clock.settle()
        assert [stop.grace_s for stop in process.stops] == [7, 2]
        process.end(-15)
        await world.clock.advance(1)
        job = await world.job(job_id)
        assert (job.status, job.export_status, job.export_error) == (
            S.COMPLETED,
            ExportStatus.FAILED,
            "stopped on request",
        )
        assert (job.internal.export_devices, job.internal.export_stop) == ((), None)
        assert (await world.reply("job.stop", {"job_id": job_id})).ok is False
        assert (await world.result("job.export", {"job_id": job_id}))["status"] == "exporting"


async def test_an_export_that_waits_is_cancelled_at_once(world: World) -> None:
    async with world.daemon(devices=1):
        first, training = await running(world)
        await world.create(priority=5)
        training.finish(steps=(5,))
        await world.clock.advance(1)
        assert (await world.result("job.stop", {"job_id": first}))["status"] == "cancelled"
        job = await world.job(first)
        assert (job.status, job.export_status, job.export_error) == (
            S.COMPLETED,
            ExportStatus.FAILED,
            "stopped on request",
        )


async def test_an_export_that_was_told_to_end_and_made_it_is_completed(world: World) -> None:
    async with world.daemon():
        job_id, training = await completed(world)
        await world.clock.settle()
        await world.result("job.stop", {"job_id": job_id})
        world.files.make_folder(f"{training.run_dir}/exports/checkpoint-8-merged")
        world.export_process(job_id).end(0)
        await world.clock.advance(1)
        assert (await world.job(job_id)).export_status is ExportStatus.COMPLETED


async def test_the_deadline_of_a_drain_ends_an_export_too_and_it_goes_on_elsewhere(world: World) -> None:
    lanes = ("intake", "scheduling", "outbox", "heartbeat", "telemetry")
    async with world.daemon(*lanes):
        job_id, _ = await completed(world)
        await world.clock.settle()
        process = world.export_process(job_id)
        async with world.daemon(*lanes, node_id="node-b"):
            await world.result("node.drain", {"node_id": "node-a", "deadline_seconds": 30})
            await world.clock.advance(25)
            assert not process.stops
            await world.clock.advance(30)
            assert process.stops
            process.end(-15)
            await world.clock.advance(POLL_S)
            job = await world.job(job_id)
            node_id = job.internal.export_node_id
            assert (job.export_status, node_id, job.export_error) == (ExportStatus.RUNNING, "node-b", None)
