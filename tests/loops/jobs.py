"""Jobs at the stages at which tests begin, and what tests do to them."""

from schemas.enums import ReplyErrorCode, TrainingStatus
from schemas.jobs import TrainingJob
from schemas.replies import Fault, Reply
from tests.loops.rig import CREATE, Training, World

POLL_S = 2.0
S = TrainingStatus
PENDING = {**CREATE, "start": False}
VLM: dict[str, object] = {
    "training_type": "vlm",
    "model_path": "Qwen/Qwen2.5-VL-7B-Instruct",
    "data_path": "modelscope/coco_2014_caption#20",
    "datasets": None,
}


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


async def code_of(world: World, command: str, body: dict[str, object]) -> ReplyErrorCode:
    """The code of the refusal of a command that must be refused."""
    return (await refused(world, command, body)).code


async def refused(world: World, command: str, body: dict[str, object]) -> "Refusal":
    """The refusal of a command that must be refused."""
    reply: Reply = await world.reply(command, body)
    assert reply.error is not None, f"{command} was carried out"
    return Refusal(reply.error.code, reply.error.message, reply.error.details)


class Refusal:
    """What a refusal says, and of what."""

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
