"""The commands, one by one: what a creation makes and refuses, and says of it."""

import pytest

from schemas.enums import ReplyErrorCode
from tests.loops.jobs import VLM, S, code_of, refused
from tests.loops.rig import CREATE, World


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
