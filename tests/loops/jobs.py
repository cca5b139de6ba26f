"""Jobs at the stages at which tests begin, and what tests do to them."""

from schemas.enums import TrainingStatus
from schemas.replies import Reply
from tests.loops.rig import CREATE, Training, World

POLL_S = 2.0
S = TrainingStatus
PENDING = {**CREATE, "start": False}


async def pending(world: World, **fields: object) -> str:
    """A job that waits for its start."""
    return await world.create(start=False, **fields)


async def started(world: World, **fields: object) -> tuple[str, Training]:
    """A job whose process was spawned and has written nothing yet."""
    job_id = await world.create(**fields)
    await world.clock.settle()
    return job_id, await world.training(job_id)


async def running(world: World, **fields: object) -> tuple[str, Training]:
    """A job that trains and has logged its first step."""
    job_id, training = await started(world, **fields)
    training.load()
    training.begin()
    training.step(1)
    await world.clock.advance(1.5)
    assert (await world.job(job_id)).status is S.RUNNING
    return job_id, training


def replies(world: World, correlation_id: str) -> list[Reply]:
    """The answers that a requester has got."""
    return [answer.reply for answer in world.broker.answers_to(correlation_id)]


async def stop(world: World, job_id: str, **fields: object) -> dict[str, object]:
    return await world.result("job.stop", {"job_id": job_id, **fields})


async def completed(world: World, **fields: object) -> tuple[str, Training]:
    job_id, training = await running(world, **fields)
    training.finish(steps=(5,))
    await world.clock.advance(1)
    assert (await world.job(job_id)).status is S.COMPLETED
    return job_id, training
