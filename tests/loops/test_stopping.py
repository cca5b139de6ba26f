"""Stops and timeouts: carried out at once, over restarts and outages, and ended only when nothing is left."""

import asyncio

import pytest

from schemas.enums import DeviceState, ErrorCode
from tests.loops.jobs import POLL_S, S, running, started, stop
from tests.loops.rig import World


@pytest.mark.parametrize("save", [False, True])
async def test_a_stop_reaches_the_process_at_once_and_the_job_is_cancelled_when_it_is_gone(
    world: World, save: bool
) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        result = await stop(world, job_id, grace_seconds=7, save=save)
        assert result["status"] == "stopping"
        await world.clock.settle()
        (order,) = training.process.stops
        assert (order.grace_s, order.save) == (7, save)
        await world.clock.advance(3)
        assert (await world.job(job_id)).status is S.STOPPING
        training.checkpoint(1)
        training.process.end(0 if save else -15)
        await world.clock.advance(1)
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (S.CANCELLED, None)
        assert job.checkpoint_path == f"{training.run_dir}/checkpoint-1"
        event = world.broker.events_of(job_id)[-1].event.data
        assert (event["status"], event["previous"], event["processes_left"]) == ("cancelled", "stopping", 0)


async def test_nothing_is_asked_to_save_that_can_not(world: World) -> None:
    """3.x has no `graceful_exit`: a signal to the rank that trains alone would end it without a checkpoint."""
    daemon = world.make()
    daemon.toolchain.version = "3.12.6"
    async with daemon.running():
        job_id, training = await running(world)
        await stop(world, job_id, grace_seconds=7, save=True)
        await world.clock.settle()
        assert [(order.grace_s, order.save) for order in training.process.stops] == [(7, False)]


async def test_a_stop_without_a_grace_time_has_the_settings(world: World) -> None:
    async with world.daemon(stop_grace_seconds=12):
        job_id, training = await running(world)
        await stop(world, job_id)
        await world.clock.settle()
        assert training.process.stops[0].grace_s == 12


async def test_a_second_stop_hurries_and_a_slower_one_changes_nothing(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        for grace_s in (30, 60, 2, 2):
            await stop(world, job_id, grace_seconds=grace_s)
            await world.clock.settle()
        assert [order.grace_s for order in training.process.stops] == [30, 2]
        assert world.routes(job_id).count("status.stopping") == 1
        training.process.end(-9)
        await world.clock.advance(1)
        assert (await stop(world, job_id))["status"] == "cancelled"


async def test_a_stop_at_starting_ends_the_process_before_it_trains(world: World) -> None:
    async with world.daemon():
        job_id, training = await started(world)
        await stop(world, job_id)
        await world.clock.settle()
        assert len(training.process.stops) == 1
        training.process.end(-15)
        await world.clock.advance(1)
        job = await world.job(job_id)
        assert (job.status, job.attempt) == (S.CANCELLED, 1)
    assert world.routes(job_id)[2:] == ["status.starting", "status.stopping", "status.cancelled"]


async def test_a_stop_between_claim_and_spawn_is_not_overlooked(world: World) -> None:
    async with world.daemon() as daemon:
        release = asyncio.Event()

        async def hold(call: str) -> None:
            if call == "adopt":
                await release.wait()

        daemon.runs.before_call = hold
        job_id = await world.create()
        await world.clock.settle()
        await stop(world, job_id)
        release.set()
        await world.clock.settle()
        for process in daemon.runs.alive:  # it was too late to hold the spawn back: then it is told to stop
            assert process.stops
            process.end(-15)
        await world.clock.advance(1)
        assert (await world.job(job_id)).status is S.CANCELLED


async def test_a_stop_is_seen_also_where_its_hint_was_lost(world: World) -> None:
    async with world.daemon("scheduling", "outbox"), world.daemon("intake", node_id="node-b", devices=0):
        job_id = await world.create()
        await world.clock.advance(2 * POLL_S)
        training = await world.training(job_id)
        await stop(world, job_id)
        assert not training.process.stops
        await world.clock.advance(POLL_S)
        assert len(training.process.stops) == 1


async def test_a_stop_is_carried_out_though_the_store_goes_away_behind_it(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        await stop(world, job_id)
        world.faults.away = True
        await world.clock.advance(60)
        training.process.end(-15)
        await world.clock.advance(600)
        world.faults.away = False
        await world.clock.advance(60)
        assert training.process.stops
        assert (await world.job(job_id)).status is S.CANCELLED


async def test_a_stop_that_comes_while_the_store_is_away_is_carried_out_when_it_is_back(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        world.faults.away = True
        world.broker.send("job.stop", {"job_id": job_id})
        await world.clock.advance(120)
        assert not training.process.stops
        world.faults.away = False
        await world.clock.advance(20)
        assert len(training.process.stops) == 1
        assert (await world.job(job_id)).status is S.STOPPING


async def test_a_timeout_holds_also_while_the_store_is_away(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world, timeout_seconds=60)
        world.faults.away = True
        await world.clock.advance(62)
        assert len(training.process.stops) == 1
        training.process.end(-15)
        await world.clock.advance(300)
        world.faults.away = False
        await world.clock.advance(60)
        assert (await world.job(job_id)).error_code is ErrorCode.TIMEOUT


async def test_a_process_that_ends_well_while_it_is_stopped_is_cancelled(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world)
        await stop(world, job_id)
        training.step(8)
        training.process.end(0)
        await world.clock.advance(2)
        assert (await world.job(job_id)).status is S.CANCELLED


async def test_a_timeout_stops_by_the_clock_and_fails(world: World) -> None:
    async with world.daemon(stop_grace_seconds=5):
        job_id, training = await running(world, timeout_seconds=60)
        await world.clock.advance(58)
        assert not training.process.stops
        await world.clock.advance(1)
        (order,) = training.process.stops
        assert (order.grace_s, order.save) == (5, False)
        training.process.end(-15)
        await world.clock.advance(2)
        job = await world.job(job_id)
        assert (job.status, job.error_code) == (S.FAILED, ErrorCode.TIMEOUT)
        assert "timeout_seconds (60 s)" in (job.error_message or "")


async def test_a_timeout_goes_on_counting_over_a_restart(world: World) -> None:
    async with world.daemon():
        job_id, training = await running(world, timeout_seconds=60)
    await world.clock.advance(30)
    async with world.daemon():
        await world.clock.advance(27)
        assert not training.process.stops
        await world.clock.advance(3)
        assert len(training.process.stops) == 1
        assert (await world.job(job_id)).status is S.RUNNING


async def test_waiting_for_the_end_behind_a_timeout_is_quiet(world: World) -> None:
    async with world.daemon():
        _, training = await running(world, timeout_seconds=60)
        await world.clock.advance(60)
        assert training.process.stops
        reads = world.faults.calls["get_job"]
        await world.clock.advance(20)
        assert world.faults.calls["get_job"] - reads <= 2 * 20 / POLL_S


async def test_processes_that_can_not_be_ended_keep_the_job_and_its_devices(world: World) -> None:
    async with world.daemon("intake", "scheduling", "outbox", "telemetry", devices=1) as daemon:
        job_id, training = await running(world)
        await stop(world, job_id)
        await world.clock.settle()
        training.process.end(-9, processes_left=2, note="pids 41, 42 in state D")
        await world.clock.advance(35)
        assert (await world.job(job_id)).status is S.STOPPING
        (device,) = daemon.ctx.board.current()
        assert device.state is DeviceState.UNHEALTHY
        assert "pids 41, 42 in state D" in (device.reason or "")
        gpus = (await world.result("gpu.list"))["gpus"]
        assert isinstance(gpus, list)
        assert gpus[0]["state"] == "unhealthy"
        assert gpus[0]["job_id"] == job_id
        assert "pids 41, 42" in gpus[0]["reason"]
        waiting = await world.create()
        await world.clock.advance(POLL_S)
        assert (await world.job(waiting)).status is S.QUEUED
        training.process.kill_rest()
        await world.clock.advance(11)
        assert (await world.job(job_id)).status is S.CANCELLED
        assert daemon.ctx.board.current()[0].state is DeviceState.FREE
        await world.clock.settle()
        assert (await world.job(waiting)).status is S.STARTING
