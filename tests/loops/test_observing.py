"""What changes of a job are counted as, where time is moved by hand."""

from daemon.adapters.memory_meters import MemoryMeters
from daemon.metrics import QUEUE_WAIT, REQUEUES
from tests.loops.jobs import POLL_S, running
from tests.loops.rig import World


async def test_who_gave_way_waited_from_then_on_alone(world: World) -> None:
    async with world.daemon(devices=1, preemption=True) as daemon:
        meters = daemon.ctx.meters
        assert isinstance(meters, MemoryMeters)
        _, training = await running(world)
        await world.clock.advance(1000)
        high = await world.create(priority=5, auto_export=False)
        await world.clock.advance(POLL_S)
        training.checkpoint(1)
        training.process.end(0)
        await world.clock.advance(POLL_S)
        (await world.training(high)).finish()
        await world.clock.advance(3 * POLL_S)
        assert meters.count(REQUEUES, cause="preemption") == 1
        waits = meters.values(QUEUE_WAIT, training_type="llm")
        assert len(waits) == 3
        assert max(waits) < 100, "the thousand seconds in which it ran are no waiting"
