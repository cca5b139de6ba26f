"""A job's whole life: ordered, placed, trained, told of, exported."""

from schemas.enums import ExportStatus, Phase, TrainingStatus
from tests.loops.rig import World


async def test_a_job_is_created_trained_told_of_and_exported(world: World) -> None:
    async with world.daemon():
        job_id = await world.create()
        await world.clock.settle()
        training = await world.training(job_id)
        training.finish()
        await world.clock.advance(3)

        job = await world.job(job_id)
        assert job.status is TrainingStatus.COMPLETED
        assert (job.progress, job.current_step, job.total_steps, job.exit_code) == (100.0, 8, 8, 0)
        assert job.export_status is ExportStatus.RUNNING
        assert job.phase is Phase.SAVING
        export = world.export_process(job_id)
        made = f"{job.run_dir}/exports/checkpoint-8-merged"
        world.files.make_folder(made)
        export.end(0)
        await world.clock.advance(3)

        job = await world.job(job_id)
        assert job.export_status is ExportStatus.COMPLETED
        assert job.export_path == made
    assert world.routes(job_id) == [
        "status.pending",
        "status.queued",
        "status.starting",
        "status.running",
        "checkpoint",
        "status.completed",
        "export.queued",
        "export.running",
        "export.completed",
    ]
    assert world.sequences(job_id) == list(range(1, 10))
