"""`job.create`: check what only this side can check, choose the run folder, store the document."""

import re
import uuid
import zlib
from pathlib import Path

from daemon.core.lifecycle import Cause
from daemon.core.masking import mask
from daemon.core.moves import created, queued, versioned, with_internal, with_reply
from daemon.logs import get_log
from daemon.loops.context import Context
from daemon.loops.handling.common import (
    RefusedError,
    Sender,
    accepted,
    check_queue_quota,
    refusal_of,
    unless_replied,
)
from daemon.loops.handling.paths import check_paths, local_path
from daemon.metrics import JOBS_CREATED
from daemon.ports import FolderTakenError, ToolchainError
from daemon.swift.options import check_extra_args, needs_leave
from schemas.enums import ReplyErrorCode
from schemas.jobs import TRAINING_JOB, TrainingJob
from schemas.kinds import ExtraValue, LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.replies import MAX_FAULTS, Fault, JobAccepted, echo

log = get_log("creating")

_NAMESPACE = uuid.UUID("5f3f1c7e-6f0e-4a53-9a3c-0c5b1f3f2d10")
_VERSION = re.compile(r"^v(\d+)-")
FOLDER_TRIES = 10

CreateRequest = LLMTrainingJobCreateRequest | VLMTrainingJobCreateRequest


async def create(ctx: Context, request: CreateRequest, sender: Sender) -> JobAccepted:
    """Store a new job, queued at once where it asks for that."""
    if not ctx.settings.allow_external_plugins:
        _check_code(request)
    job_id = job_id_of(sender.message_id)
    if sender.message_id is not None and await ctx.store.get_job(job_id) is not None:  # what it needed may be gone
        return await _existing(ctx, request, job_id, sender)
    _check_labels(request)
    await _check_after(ctx, request)
    if request.start:
        await check_queue_quota(ctx, sender.owner)
    await check_paths(ctx, request)
    await _check_options(ctx, request)
    for attempt in range(FOLDER_TRIES):
        run_dir = await _run_dir(ctx, request, _skipped(job_id, attempt))
        job = _document(ctx, request, sender, job_id, run_dir)
        try:
            if not await ctx.store.insert_job(job):
                return await _existing(ctx, request, job_id, sender)
        except FolderTakenError:
            if not versioned(request.extra_args):
                break
            continue
        ctx.signals.job_changed(job_id)
        ctx.meters.add(JOBS_CREATED, training_type=job.training_type)
        if request.start:
            ctx.signals.scheduling.give()
        return _result(job)
    message = f"{request.output_dir} is the run folder of another job that is not finished; choose another output_dir"
    fault = Fault(loc=("output_dir",), message=message, input=echo(request.output_dir))
    raise RefusedError(ReplyErrorCode.CONFLICT, message, (fault,))


async def withdraw_if_deleted(ctx: Context, job_id: str) -> None:
    """Take back a creation that came after the job's deletion: two daemons had the same message, and one was slow.

    To be called where the message turns out to have been answered before. A job that was changed since it was about to
    be deleted is none that came back: its deletion was not carried out.
    """
    deletion = await ctx.store.deletion(job_id)
    job = None if deletion is None else await ctx.store.get_job(job_id)
    if job is None or deletion is None or job.internal.revision > deletion.revision:
        return
    if await ctx.store.delete_job(job):
        log.warning("creation_withdrawn", "its job was created and deleted before", job_id=job_id)


def _check_code(request: CreateRequest) -> None:
    """Refuse code that comes with the request, in a field or among the options."""
    plugins = getattr(request, "external_plugins", None)
    field: dict[str, ExtraValue] = {} if plugins is None else {"external_plugins": plugins}
    faults = tuple(
        Fault(loc=(*place, name), message=said, input=echo(value))
        for place, given in (((), field), (("extra_args",), request.extra_args))
        for name, value in given.items()
        if (said := needs_leave(name, value)) is not None
    )
    if faults:
        raise refusal_of(ReplyErrorCode.FORBIDDEN, faults[:MAX_FAULTS])


def _check_labels(request: CreateRequest) -> None:
    """Refuse secrets in labels: they stand in every event, and masked they would be other labels than were sent."""
    message = (
        "looks like a secret (a token, a password, credentials in a URL), and everybody sees the labels of a job; "
        "what a training needs can be set in the daemon's environment, which it inherits"
    )
    faults = tuple(
        Fault(loc=("labels", mask(name)), message=message, input=mask(value))
        for name, value in request.labels.items()
        if mask(name) != name or mask(value) != value
    )
    if faults:
        raise refusal_of(ReplyErrorCode.INVALID_REQUEST, faults)


async def _check_after(ctx: Context, request: CreateRequest) -> None:
    """Refuse a job that comes after jobs that are not there."""
    known = await ctx.store.statuses(request.after) if request.after else {}
    faults = tuple(
        Fault(loc=("after", place), message=f"there is no job {job_id}", input=job_id)
        for place, job_id in enumerate(request.after)
        if job_id not in known
    )
    if faults:
        raise refusal_of(ReplyErrorCode.INVALID_REQUEST, faults[:MAX_FAULTS])


async def _check_options(ctx: Context, request: CreateRequest) -> None:
    """Refuse options that the installed ms-swift does not have. Where it can't be asked, the start will tell."""
    if not request.extra_args:
        return
    try:
        installed = await ctx.toolchain.installed()
    except ToolchainError:
        return
    faults = tuple(
        Fault(loc=("extra_args", name), message=message, input=echo(request.extra_args[name]))
        for name, message in check_extra_args(
            request,
            installed,
            allow_external_plugins=ctx.settings.allow_external_plugins,
            confined=bool(ctx.settings.root_paths),
        )
    )
    if faults:
        raise refusal_of(ReplyErrorCode.INVALID_REQUEST, faults[:MAX_FAULTS])


def job_id_of(message_id: str | None) -> str:
    """Random; or made of the `message_id`, so that the same message can't make two jobs even after a crash."""
    if message_id is None:
        return str(uuid.uuid4())
    return str(uuid.uuid5(_NAMESPACE, message_id))


def _skipped(job_id: str, attempt: int) -> int:
    """How many version numbers to pass over: at first none, then ever more at random.

    Many jobs that are created within one second in one `output_dir` all see the same folders there; going on one by one
    they would meet again and again.
    """
    return zlib.crc32(f"{job_id} {attempt}".encode()) % 4**attempt


async def _run_dir(ctx: Context, request: CreateRequest, number: int) -> Path:
    """The run folder, named as ms-swift names it: `vN-YYYYmmdd-HHMMSS` below `output_dir`, N one above the highest.

    The daemon chooses it, and not ms-swift at its start, so that it is known before, the same after a resume, and
    never shared by two jobs.
    """
    output_dir = local_path(ctx, request.output_dir)
    if not versioned(request.extra_args):
        return output_dir
    taken = [int(found[1]) for name in await ctx.files.names(output_dir) if (found := _VERSION.match(name))]
    version = max(taken, default=-1) + 1 + number
    return output_dir / f"v{version}-{ctx.clock.now():%Y%m%d-%H%M%S}"


def _document(ctx: Context, request: CreateRequest, sender: Sender, job_id: str, run_dir: Path) -> TrainingJob:
    fields = request.model_dump(exclude={"start"})
    now = ctx.clock.now()
    job = TRAINING_JOB.validate_python(
        {**fields, "id": job_id, "owner": sender.owner, "created_at": now, "run_dir": str(run_dir)}
    )
    job = created(with_internal(job, output_lock=str(run_dir), trace=sender.trace), at=now, by=ctx.node_id)
    if request.start:
        job = queued(job, Cause.START, at=now, by=ctx.node_id, reason="start requested with its creation")
    return with_reply(job, sender.message_id, accepted("job.create", _result(job)))


def _result(job: TrainingJob) -> JobAccepted:
    message = "created and queued" if job.queued_at else "created; start it with job.start"
    return JobAccepted(job_id=job.id, status=job.status, message=message)


async def _existing(ctx: Context, request: CreateRequest, job_id: str, sender: Sender) -> JobAccepted:
    """The job is there already: this message made it before, and its reply is repeated."""
    job = await ctx.store.get_job(job_id)
    if job is not None:
        unless_replied(job, sender)
    return JobAccepted(
        job_id=job_id, status="queued" if request.start else "pending", message="created by this message before"
    )
