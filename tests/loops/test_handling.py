"""The commands, one by one: what each changes, answers and refuses."""

from pathlib import Path

import pytest

from schemas.enums import ExportStatus, ReplyErrorCode, TrainingStatus
from tests.loops.jobs import S, code_of, ended, refused, set_job
from tests.loops.rig import World

# ---------------------------------------------------------------- start, stop, resume, delete


@pytest.mark.parametrize("status", list(S))
async def test_each_status_allows_what_the_contract_says(world: World, status: TrainingStatus) -> None:
    allowed = {
        "job.start": {S.PENDING, S.QUEUED, S.STARTING, S.RUNNING},
        "job.stop": {S.PENDING, S.QUEUED, S.STARTING, S.RUNNING, S.STOPPING, S.CANCELLED},
        "job.resume": {S.FAILED, S.CANCELLED},
        "job.export": {S.COMPLETED, S.FAILED, S.CANCELLED},
        "job.delete": {S.PENDING, S.COMPLETED, S.FAILED, S.CANCELLED},
    }
    async with world.daemon("intake"):
        for command, statuses in allowed.items():
            job = await ended(world, status)
            reply = await world.reply(command, {"job_id": job.id})
            assert reply.ok is (status in statuses), f"{command} of a job that is {status}: {reply.error}"
            if reply.error is not None:
                assert reply.error.code is ReplyErrorCode.CONFLICT
                assert status in reply.error.message
                assert (await world.job(job.id)).internal.revision == job.internal.revision


@pytest.mark.parametrize("command", ["get", "status", "start", "stop", "resume", "export", "delete", "logs", "events"])
async def test_a_job_that_is_not_there_is_not_found(world: World, command: str) -> None:
    async with world.daemon("intake"):
        assert await code_of(world, f"job.{command}", {"job_id": "nobody"}) is ReplyErrorCode.NOT_FOUND


async def test_a_waiting_job_is_cancelled_at_once(world: World) -> None:
    async with world.daemon("intake"):
        for start in (False, True):
            result = await world.result("job.stop", {"job_id": await world.create(start=start)})
            assert result["status"] == "cancelled"


async def test_a_resume_whose_folder_somebody_else_has_is_refused(world: World) -> None:
    flat: dict[str, object] = {"output_dir": "output/flat", "extra_args": {"add_version": False}}
    async with world.daemon("intake"):
        first = await world.create(**flat)
        await world.result("job.stop", {"job_id": first})
        await world.create(**flat)
        assert await code_of(world, "job.resume", {"job_id": first}) is ReplyErrorCode.CONFLICT
        assert (await world.job(first)).status is S.CANCELLED


async def test_a_removal_takes_the_output_only_where_it_is_asked_to(world: World) -> None:
    async with world.daemon("intake"):
        kept, purged = await ended(world), await ended(world)
        await world.result("job.delete", {"job_id": kept.id})
        await world.result("job.delete", {"job_id": purged.id, "purge_output": True})
        assert await world.files.exists(Path(kept.run_dir or ""))
        assert not await world.files.exists(Path(purged.run_dir or ""))
        assert await world.store.get_job(kept.id) is None
        assert await world.store.events(kept.id, 0, 10) == []


async def test_a_job_is_removed_only_when_all_is_told_of_it(world: World) -> None:
    async with world.daemon("intake"):  # nobody else publishes
        job_id = await world.create(start=True)
        await world.result("job.stop", {"job_id": job_id})
        await world.result("job.delete", {"job_id": job_id})
        assert world.routes(job_id) == ["status.pending", "status.queued", "status.cancelled"]
        assert world.sequences(job_id) == [1, 2, 3]
        assert await world.store.get_job(job_id) is None


async def test_nothing_outside_the_roots_is_ever_removed(world: World) -> None:
    async with world.daemon("intake"):
        job = await ended(world)
    async with world.daemon("intake", allowed_roots="/data"):
        body: dict[str, object] = {"job_id": job.id, "purge_output": True}
        assert await code_of(world, "job.delete", body) is ReplyErrorCode.FORBIDDEN
        assert await world.store.get_job(job.id) is not None


# ---------------------------------------------------------------- export


@pytest.mark.parametrize(
    ("asked", "step"),
    [
        ("last", 8),
        ("best", 4),
        ("checkpoint-4", 4),
        ("{folder}/checkpoint-4", 4),
        ("./{folder}/checkpoint-4/", 4),
        ("../{folder}/checkpoint-4", 4),
        ("{run_dir}/checkpoint-4", 4),
    ],
)
async def test_an_export_is_of_the_checkpoint_that_was_asked_for(world: World, asked: str, step: int) -> None:
    async with world.daemon():
        job = await ended(world, S.CANCELLED)
        asked = asked.format(folder=Path(job.run_dir or "").name, run_dir=job.run_dir)
        result = await world.result("job.export", {"job_id": job.id, "checkpoint": asked})
        assert result["status"] == "exporting"
        await world.clock.settle()
        assert f"{job.run_dir}/checkpoint-{step}" in world.export_process(job.id).spec.argv
        assert (await world.job(job.id)).status is S.CANCELLED


async def test_an_export_of_what_is_not_there_or_not_the_jobs_is_refused(world: World) -> None:
    async with world.daemon("intake"):
        job = await ended(world)
        world.files.add_checkpoint(job.run_dir or "", 9, torn=True)
        for asked, code in (
            ("checkpoint-9", ReplyErrorCode.CONFLICT),
            ("checkpoint-5", ReplyErrorCode.CONFLICT),
            ("../../x", ReplyErrorCode.FORBIDDEN),
            ("/etc", ReplyErrorCode.FORBIDDEN),
        ):
            assert await code_of(world, "job.export", {"job_id": job.id, "checkpoint": asked}) is code
        bare = await set_job(world, await world.create(start=False), status=S.COMPLETED)
        refusal = await refused(world, "job.export", {"job_id": bare.id})
        assert refusal.code is ReplyErrorCode.CONFLICT
        assert "is completed and has no complete checkpoint 'last'" in refusal.message
        assert (refusal.places, refusal.inputs) == ({("checkpoint",)}, ["last"])


async def test_a_checkpoint_of_another_job_in_the_same_folder_is_not_exported(world: World) -> None:
    async with world.daemon("intake"):
        job, other = await ended(world, output_dir="output/same"), await ended(world, output_dir="output/same")
        name = Path(other.run_dir or "").name
        world.files.link(f"{job.run_dir}/checkpoint-99", f"{other.run_dir}/checkpoint-4")
        for asked in (f"../{name}/checkpoint-4", f"{other.run_dir}/checkpoint-4"):
            code = await code_of(world, "job.export", {"job_id": job.id, "checkpoint": asked})
            assert code is ReplyErrorCode.FORBIDDEN
        for asked in (f"{name}/checkpoint-4", "checkpoint-99"):  # below its own folder there is none of that name
            assert not (await world.reply("job.export", {"job_id": job.id, "checkpoint": asked})).ok


async def test_an_export_of_nothing_goes_to_the_dead(world: World) -> None:
    async with world.daemon("intake"):
        job = await ended(world)
        refusal = await refused(world, "job.export", {"job_id": job.id, "quant_bits": 4})
        assert (refusal.code, refusal.places) == (ReplyErrorCode.INVALID_REQUEST, {("quant_bits",)})
        await world.clock.settle()
        assert len(world.broker.dead) == 1


async def test_the_same_export_twice_is_one_and_another_one_meanwhile_is_refused(world: World) -> None:
    async with world.daemon("intake"):
        job = await ended(world)
        for _ in range(2):
            await world.result("job.export", {"job_id": job.id})
        assert (await world.job(job.id)).internal.sequence == job.internal.sequence + 1
        other: dict[str, object] = {"job_id": job.id, "checkpoint": "checkpoint-4"}
        assert await code_of(world, "job.export", other) is ReplyErrorCode.CONFLICT
        quantized: dict[str, object] = {"job_id": job.id, "quant_method": "bnb", "quant_bits": 4}
        refusal = await refused(world, "job.export", quantized)
        assert refusal.code is ReplyErrorCode.CONFLICT
        assert "is completed and its export is queued, so it can't be exported anew" in refusal.message


async def test_a_full_training_has_nothing_to_merge(world: World) -> None:
    async with world.daemon("intake"):
        job = await ended(world, train_type="full")
        refusal = await refused(world, "job.export", {"job_id": job.id})
        assert (refusal.code, refusal.places) == (ReplyErrorCode.CONFLICT, {("merge_lora",)})
        assert "is completed and can't be exported like that" in refusal.message
        await world.result("job.export", {"job_id": job.id, "quant_method": "bnb", "quant_bits": 4})


async def test_a_job_that_is_being_exported_is_neither_resumed_nor_removed(world: World) -> None:
    async with world.daemon("intake"):
        job = await ended(world, S.FAILED)
        await world.result("job.export", {"job_id": job.id})
        assert await code_of(world, "job.resume", {"job_id": job.id}) is ReplyErrorCode.CONFLICT
        assert (await world.job(job.id)).export_status is ExportStatus.QUEUED
