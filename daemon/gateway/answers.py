"""What the paths answer, where that is not a command's result as it is."""

from pydantic import BaseModel, ConfigDict

from schemas.enums import TrainingStatus, TrainingType
from schemas.events import CloudEvent, Device
from schemas.replies import JobStatus


class Accepted(BaseModel):
    """An order is taken."""

    job_id: str
    """The job's id."""
    status: str
    """In the words of the older API: `pending`, `running`, `cancelled`, `exporting` or `deleted`."""
    message: str
    """What happens now, in words for a person."""
    state: str | None = None
    """The status as the contract has it."""
    queue_position: int | None = None
    """Where a queued job stands; 1 is next."""


class Job(BaseModel):
    """A job's document, all of its fields (see the contract)."""

    model_config = ConfigDict(extra="allow")

    id: str
    """The job's id."""
    training_type: TrainingType
    """The kind of training."""
    status: TrainingStatus
    """In the five words of the older API: a queued or starting job is `pending`, a stopping one `running`."""
    state: TrainingStatus
    """The status as the contract has it."""
    progress: float
    """Percent, 0 to 100."""


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    jobs: tuple[Job, ...]
    total: int
    """Jobs that the filter lets through, on all pages."""
    page: int
    size: int


class AllJobsPage(JobPage):
    """The same over both kinds."""

    total_llm: int
    total_vlm: int


class Standing(JobStatus):
    """Where a job stands."""

    state: TrainingStatus
    """The status as the contract has it; `status` is in the five words of the older API."""


class Logs(BaseModel):
    """Lines of a job's log."""

    job_id: str
    lines: tuple[str, ...]
    """Whole lines, secrets masked."""
    logs: tuple[str, ...]
    """The same, by its older name."""
    total: int
    """How many."""
    offset: int
    """Byte offset of the first line."""
    next_offset: int
    """Where to read on."""
    eof: bool
    """No more bytes in the file now."""


class Events(BaseModel):
    """A job's durable events, by sequence."""

    job_id: str
    events: tuple[CloudEvent, ...]
    total: int
    """How many are here."""


class Gpu(Device):
    """A device, with the older API's names beside its own; memory in MiB."""

    id: int
    memory_total: float | None = None
    memory_used: float | None = None
    memory_free: float | None = None
    status: str
    available: bool


class Gpus(BaseModel):
    """The devices of every node."""

    gpus: tuple[Gpu, ...]
    total: int


class Me(BaseModel):
    """Who asks."""

    name: str
    """The token's name; `local` where there are no tokens."""
    role: str
    """`read`, `submit` or `operate`."""
    owner: str | None = None
    """The owner of the jobs that are created with it."""


class Health(BaseModel):
    """The gateway is there."""

    status: str
    """`ok`, or `degraded` while the broker is away."""
    broker: str
    """`ok`, or what is wrong."""
    version: str
    """Of Swift Trainer."""
