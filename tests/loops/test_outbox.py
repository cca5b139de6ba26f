"""The outbox: durable events in their order, confirmed before they are taken out, repeated under the same id."""

import asyncio

import pytest

from daemon.core.moves import with_internal
from daemon.loops.outbox import SIDE_BY_SIDE, flush
from daemon.ports import Subject
from schemas.enums import TrainingStatus
from tests.core.factory import make_job
from tests.loops.rig import World

POLL_S = 2.0
LIFE = ["status.pending", "status.queued", "status.cancelled", "status.queued", "status.cancelled"]


async def lively(world: World) -> str:
    """A job with five durable events."""
    job_id = await world.create()
    for command in ("job.stop", "job.resume", "job.stop"):
        await world.result(command, {"job_id": job_id})
    return job_id


def kept_by_a_careful_subscriber(world: World, subject: str) -> list[int]:
    """Sequence numbers by first sight of each id."""
    seen = {event.event.id: event.sequence for event in reversed(world.broker.events_of(subject))}
    first = {event.event.id: None for event in world.broker.events_of(subject)}
    return [seen[event_id] for event_id in first]


async def test_events_are_published_in_order_and_then_taken_out(world: World) -> None:
    async with world.daemon("intake", "outbox"):
        job_id = await lively(world)
        await world.clock.settle()
        assert world.routes(job_id) == LIFE
        assert world.sequences(job_id) == [1, 2, 3, 4, 5]
        assert (await world.job(job_id)).internal.outbox == ()
        assert [event.sequence for event in await world.store.events(job_id, 0, 100)] == [1, 2, 3, 4, 5]


async def test_an_event_is_published_without_any_time_passing(world: World) -> None:
    async with world.daemon("intake", "outbox"):
        began = world.clock.monotonic()
        job_id = await world.create()
        await world.clock.settle()
        assert world.routes(job_id) == LIFE[:2]
        assert world.clock.monotonic() == began


async def test_nothing_is_taken_out_before_it_is_confirmed(world: World) -> None:
    async with world.daemon("intake", "outbox") as daemon:
        gate = daemon.bus_faults.gates["publish"] = asyncio.Event()
        job_id = await world.create()
        await world.clock.advance(60)
        assert len((await world.job(job_id)).internal.outbox) == 2
        gate.set()
        await world.clock.settle()
        assert (await world.job(job_id)).internal.outbox == ()


async def test_a_crash_between_confirmation_and_removal_sends_the_same_ids_again(world: World) -> None:
    async with world.daemon("intake", "outbox"):
        world.faults.gates["outbox_done"] = asyncio.Event()
        job_id = await world.create()
        await world.clock.settle()
        assert world.sequences(job_id) == [1, 2]
    world.faults.gates.clear()
    async with world.daemon("intake", "outbox"):
        await world.clock.advance(2 * POLL_S)
    assert world.sequences(job_id) == [1, 2, 1, 2]
    assert [event.event.id for event in world.broker.events_of(job_id)] == [f"{job_id}-{n}" for n in (1, 2, 1, 2)]
    assert kept_by_a_careful_subscriber(world, job_id) == [1, 2]
    assert len(await world.store.events(job_id, 0, 100)) == 2


async def test_a_confirmation_that_was_lost_repeats_and_skips_nothing(world: World) -> None:
    async with world.daemon("intake", "outbox") as daemon:
        daemon.bus_faults.losing["publish"] = 2
        job_id = await lively(world)
        await world.clock.advance(30)
    assert len(world.sequences(job_id)) > 5
    assert kept_by_a_careful_subscriber(world, job_id) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("call", ["outbox", "outbox_done", "outbox_subjects"])
async def test_a_store_that_goes_away_anywhere_loses_no_event(world: World, call: str) -> None:
    async with world.daemon("intake", "outbox"):
        world.faults.losing[call] = world.faults.failing[call] = 1
        job_id = await lively(world)
        await world.clock.advance(60)
    assert kept_by_a_careful_subscriber(world, job_id) == [1, 2, 3, 4, 5]
    assert (await world.job(job_id)).internal.outbox == ()


async def test_an_outage_of_the_broker_loses_no_event_and_keeps_the_order(world: World) -> None:
    async with world.daemon("intake", "outbox") as daemon:
        jobs = [await world.create(start=False) for _ in range(SIDE_BY_SIDE + 8)]
        await world.clock.settle()
        daemon.bus_faults.failing["publish"] = 1_000_000
        for job_id in jobs:
            world.broker.send("job.start", {"job_id": job_id})
            world.broker.send("job.stop", {"job_id": job_id})
        await world.clock.advance(600)
        assert all(world.sequences(job_id) == [1] for job_id in jobs)
        daemon.bus_faults.failing.clear()
        await world.clock.advance(20)
    for job_id in jobs:
        assert world.sequences(job_id) == [1, 2, 3]
        assert world.routes(job_id) == LIFE[:3]


async def test_a_training_goes_on_while_the_broker_is_away_and_is_told_of_afterwards(world: World) -> None:
    async with world.daemon():
        job_id = await world.create(auto_export=False)
        await world.clock.settle()
        world.broker.go_away()
        (await world.training(job_id)).finish()
        await world.clock.advance(600)
        assert (await world.job(job_id)).status is TrainingStatus.COMPLETED
        world.broker.come_back()
        await world.clock.advance(20)
    assert world.sequences(job_id) == [1, 2, 3, 4, 5, 6]
    assert world.routes(job_id)[3:] == ["status.running", "checkpoint", "status.completed"]


async def test_what_an_earlier_daemon_left_is_published_though_the_new_one_is_busy(world: World) -> None:
    async with world.daemon("intake"):
        left = await world.create()
    async with world.daemon("intake", "outbox"):
        job_id = await world.create()
        for _ in range(20):
            await world.result("job.stop", {"job_id": job_id})
            await world.clock.advance(POLL_S / 4)
            await world.result("job.resume", {"job_id": job_id})
            await world.clock.advance(POLL_S / 4)
        assert world.sequences(left) == [1, 2]


async def test_two_daemons_that_publish_the_same_events_confuse_no_careful_subscriber(world: World) -> None:
    async with world.daemon("intake", "outbox", node_id="node-a"), world.daemon("outbox", node_id="node-b"):
        world.faults.gates["outbox_done"] = gate = asyncio.Event()
        job_id = await lively(world)
        await world.clock.advance(2 * POLL_S)
        gate.set()
        await world.clock.advance(2 * POLL_S)
    assert kept_by_a_careful_subscriber(world, job_id) == [1, 2, 3, 4, 5]
    assert (await world.job(job_id)).internal.outbox == ()


async def test_one_document_that_can_not_be_published_does_not_hold_up_the_others_of_its_round(world: World) -> None:
    async with world.daemon("intake", "outbox") as daemon:
        daemon.bus_faults.failing["publish"] = 1
        jobs = [await world.create(start=False) for _ in range(3)]
        await world.clock.advance(5)
        assert [world.sequences(job_id) for job_id in jobs] == [[1], [1], [1]]


async def test_an_idle_outbox_asks_slowly(world: World) -> None:
    async with world.daemon("outbox"):
        await world.clock.advance(2 * POLL_S)
        asked = world.faults.calls["outbox_subjects"]
        await world.clock.advance(100 * POLL_S)
        assert world.faults.calls["outbox_subjects"] - asked <= 100


async def test_a_flush_publishes_everything_once(world: World) -> None:
    daemon = world.make()
    for number in range(3):
        job = make_job(f"job-{number}")
        assert await world.store.insert_job(with_internal(job, output_lock=None))
    assert await flush(daemon.ctx) == 3
    assert [world.sequences(f"job-{number}") for number in range(3)] == [[1], [1], [1]]
    assert await flush(daemon.ctx) == 0
    assert await world.store.outbox(Subject.JOB, "job-0") == ()
