"""The daemon's own log: whoever looks for a job's id finds every line that is about it."""

import logging

import pytest

from tests.loops.jobs import completed, running
from tests.loops.rig import CREATE, World

Line = tuple[str, object]
"""An action, and the job that its line names."""


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "swift_trainer")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[Line]:
    return [(record.__dict__["action"], record.__dict__["fields"].get("job_id")) for record in log.records]


async def test_every_line_of_a_jobs_life_names_it(world: World, log: pytest.LogCaptureFixture) -> None:
    async with world.daemon():
        log.clear()
        job_id, training = await completed(world)
        await world.clock.settle()
        world.files.make_folder(f"{training.run_dir}/checkpoint-8-merged")
        world.export_process(job_id).end(0)
        await world.clock.advance(1)
        told = ["command_done", "job_claimed", "run_spawned", "job_ended", "export_spawned", "export_ended"]
        assert lines(log) == [(action, job_id) for action in told]


async def test_a_command_that_changes_a_job_is_a_line_and_a_question_none(
    world: World, log: pytest.LogCaptureFixture
) -> None:
    async with world.daemon():
        job_id, _ = await running(world)
        log.clear()
        await world.result("job.get", {"job_id": job_id})
        await world.result("queue.list")
        assert lines(log) == []
        await world.result("job.stop", {"job_id": job_id})
        await world.clock.settle()
        assert ("command_done", job_id) in lines(log)
        (record,) = [record for record in log.records if record.__dict__["action"] == "command_done"]
        assert (record.levelno, record.__dict__["fields"]["command"]) == (logging.INFO, "job.stop")


async def test_a_refusal_to_create_names_no_job(world: World, log: pytest.LogCaptureFixture) -> None:
    async with world.daemon():
        await world.create(output_dir="out")
        log.clear()
        reply = await world.reply("job.create", {**CREATE, "after": ["nobody"]}, message_id="m")
        assert reply.error is not None
        assert {job_id for _, job_id in lines(log)} == {None}


async def test_a_command_that_waits_for_the_store_names_its_job(world: World, log: pytest.LogCaptureFixture) -> None:
    async with world.daemon():
        job_id, _ = await running(world)
        log.clear()
        for command, body in (("job.stop", {"job_id": job_id}), ("job.create", CREATE)):
            world.faults.away = True
            world.broker.send(command, body, message_id=command)
            await world.clock.advance(1)
            world.faults.away = False
            await world.clock.advance(10)
        waiting = list(dict.fromkeys(named for action, named in lines(log) if action == "command_waits"))
        assert waiting == [named for action, named in lines(log) if action == "command_done"]
        assert waiting[0] == job_id
        assert len(set(waiting) - {None}) == 2


async def test_a_reply_that_waits_for_the_broker_names_its_job(world: World, log: pytest.LogCaptureFixture) -> None:
    async with world.daemon() as daemon:
        job_id, _ = await running(world)
        log.clear()
        for command, body in (("job.stop", {"job_id": job_id}), ("job.create", CREATE)):
            daemon.bus_faults.failing["reply"] = 1
            world.broker.send(command, body, reply_to="q")
            await world.clock.advance(10)
        stopped, created = [named for action, named in lines(log) if action == "reply_waits"]
        assert stopped == job_id
        assert ("command_done", created) in lines(log)
        assert created not in {job_id, None}
