"""The commands that ask about jobs and change nothing: get, status, list, logs, events, metrics, defaults."""

from pathlib import Path

from daemon.core.lifecycle import ENDED
from daemon.core.masking import mask
from daemon.core.moves import NOT_LOOKED_AT
from daemon.loops import fleet
from daemon.loops.board import use_of
from daemon.loops.context import Context
from daemon.loops.fleet import state_of
from daemon.loops.handling.common import ElsewhereError, Sender, get_job
from daemon.ports import JobQuery
from daemon.swift.lines import DEFAULT_MAX_LINE_BYTES as MOST_LINE
from daemon.swift.lines import Line, LineSplitter
from schemas.commands import EventsRequest, JobRef, ListRequest, LogsRequest, MetricsRequest, ParamsRequest
from schemas.enums import NodeState, TrainingStatus, TrainingType
from schemas.events import GpuUse
from schemas.jobs import TrainingJob
from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.replies import GpuMemory, JobEvents, JobList, JobLogs, JobMetrics, JobStatus

CHUNK_BYTES = 64 * 1024
TAIL_BYTES = 4 * 1024 * 1024
"""A tail never reads more of the file's end than this, however long its lines are."""

_DEFAULTS_OF = {TrainingType.LLM: LLMTrainingJobCreateRequest, TrainingType.VLM: VLMTrainingJobCreateRequest}


def document(job: TrainingJob) -> dict[str, object]:
    """A job's document as replies show it."""
    return job.model_dump(mode="json", exclude={"internal"})


async def get(ctx: Context, request: JobRef, _sender: Sender) -> dict[str, object]:
    """The job document."""
    return document(await _explained(ctx, await get_job(ctx, request.job_id)))


async def _explained(ctx: Context, job: TrainingJob) -> TrainingJob:
    """A job that the scheduler has not looked at, because so many are before it: its reason says that."""
    if job.status is not TrainingStatus.QUEUED or job.wait_reason != NOT_LOOKED_AT:
        return job
    before = await ctx.store.count_waiting(job)
    if before < fleet.MOST_WAITING:
        return job
    text = f"behind the first {fleet.MOST_WAITING:,} of the queue, which are looked at first: {before:,} are before it"
    return job.model_copy(update={"wait_reason": text})


async def status(ctx: Context, request: JobRef, _sender: Sender) -> JobStatus:
    """Where a job stands, without its request."""
    job = await _explained(ctx, await get_job(ctx, request.job_id))
    shown = {name: getattr(job, name) for name in JobStatus.model_fields if hasattr(job, name)}
    memory = {
        str(use.index): GpuMemory(
            memory_used=use.memory_used_mib, memory_total=use.memory_total_mib, utilization=use.utilization
        )
        for use in await _use_by(ctx, job)
    }
    return JobStatus.model_validate(
        {**shown, "job_id": job.id, "learning_rate": job.current_learning_rate, "gpu_memory_usage": memory}
    )


async def _use_by(ctx: Context, job: TrainingJob) -> tuple[GpuUse, ...]:
    """The use of a running job's devices; of another node's as its last heartbeat told it, while it is online."""
    if job.status is not TrainingStatus.RUNNING or job.node_id is None:
        return ()
    if job.node_id == ctx.node_id:
        return ctx.board.use_of(job.devices)
    node = await ctx.store.get_node(job.node_id)
    if node is None or state_of(ctx, node) is NodeState.OFFLINE:
        return ()
    return use_of(node.devices, job.devices)


async def list_jobs(ctx: Context, request: ListRequest, _sender: Sender) -> JobList:
    """A page of jobs, newest first."""
    match request.status:
        case None:
            statuses: tuple[TrainingStatus, ...] = ()
        case list():
            statuses = tuple(request.status)
        case _:
            statuses = (request.status,)
    label = None
    if request.label is not None:
        name, equals, value = request.label.partition("=")
        label = (name, value if equals else None)
    page = await ctx.store.list_jobs(
        JobQuery(
            training_type=request.training_type,
            statuses=statuses,
            owner=request.owner,
            label=label,
            page=request.page,
            size=request.size,
        )
    )
    return JobList(
        jobs=tuple(document(job) for job in page.jobs),
        total=page.total,
        page=request.page,
        size=request.size,
        total_llm=page.total_llm,
        total_vlm=page.total_vlm,
    )


async def logs(ctx: Context, request: LogsRequest, _sender: Sender) -> JobLogs:
    """Lines of the log file: the last ones, or a range."""
    job = await get_job(ctx, request.job_id)
    if job.log_file_path is None:
        return JobLogs(job_id=job.id, lines=(), offset=0, next_offset=0, eof=True)
    if job.node_id not in (None, ctx.node_id):
        raise ElsewhereError(job.node_id)
    path = Path(job.log_file_path)
    size = await ctx.files.size(path)
    final = job.status in ENDED
    if request.offset is None:
        return await _tail(ctx, job.id, path, size, request.tail, final=final)
    return await _range(ctx, job.id, path, size, request, request.offset, final=final)


async def _tail(ctx: Context, job_id: str, path: Path, size: int, count: int, *, final: bool) -> JobLogs:
    """The last `count` lines: reads back from the end, in growing steps, until there are enough."""
    want = CHUNK_BYTES
    while True:
        begin = max(0, size - want)
        data = await _read_all(ctx, path, begin, size - begin)
        data = data if final else data[: _whole(data)]
        lines = shown(_lines(data, begin, whole_first=begin == 0))
        if len(lines) >= count or begin == 0 or want >= TAIL_BYTES:
            break
        want *= 4
    last = lines[-count:]
    offset = lines[-count - 1].end if len(lines) > count else begin
    return JobLogs(
        job_id=job_id,
        lines=tuple(mask(line.text) for line in last),
        offset=offset,
        next_offset=begin + len(data),
        eof=True,
    )


async def _range(
    ctx: Context, job_id: str, path: Path, size: int, request: LogsRequest, offset: int, *, final: bool
) -> JobLogs:
    """The whole lines between `offset` and `offset + limit`, the first `max_lines`; a longer line comes alone.

    A line is shown from its beginning or not at all, because half a token is not known as one. One that a running job
    has not ended yet is left for the next time.
    """
    begin = await _line_start(ctx, path, offset)
    data = await _read_all(ctx, path, begin, offset + request.limit - begin)
    if offset - begin >= MOST_LINE:  # its head was shown when it was asked for; nothing of it is shown again
        begin, data = offset, data[offset - begin :]
        skipped = _first_whole(data)
        if not skipped:
            behind = offset + len(data)
            return JobLogs(job_id=job_id, lines=(), offset=offset, next_offset=behind, eof=behind >= size)
        begin, data = begin + skipped, data[skipped:]
    at_end = begin + len(data) >= size
    cut = len(data) if at_end and final else _whole(data)
    if cut == 0 and not at_end:
        data += await _read_all(ctx, path, begin + len(data), MOST_LINE - len(data))
        at_end = begin + len(data) >= size
        cut = _first_whole(data) or (len(data) if len(data) >= MOST_LINE or (at_end and final) else 0)
        at_end = at_end and cut in (0, len(data))  # what is behind that line was read, and is not shown yet
    lines = shown(_lines(data[:cut], begin, whole_first=True))
    if request.max_lines is not None and len(lines) > request.max_lines:
        lines = lines[: request.max_lines]
        cut, at_end = lines[-1].end - begin, False
    return JobLogs(
        job_id=job_id,
        lines=tuple(mask(line.text) for line in lines),
        offset=begin if cut else max(begin, offset),
        next_offset=max(begin + cut, offset),
        eof=at_end,
    )


async def _line_start(ctx: Context, path: Path, offset: int) -> int:
    """Where the line at `offset` begins, as far back as a line is ever shown."""
    if offset == 0:
        return 0
    floor = max(0, offset - MOST_LINE)
    before = await _read_all(ctx, path, floor, offset - floor)
    return floor + _whole(before) if len(before) == offset - floor else offset


def _first_whole(data: bytes) -> int:
    """Bytes up to the first end of a line; 0: there is none."""
    ends = [end for mark in (b"\n", b"\r") if (end := data.find(mark) + 1)]
    end = min(ends, default=0)
    return end + 1 if data[end - 1 : end + 1] == b"\r\n" else end


def _whole(data: bytes) -> int:
    """Bytes up to the last end of a line."""
    return max(data.rfind(b"\n"), data.rfind(b"\r")) + 1


async def _read_all(ctx: Context, path: Path, offset: int, limit: int) -> bytes:
    parts: list[bytes] = []
    while limit > 0:
        part = await ctx.files.read(path, offset, min(limit, 1024 * 1024))
        if not part:
            break
        parts.append(part)
        offset += len(part)
        limit -= len(part)
    return b"".join(parts)


def _lines(data: bytes, offset: int, *, whole_first: bool) -> list[Line]:
    splitter = LineSplitter(offset)
    lines = [*splitter.feed(data), *splitter.flush()]
    return lines if whole_first else lines[1:]


def shown(lines: list[Line]) -> list[Line]:
    """The lines that a terminal would show: a redrawn progress bar counts once, empty lines do not."""
    kept: list[Line] = []
    bar = False
    for line in lines:
        if not line.text.strip():
            continue
        if bar:
            kept.pop()
        kept.append(line)
        bar = line.carriage
    return kept


async def events(ctx: Context, request: EventsRequest, _sender: Sender) -> JobEvents:
    """The durable events behind a sequence number."""
    await get_job(ctx, request.job_id)
    found = await ctx.store.events(request.job_id, request.after, request.limit)
    return JobEvents(job_id=request.job_id, events=tuple(found))


async def metrics(ctx: Context, request: MetricsRequest, _sender: Sender) -> JobMetrics:
    """The training curve."""
    await get_job(ctx, request.job_id)
    after = -1 if request.after_step is None else request.after_step
    found = await ctx.store.points(request.job_id, after, request.max_points)
    return JobMetrics(job_id=request.job_id, points=tuple(found))


async def defaults(_ctx: Context, request: ParamsRequest, _sender: Sender) -> dict[str, object]:
    """The defaults of a create request: every field that has one."""
    model = _DEFAULTS_OF[request.training_type]
    fields = {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }
    return {"training_type": request.training_type, **fields}
