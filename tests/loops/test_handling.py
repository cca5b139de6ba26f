"""The commands, one by one: what each changes, answers and refuses."""

from datetime import datetime
from pathlib import Path

import pytest

from daemon.loops import fleet
from schemas.enums import DeviceState, ExportStatus, ReplyErrorCode, TrainingStatus
from schemas.jobs import TrainingJob
from schemas.replies import Fault, JobEvents, JobList, JobLogs, JobMetrics, JobStatus, NodeList, QueueList, Reply
from tests.loops.gpu_board import GpuBoard
from tests.loops.rig import CREATE, World

S = TrainingStatus
VLM: dict[str, object] = {
    "training_type": "vlm",
    "model_path": "Qwen/Qwen2.5-VL-7B-Instruct",
    "data_path": "modelscope/coco_2014_caption#20",
    "datasets": None,
}


async def code_of(world: World, command: str, body: dict[str, object]) -> ReplyErrorCode:
    """The code of the refusal of a command that must be refused."""
    return (await refused(world, command, body)).code


async def refused(world: World, command: str, body: dict[str, object]) -> "Refusal":
    reply: Reply = await world.reply(command, body)
    assert reply.error is not None, f"{command} was carried out"
    return Refusal(reply.error.code, reply.error.message, reply.error.details)


class Refusal:
    def __init__(self, code: ReplyErrorCode, message: str, details: tuple[Fault, ...]) -> None:
        self.code, self.message = code, message
        self.places = {fault.loc for fault in details}
        self.inputs = [fault.input for fault in details]


async def set_job(world: World, job_id: str, **fields: object) -> TrainingJob:
    """Put a job where a test needs it."""
    job = await world.job(job_id)
    assert await world.store.update_job(job, job.model_copy(update=fields))
    return await world.job(job_id)


async def ended(world: World, status: TrainingStatus = S.COMPLETED, **fields: object) -> TrainingJob:
    """A job that has ended, with two checkpoints."""
    job = await set_job(world, await world.create(start=False, **fields), status=status)
    for step in (4, 8):
        world.files.add_checkpoint(job.run_dir or "", step)
    return await set_job(world, job.id, best_checkpoint_path=f"{job.run_dir}/checkpoint-4")


# ---------------------------------------------------------------- create


async def test_a_new_job_has_its_request_its_owner_and_a_run_folder_of_its_own(world: World) -> None:
    world.files.make_folder("/work/output/llm_test/v3-20291231-000000")
    async with world.daemon("intake"):
        reply = await world.reply("job.create", {**CREATE, "labels": {"team": "nlp"}}, user_id="alice")
        assert reply.result is not None
        job = await world.job(str(reply.result["job_id"]))
        assert (job.status, job.owner, job.labels) == (S.PENDING, "alice", {"team": "nlp"})
        assert job.run_dir == "/work/output/llm_test/v4-20300101-000000"
        assert job.internal.output_lock == job.run_dir


async def test_two_jobs_never_share_a_run_folder(world: World) -> None:
    async with world.daemon("intake"):
        jobs = [await world.job(await world.create(output_dir="output/same")) for _ in range(3)]
        assert len({job.run_dir for job in jobs}) == 3
        flat: dict[str, object] = {"output_dir": "output/flat", "extra_args": {"add_version": False}}
        await world.create(**flat)
        refusal = await refused(world, "job.create", {**CREATE, **flat})
        assert refusal.code is ReplyErrorCode.CONFLICT
        assert refusal.places == {("output_dir",)}


async def test_a_vision_job_is_a_job(world: World) -> None:
    async with world.daemon():
        job_id = await world.create(**VLM, max_pixels=100_352)
        await world.clock.settle()
        job = await world.job(job_id)
        assert job.status is S.STARTING
        assert "--vit_lr" in job.swift_argv
        assert world.process(job_id).spec.env["MAX_PIXELS"] == "100352"


async def test_paths_that_say_that_they_are_local_must_be_there(world: World) -> None:
    async with world.daemon("intake"):
        refusal = await refused(world, "job.create", {**CREATE, "datasets": ["a/b", "./no.jsonl#9"]})
        assert refusal.code is ReplyErrorCode.INVALID_REQUEST
        assert refusal.places == {("datasets", 1)}
        world.files.write("/work/no.jsonl", "{}\n")
        assert (await world.reply("job.create", {**CREATE, "datasets": ["a/b", "./no.jsonl#9"]})).ok


async def test_paths_must_lie_below_the_allowed_roots_symlinks_followed(world: World) -> None:
    world.files.write("/work/inside/a.jsonl", "{}")
    world.files.write("/secret/b.jsonl", "{}")
    world.files.link("/work/inside/link.jsonl", "/secret/b.jsonl")
    async with world.daemon("intake", allowed_roots="/work"):
        for name, allowed in (("inside/a.jsonl", True), ("/secret/b.jsonl", False), ("inside/link.jsonl", False)):
            reply = await world.reply("job.create", {**CREATE, "datasets": [name]})
            assert reply.ok is allowed, name
            if reply.error is not None:
                assert reply.error.code is ReplyErrorCode.FORBIDDEN
        refusal = await refused(world, "job.create", {**CREATE, "output_dir": "/elsewhere"})
        assert (refusal.code, refusal.places) == (ReplyErrorCode.FORBIDDEN, {("output_dir",)})
        assert await code_of(world, "job.create", {**CREATE, "output_dir": "../up"}) is ReplyErrorCode.FORBIDDEN


@pytest.mark.parametrize(
    ("field", "there", "not_there"),
    [
        ("datasets", ["/secret/b.jsonl#5"], ["/secret/c.jsonl#5"]),
        ("datasets", ["hf::/secret/b"], ["hf::/secret/c"]),
        ("datasets", ["inside/link"], ["inside/link/c"]),
        ("model_path", "output/../../secret/b", "output/../../secret/c"),
        ("system", "/secret/b.txt", "/secret/c.txt"),
        ("extra_args", {"adapters": ["/secret/b"]}, {"adapters": ["/secret/c"]}),
    ],
)
async def test_nobody_learns_what_exists_outside_the_roots(
    world: World, field: str, there: object, not_there: object
) -> None:
    for name in ("b.jsonl", "b.txt", "b/x"):
        world.files.write(f"/secret/{name}", "{}")
    world.files.link("/work/inside/link", "/secret/b")
    async with world.daemon("intake", allowed_roots="/work"):
        first = await refused(world, "job.create", {**CREATE, field: there})
        other = await refused(world, "job.create", {**CREATE, field: not_there})
        assert first.code is other.code is ReplyErrorCode.FORBIDDEN
        assert first.places == other.places
        assert first.message.partition(" lies ")[2] == other.message.partition(" lies ")[2] != ""


async def test_a_hubs_id_is_taken_where_the_work_folder_is_outside_the_roots(world: World) -> None:
    world.files.make_folder("/work/Qwen/Qwen2.5-0.5B-Instruct")
    async with world.daemon("intake", allowed_roots="/data"):
        body: dict[str, object] = {**CREATE, "output_dir": "/data/o"}
        assert await code_of(world, "job.create", body) is ReplyErrorCode.FORBIDDEN
        assert (await world.reply("job.create", {**body, "model_path": "Qwen/Qwen3"})).ok


async def test_what_is_said_of_a_path_is_what_was_sent(world: World) -> None:
    async with world.daemon("intake", allowed_roots="/work"):
        refusal = await refused(world, "job.create", {**CREATE, "datasets": ["a/b", "../x.jsonl#9"]})
        assert refusal.message == "datasets.1: ../x.jsonl#9 lies outside the allowed roots (/work)"
        assert (refusal.places, refusal.inputs) == ({("datasets", 1)}, ["../x.jsonl#9"])
        refusal = await refused(world, "job.create", {**CREATE, "datasets": ["a/b", "./x.jsonl#9"]})
        assert refusal.message.startswith("datasets.1: ./x.jsonl#9 does not exist in the work folder of node node-a;")
        assert (refusal.places, refusal.inputs) == ({("datasets", 1)}, ["./x.jsonl#9"])
        both = {"model_path": "/m", "output_dir": "/o", "env": {"HF_HOME": "/h"}}
        refusal = await refused(world, "job.create", {**CREATE, **both})
        assert refusal.places == {("model_path",), ("output_dir",), ("env", "HF_HOME")}


async def test_a_home_that_nobody_has_is_a_path_that_is_not_there(world: World) -> None:
    async with world.daemon("intake"):
        refusal = await refused(world, "job.create", {**CREATE, "model_path": "~nobody-has-this-name/m"})
        assert (refusal.code, refusal.places) == (ReplyErrorCode.INVALID_REQUEST, {("model_path",)})


async def test_a_text_that_is_too_long_for_a_path_is_not_followed_as_one(world: World) -> None:
    async with world.daemon("intake", allowed_roots="/work"):
        await world.result("job.create", {**CREATE, "system": "a/../../" * 8000 + "b.txt"})


async def test_plug_ins_need_the_operators_leave(world: World) -> None:
    world.files.write("/work/plugin.py", "")
    body: dict[str, object] = {**CREATE, **VLM, "external_plugins": ["./plugin.py"]}
    option: dict[str, object] = {**CREATE, "extra_args": {"external_plugins": ["./plugin.py"]}}
    async with world.daemon("intake"):
        field = await refused(world, "job.create", body)
        assert (field.code, field.places) == (ReplyErrorCode.FORBIDDEN, {("external_plugins",)})
        assert field.inputs == ["['./plugin.py']"]
        for kind in ({}, VLM):
            refusal = await refused(world, "job.create", {**option, **kind})
            assert refusal.code is ReplyErrorCode.FORBIDDEN
            assert refusal.message == f"extra_args.{field.message}"
            assert (refusal.places, refusal.inputs) == ({("extra_args", "external_plugins")}, field.inputs)
    async with world.daemon("intake", allow_external_plugins=True):
        assert (await world.reply("job.create", body)).ok
        assert (await world.reply("job.create", option)).ok


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ({"team": "a", "note": "hf_ABCDEFGHabcdefgh1234"}, "note"),
        ({"note": "https://me:geheim@host/x"}, "note"),
        ({"hf_ABCDEFGHabcdefgh1234": "a"}, "***"),
    ],
)
async def test_a_label_is_no_place_for_a_secret(world: World, labels: dict[str, str], place: str) -> None:
    async with world.daemon("intake"):
        refusal = await refused(world, "job.create", {**CREATE, "labels": labels})
        assert (refusal.code, refusal.places) == (ReplyErrorCode.INVALID_REQUEST, {("labels", place)})
        assert "hf_" not in refusal.message + str(refusal.inputs)
        assert "geheim" not in refusal.message + str(refusal.inputs)


async def test_what_was_sent_for_an_option_comes_back(world: World) -> None:
    async with world.daemon("intake"):
        refusal = await refused(world, "job.create", {**CREATE, "extra_args": {"seed": "abc"}})
        assert (refusal.places, refusal.inputs) == ({("extra_args", "seed")}, ["abc"])


async def test_options_that_ms_swift_has_not_are_refused_by_name(world: World) -> None:
    async with world.daemon("intake"):
        refusal = await refused(world, "job.create", {**CREATE, "extra_args": {"no_such": 1, "weight_decay": 0.1}})
        assert (refusal.code, refusal.places) == (ReplyErrorCode.INVALID_REQUEST, {("extra_args", "no_such")})


async def test_where_ms_swift_can_not_be_asked_the_start_will_tell(world: World) -> None:
    daemon = world.make()
    daemon.toolchain.missing = "not there"
    async with daemon.running("intake"):
        assert (await world.reply("job.create", {**CREATE, "extra_args": {"no_such": 1}})).ok


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


# ---------------------------------------------------------------- asking


async def test_get_and_status_show_a_job_and_nothing_of_the_daemons_own(world: World) -> None:
    async with world.daemon("intake"):
        job_id = await world.create()
        document = await world.result("job.get", {"job_id": job_id})
        assert document["id"] == job_id
        assert "internal" not in document
        status = JobStatus.model_validate(await world.result("job.status", {"job_id": job_id}))
        assert (status.job_id, status.status, status.progress) == (job_id, S.QUEUED, 0.0)
        assert status.wait_reason


async def test_a_list_is_filtered_paged_and_newest_first(world: World) -> None:
    async with world.daemon("intake"):
        jobs: list[str] = []
        for number in range(5):
            more = VLM if number == 4 else {}
            jobs.append(await world.create(start=number % 2 == 0, labels={"n": str(number)}, **more))
            await world.clock.advance(1)

        async def listed(**filters: object) -> list[int]:
            found = JobList.model_validate(await world.result("job.list", filters))
            return [jobs.index(str(job["id"])) for job in found.jobs]

        assert await listed() == [4, 3, 2, 1, 0]
        assert await listed(size=2, page=2) == [2, 1]
        assert await listed(status="queued") == [4, 2, 0]
        assert await listed(status=["pending", "failed"]) == [3, 1]
        assert await listed(training_type="vlm") == [4]
        assert await listed(label="n=3") == [3]
        assert await listed(label="n") == [4, 3, 2, 1, 0]
        assert await listed(owner="nobody") == []
        page = JobList.model_validate(await world.result("job.list", {"size": 1}))
        assert (page.total, page.total_llm, page.total_vlm) == (5, 4, 1)


async def test_logs_are_a_tail_or_a_range_of_whole_lines_masked(world: World) -> None:
    async with world.daemon():
        job_id = await world.create()
        empty = JobLogs.model_validate(await world.result("job.logs", {"job_id": job_id}))
        assert empty.lines == ()
        await world.clock.settle()
        world.process(job_id).write("".join(f"line {number}\n" for number in range(1000)))
        world.process(job_id).write("\rbar 1\rbar 2\rbar 3\nhub_token=geheim\n")
        tail = JobLogs.model_validate(await world.result("job.logs", {"job_id": job_id, "tail": 3}))
        assert tail.lines == ("line 999", "bar 3", "hub_token=***")
        for bounds in ({"limit": 1000}, {"max_lines": 7}, {"limit": 300, "max_lines": 50}):
            lines: list[str] = []
            offset, eof = 0, False
            while not eof:
                body = {"job_id": job_id, "offset": offset, **bounds}
                part = JobLogs.model_validate(await world.result("job.logs", body))
                assert part.offset == offset < part.next_offset
                assert 0 < len(part.lines) <= bounds.get("max_lines", 1000)
                lines += part.lines
                offset, eof = part.next_offset, part.eof
            assert lines == [*(f"line {number}" for number in range(1000)), "bar 3", "hub_token=***"]


@pytest.mark.parametrize("limit", [1, 9, 30, 500])
async def test_no_range_of_a_log_shows_a_part_of_a_token(world: World, limit: int) -> None:
    token = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"  # noqa: S105 - it opens nothing
    text = f"begin\r\nuse {token} ok\rbar\n\n{'x' * 60} {token}\nend, unfinished"
    async with world.daemon():
        job_id = await world.create()
        await world.clock.settle()
        world.process(job_id).write(text)
        for offset in range(len(text) + 1):
            body = {"job_id": job_id, "offset": offset, "limit": limit}
            part = JobLogs.model_validate(await world.result("job.logs", body))
            assert not any(token[at : at + 4] in line for line in part.lines for at in range(len(token) - 3))
            assert part.next_offset > offset or part.eof
            assert part.next_offset >= offset
            at_start = offset == 0 or text[offset - 1] in "\r\n"
            assert part.offset == offset if at_start else part.offset <= offset
        lines: list[str] = []
        offset, eof = 0, False
        while not eof:
            body = {"job_id": job_id, "offset": offset, "limit": limit}
            part = JobLogs.model_validate(await world.result("job.logs", body))
            lines += part.lines
            offset, eof = part.next_offset, part.eof
        assert lines[0] == "begin"
        assert lines[-2:] == ["bar", f"{'x' * 60} ***"]
        assert text[offset:] == "end, unfinished"


async def test_a_line_longer_than_any_is_shown_once_and_passed(world: World) -> None:
    async with world.daemon():
        job_id = await world.create()
        await world.clock.settle()
        world.process(job_id).write("first\n" + "x" * 200_000 + "\nlast\n")
        seen: list[str] = []
        offset, eof = 0, False
        while not eof:
            body = {"job_id": job_id, "offset": offset, "limit": 1000}
            part = JobLogs.model_validate(await world.result("job.logs", body))
            assert offset < part.next_offset
            seen += part.lines
            offset, eof = part.next_offset, part.eof
        assert [line[:5] for line in seen] == ["first", "xxxxx", "last"]
        assert 60_000 < len(seen[1]) < 70_000


async def test_a_log_on_another_node_is_asked_for_there(world: World) -> None:
    async with world.daemon() as near, world.daemon("intake", node_id="node-b"):
        job_id = await world.create()
        await world.clock.advance(3)
        job = await world.job(job_id)
        world.process(job_id, node_id=job.node_id or "").write("hello\n")
        answers = [JobLogs.model_validate(await world.result("job.logs", {"job_id": job_id})) for _ in range(4)]
        assert {answer.lines for answer in answers} == {("hello",)}
        assert near.bus.broker.unacknowledged == 0


async def test_a_log_on_a_node_that_is_away_is_said_to_be_there(world: World) -> None:
    async with world.daemon():
        job_id = await world.create()
        await world.clock.settle()
    async with world.daemon("intake", node_id="node-b"):
        refusal = await refused(world, "job.logs", {"job_id": job_id})
        assert refusal.code is ReplyErrorCode.UNAVAILABLE
        assert "node-a" in refusal.message


async def test_events_and_metrics_are_there_behind_a_number(world: World) -> None:
    async with world.daemon():
        job_id = await world.create(auto_export=False)
        await world.clock.settle()
        (await world.training(job_id)).finish(steps=(1, 3, 5))
        await world.clock.advance(3)
        events = JobEvents.model_validate(await world.result("job.events", {"job_id": job_id, "after": 2, "limit": 2}))
        assert [event.sequence for event in events.events] == [3, 4]
        metrics = JobMetrics.model_validate(await world.result("job.metrics", {"job_id": job_id, "after_step": 1}))
        assert [point.step for point in metrics.points] == [3, 5]


async def test_defaults_are_those_of_the_request(world: World) -> None:
    async with world.daemon("intake"):
        llm = await world.result("params.default", {"training_type": "llm"})
        vlm = await world.result("params.default", {"training_type": "vlm"})
        assert (llm["lora_rank"], llm["save_steps"], vlm["lora_rank"], vlm["vit_lr"]) == (8, 50, 16, 1e-5)


# ---------------------------------------------------------------- the whole


async def test_the_queue_is_shown_in_its_order_with_reasons(world: World) -> None:
    async with world.daemon(devices=1):
        running = await world.create()
        await world.clock.settle()
        low = await world.create(gpu_id="0")
        await world.clock.advance(1)
        high = await world.create(priority=9)
        await world.clock.advance(3)
        queue = QueueList.model_validate(await world.result("queue.list"))
        assert [(entry.job_id, entry.position) for entry in queue.jobs] == [(high, 1), (low, 2)]
        assert all(running in entry.wait_reason for entry in queue.jobs)
        assert queue.jobs[1].gpu_id == "0"


async def test_a_long_queue_is_shown_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one owner has most of it, of whom a round reads only a share."""
    monkeypatch.setattr(fleet, "MOST_WAITING", 4)
    async with world.daemon(devices=1):
        await world.create()
        await world.clock.settle()
        body = {**CREATE, "start": True}
        for number in range(12):
            owner = "ben" if number == 11 else "anna"
            reply = await world.reply("job.create", {**body, "output_dir": f"out/{number}"}, user_id=owner)
            assert reply.ok

        async def page(**fields: int) -> QueueList:
            return QueueList.model_validate(await world.result("queue.list", fields))

        pages = [await page(page=number, size=5) for number in (1, 2, 3, 4)]
        assert [len(found.jobs) for found in pages] == [5, 5, 2, 0]
        assert {found.total for found in pages} == {12}
        listed = [job for found in pages for job in found.jobs]
        assert [job.position for job in listed] == list(range(1, 13))
        assert len({job.job_id for job in listed}) == 12
        assert (await page(page=1)).jobs == (await page(size=1000)).jobs == tuple(listed)
        assert await code_of(world, "queue.list", {"page": 11}) is ReplyErrorCode.INVALID_REQUEST


async def test_a_job_behind_what_is_looked_at_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "MOST_WAITING", 2)
    async with world.daemon(devices=1):
        await world.create()
        await world.clock.settle()
        waiting: list[str] = []
        for _ in range(4):
            waiting.append(await world.create())
            await world.clock.advance(2)
        told = "behind the first 2 of the queue, which are looked at first: 3 are before it"
        for command in ("job.get", "job.status"):
            reasons = [(await world.result(command, {"job_id": job_id}))["wait_reason"] for job_id in waiting]
            assert "device 0 runs job" in str(reasons[0])
            assert reasons[3] == told


async def test_the_systems_state_names_what_is_wrong(world: World) -> None:
    async with world.daemon(devices=GpuBoard(1, "node-a")):
        status = await world.result("system.status")
        assert status["status"] == "ok"
        assert {status[part] for part in ("broker", "store", "devices", "swift")} == {"ok"}
        assert status["counts"] == dict.fromkeys(map(str, S), 0)
        assert datetime.fromisoformat(str(status["time"])) == world.clock.now()
        assert status["store_skew_seconds"] == 0


async def test_the_state_of_the_devices_is_answered_from_the_last_reading(world: World) -> None:
    """A driver that is asked by each of a hundred commands has no time left for telemetry."""
    board = GpuBoard(2, "node-a")
    async with world.daemon("intake", "telemetry", devices=board) as daemon:
        board.set(1, state=DeviceState.UNHEALTHY, reason="NVML: GPU is lost")
        await world.clock.advance(daemon.ctx.settings.gpu_interval_seconds)
        reads = board.reads
        for _ in range(100):
            status = await world.result("system.status")
            assert (status["status"], status["devices"]) == ("degraded", "device 1: NVML: GPU is lost")
        assert board.reads == reads


async def test_a_node_tells_the_room_in_its_folders(world: World) -> None:
    world.files.free = 5000.0
    async with world.daemon(devices=GpuBoard(1, "node-a")) as daemon:
        found = NodeList.model_validate(await world.result("node.list"))
        folders = {daemon.ctx.settings.state_path, daemon.ctx.settings.work_path}
        assert {disk.path: disk.free_mib for disk in found.nodes[0].disks} == {str(path): 5000.0 for path in folders}


async def test_a_node_that_is_not_there_can_not_be_drained(world: World) -> None:
    async with world.daemon("intake"):
        assert await code_of(world, "node.drain", {"node_id": "nobody"}) is ReplyErrorCode.NOT_FOUND
