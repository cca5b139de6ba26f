"""What the handlers share: who sent a command, and how a command is refused."""

from dataclasses import dataclass

from pydantic import BaseModel

from daemon.loops.context import Context
from schemas.enums import ReplyErrorCode
from schemas.jobs import TrainingJob
from schemas.replies import Fault, Reply, ReplyError, first_of
from schemas.tracing import TraceContext


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a command, and its idempotency key."""

    owner: str | None
    """The AMQP user, as RabbitMQ checked it."""
    message_id: str | None
    trace: TraceContext | None = None
    """The span in which it is carried out."""


class RefusedError(Exception):
    """A command that is understood and not carried out."""

    def __init__(self, code: ReplyErrorCode, message: str, details: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class RepliedError(Exception):
    """This `message_id` was carried out before; here is its reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__("already carried out")
        self.reply = reply


class ElsewhereError(Exception):
    """A query that another node alone can answer."""

    def __init__(self, node_id: str) -> None:
        super().__init__(f"only node {node_id} can answer this")
        self.node_id = node_id


def not_found(job_id: str) -> RefusedError:
    """The refusal for a job that is not there."""
    return RefusedError(ReplyErrorCode.NOT_FOUND, f"there is no job {job_id}")


def conflict(job: TrainingJob, doing: str, hint: str = "") -> RefusedError:
    """The refusal for a job whose status forbids it."""
    text = f"job {job.id} is {job.status}, so it can't be {doing}" + (f"; {hint}" if hint else "")
    return RefusedError(ReplyErrorCode.CONFLICT, text)


def refusal_of(code: ReplyErrorCode, faults: tuple[Fault, ...]) -> RefusedError:
    """The refusal for faults of the request's fields; its message names the first."""
    return RefusedError(code, first_of(faults), faults)


def exporting(job: TrainingJob, doing: str) -> RefusedError:
    """The refusal for a job whose export is under way."""
    text = f"job {job.id} is {job.status} and its export is {job.export_status}, so it can't be {doing}"
    return RefusedError(ReplyErrorCode.CONFLICT, f"{text}; wait for the export's end")


def unless_replied(job: TrainingJob, sender: Sender) -> None:
    """Raise `RepliedError` where the document remembers this `message_id`: the change is in it already."""
    for entry in job.internal.replies:
        if entry.message_id == sender.message_id:
            raise RepliedError(Reply.model_validate(entry.reply))


def accepted(command: str, result: BaseModel) -> dict[str, object]:
    """The reply to remember in the document that a command changed."""
    return Reply(ok=True, command=command, result=result.model_dump()).model_dump(mode="json", exclude={"error"})


def rejected(command: str, refused: RefusedError) -> dict[str, object]:
    """The refusal to remember in the document on which it was decided."""
    error = ReplyError(code=refused.code, message=refused.message, details=refused.details)
    return Reply(ok=False, command=command, error=error).model_dump(mode="json", exclude={"result"})


async def check_queue_quota(ctx: Context, owner: str | None) -> None:
    """Refuse to queue one more training of an owner who has as many there as the quota allows.

    Counted before the write, so commands that come at one moment may pass it together; none waits for another.
    """
    most = ctx.settings.shares.most_queued(owner)
    if most is None:
        return
    there = await ctx.store.count_queued(owner)
    if there >= most:
        who = f"owner {owner}" if owner else "who has no owner"
        text = f"{who} has {there} jobs in the queue and may have {most}; start it when one of them has left the queue"
        raise RefusedError(ReplyErrorCode.FORBIDDEN, text)


async def get_job(ctx: Context, job_id: str) -> TrainingJob:
    """The job, or a refusal."""
    job = await ctx.store.get_job(job_id)
    if job is None:
        raise not_found(job_id)
    return job
