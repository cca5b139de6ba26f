"""The paths of jobs: orders and questions, one command of the bus each."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from daemon.client import Json
from daemon.gateway import words
from daemon.gateway.access import Bus, JobId, JobOwner, Reader, Submitter, Who
from daemon.gateway.answers import Accepted, AllJobsPage, Events, Job, JobPage, Logs, Standing
from daemon.gateway.bodies import Body, described
from daemon.gateway.link import Link
from daemon.gateway.openapi import BODY, BUS, NAMED, ORDER, PARAMETERS, answers
from daemon.gateway.problems import ProblemError
from schemas.commands import COMMANDS
from schemas.enums import TrainingType
from schemas.examples import REQUESTS, RESULT_EXAMPLES, VLM_DOCUMENT
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.replies import JobMetrics

router = APIRouter(tags=["jobs"])

MAX_KEY = 160
"""With the token's name before it, it has to fit into the 255 bytes of a message's id."""


class Filter(BaseModel):
    """Which jobs of a list, and which page of them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """1 is the first."""
    size: Annotated[int, Field(ge=1, le=100)] = 10
    """Jobs on a page."""
    status: Annotated[list[str], Field(max_length=64, examples=[["pending", "running"]])] = []
    """Old names (`pending`, `running`, `completed`, `failed`, `cancelled`: a queued or starting job is `pending`, a
    stopping one `running`), or the contract's. Several: any of them."""
    owner: Annotated[str | None, Field(max_length=255, examples=["alice"])] = None
    """Only jobs of this owner."""
    label: Annotated[str | None, Field(max_length=512, examples=["team=support"])] = None
    """`name` (any value) or `name=value`."""


Wanted = Annotated[Filter, Query()]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key again has no second effect, and gets the first answer again.",
        examples=["support-lora-2026-11-24"],
    ),
]
_LLM, _VLM = (
    described(TypeAdapter(model), without="training_type", examples=(dict(example),), required=True)
    for model, example in zip(
        (LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest), REQUESTS["job.create"], strict=True
    )
)
_STOP, _EXPORT = (
    described(COMMANDS[name], without="job_id", examples=tuple(map(dict, REQUESTS[name])))
    for name in ("job.stop", "job.export")
)
_CREATED = words.accepted(RESULT_EXAMPLES["job.create"], "pending")
_ONE_KIND = words.page_of_a_kind(RESULT_EXAMPLES["job.list"])
_VLM_JOBS = {**_ONE_KIND, "jobs": [words.document(VLM_DOCUMENT)]}


@router.post(
    "/jobs",
    response_model=Accepted,
    openapi_extra=_VLM,
    responses=answers(_CREATED, BUS, BODY, ORDER),
    summary="Create a vision-language job",
)
async def create_vlm(who: Submitter, body: Body, link: Bus, key: Key = None) -> JSONResponse:
    """Stored as `pending`; with `"start": true` it is queued at once."""
    return await _create(TrainingType.VLM, body, who, link, key)


@router.post(
    "/llm/jobs",
    response_model=Accepted,
    openapi_extra=_LLM,
    responses=answers(_CREATED, BUS, BODY, ORDER),
    summary="Create a language job",
)
async def create_llm(who: Submitter, body: Body, link: Bus, key: Key = None) -> JSONResponse:
    """Stored as `pending`; with `"start": true` it is queued at once."""
    return await _create(TrainingType.LLM, body, who, link, key)


async def _create(kind: TrainingType, body: Json, who: Who, link: Link, key: str | None) -> JSONResponse:
    if body.setdefault("training_type", kind.value) != kind:
        raise ProblemError(400, "invalid_request", f"training_type: this path takes {kind} jobs")
    # two people may choose the same key: theirs are not one another's
    message_id = None if key is None else f"http:{who.name}:{key}"
    found = await link.send("job.create", body, owner=who.owner, message_id=message_id)
    return JSONResponse(words.accepted(found, "pending"))


@router.get(
    "/jobs",
    response_model=JobPage,
    responses=answers(_VLM_JOBS, BUS, PARAMETERS),
    summary="Vision-language jobs",
)
async def list_vlm(_who: Reader, link: Bus, wanted: Wanted) -> JSONResponse:
    """Newest first."""
    return JSONResponse(await _list(link, TrainingType.VLM, wanted))


@router.get(
    "/llm/jobs",
    response_model=JobPage,
    responses=answers(_ONE_KIND, BUS, PARAMETERS),
    summary="Language jobs",
)
async def list_llm(_who: Reader, link: Bus, wanted: Wanted) -> JSONResponse:
    """Newest first."""
    return JSONResponse(await _list(link, TrainingType.LLM, wanted))


@router.get(
    "/all/jobs",
    response_model=AllJobsPage,
    responses=answers(words.page(RESULT_EXAMPLES["job.list"]), BUS, PARAMETERS),
    summary="All jobs",
)
async def list_all(_who: Reader, link: Bus, wanted: Wanted) -> JSONResponse:
    """Newest first, with the totals of both kinds."""
    return JSONResponse(await _list(link, None, wanted))


async def _list(link: Link, kind: TrainingType | None, wanted: Filter) -> Json:
    body: Json = wanted.model_dump(exclude_none=True) | {"status": words.statuses(wanted.status)}
    if kind is not None:
        body["training_type"] = kind
    found = await link.send("job.list", body)
    return words.page(found) if kind is None else words.page_of_a_kind(found)


@router.get(
    "/jobs/{job_id}",
    response_model=Job,
    responses=answers(words.document(RESULT_EXAMPLES["job.get"]), BUS, NAMED),
    summary="A job's document",
)
async def get_job(job_id: JobId, _who: Reader, link: Bus) -> JSONResponse:
    """The request's fields and where it stands."""
    return JSONResponse(words.document(await link.send("job.get", {"job_id": job_id})))


@router.delete(
    "/jobs/{job_id}",
    response_model=Accepted,
    responses=answers(words.deleted(RESULT_EXAMPLES["job.delete"]), BUS, NAMED, ORDER),
    summary="Delete a job",
)
async def delete_job(
    job_id: JobId,
    _who: JobOwner,
    link: Bus,
    purge_output: Annotated[bool, Query(description="Remove its run folder too.")] = False,
) -> JSONResponse:
    """Refused with 409 while it is queued or running."""
    found = await link.send("job.delete", {"job_id": job_id, "purge_output": purge_output})
    return JSONResponse(words.deleted(found))


@router.post(
    "/jobs/{job_id}/start",
    response_model=Accepted,
    responses=answers(words.accepted(RESULT_EXAMPLES["job.start"], "running"), BUS, NAMED, ORDER),
    summary="Queue a job",
)
async def start_job(job_id: JobId, who: JobOwner, link: Bus) -> JSONResponse:
    """It starts when devices are free."""
    found = await link.send("job.start", {"job_id": job_id}, owner=who.owner)
    return JSONResponse(words.accepted(found, "running"))


@router.post(
    "/jobs/{job_id}/stop",
    response_model=Accepted,
    openapi_extra=_STOP,
    responses=answers(words.accepted(RESULT_EXAMPLES["job.stop"], "cancelled"), BUS, NAMED, BODY, ORDER),
    summary="Stop a job",
)
async def stop_job(job_id: JobId, who: JobOwner, body: Body, link: Bus) -> JSONResponse:
    """A waiting job is cancelled at once; a running one when no process of it is left."""
    found = await link.send("job.stop", {**body, "job_id": job_id}, owner=who.owner)
    return JSONResponse(words.accepted(found, "cancelled"))


@router.post(
    "/jobs/{job_id}/resume",
    response_model=Accepted,
    responses=answers(words.accepted(RESULT_EXAMPLES["job.resume"], "running"), BUS, NAMED, ORDER),
    summary="Resume a failed or cancelled job",
)
async def resume_job(job_id: JobId, who: JobOwner, link: Bus) -> JSONResponse:
    """From its last checkpoint, where it has one."""
    found = await link.send("job.resume", {"job_id": job_id}, owner=who.owner)
    return JSONResponse(words.accepted(found, "running"))


@router.post(
    "/jobs/{job_id}/export",
    response_model=Accepted,
    openapi_extra=_EXPORT,
    responses=answers(words.accepted(RESULT_EXAMPLES["job.export"], "exporting"), BUS, NAMED, BODY, ORDER),
    summary="Export a model",
)
async def export_job(job_id: JobId, who: JobOwner, body: Body, link: Bus) -> JSONResponse:
    """Merges, or quantizes, a checkpoint on devices of its own."""
    found = await link.send("job.export", {**body, "job_id": job_id}, owner=who.owner)
    return JSONResponse(words.accepted(found, "exporting"))


@router.get(
    "/jobs/{job_id}/status",
    response_model=Standing,
    responses=answers(words.document(RESULT_EXAMPLES["job.status"]), BUS, NAMED),
    summary="Where a job stands",
)
async def job_status(job_id: JobId, _who: Reader, link: Bus) -> JSONResponse:
    """Status, progress, figures of the newest step, times and export."""
    return JSONResponse(words.document(await link.send("job.status", {"job_id": job_id})))


@router.get(
    "/jobs/{job_id}/logs",
    response_model=Logs,
    responses=answers(words.log(RESULT_EXAMPLES["job.logs"]), BUS, NAMED),
    summary="A job's log",
)
async def job_logs(
    job_id: JobId,
    _who: Reader,
    link: Bus,
    limit: Annotated[int, Query(ge=1, le=1000, description="Lines at most.")] = 100,
    offset: Annotated[
        int | None, Query(ge=0, le=2**62, description="Byte offset to read on from: 0, then each `next_offset`.")
    ] = None,
) -> JSONResponse:
    """The last lines; with `offset` the next ones from there on."""
    bounds = {"tail": limit} if offset is None else {"offset": offset, "max_lines": limit}
    return JSONResponse(words.log(await link.send("job.logs", {"job_id": job_id, **bounds})))


@router.get(
    "/jobs/{job_id}/events",
    response_model=Events,
    responses=answers(words.events(RESULT_EXAMPLES["job.events"]), BUS, NAMED),
    summary="A job's durable events",
)
async def job_events(
    job_id: JobId,
    _who: Reader,
    link: Bus,
    limit: Annotated[int, Query(ge=1, le=500, description="Events at most.")] = 50,
    after: Annotated[int, Query(ge=0, le=2**62, description="Only those with a higher sequence number.")] = 0,
) -> JSONResponse:
    """By sequence, without a gap."""
    body: Json = {"job_id": job_id, "limit": limit, "after": after}
    return JSONResponse(words.events(await link.send("job.events", body)))


@router.get(
    "/jobs/{job_id}/metrics",
    response_model=JobMetrics,
    responses=answers(RESULT_EXAMPLES["job.metrics"], BUS, NAMED),
    summary="A job's training curve",
)
async def job_metrics(
    job_id: JobId,
    _who: Reader,
    link: Bus,
    after_step: Annotated[int | None, Query(ge=-1, le=2**62, description="Only later steps.")] = None,
    max_points: Annotated[int, Query(ge=2, le=10_000, description="Thinned to so many points.")] = 1000,
) -> JSONResponse:
    """Points by step."""
    body: dict[str, Any] = {"job_id": job_id, "max_points": max_points}
    if after_step is not None:
        body["after_step"] = after_step
    return JSONResponse(await link.send("job.metrics", body))
