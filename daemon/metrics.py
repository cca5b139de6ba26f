"""Every metric that is shown to Prometheus, in one table: name, kind, labels, meaning.

Names follow Prometheus's conventions: prefix, base units, `_total` on counters. The values of a label are words of this
project, with three exceptions that are bounded as well: a job's id stands on the readings of its devices alone and goes
when it ends, nodes are as many as there are daemons, and routes are templates. There is no label `owner`: who may
speak for others can bring any number of names, and each would multiply the series; `job.list` answers that question.

A rate over a series that was not there before misses its first count. So the series that an alert may ask for stand
at 0 from the start (`begins`), where their labels are few.

`docs/reference/metrics.md` is made from this table, and `daemon.prometheus` is what counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from schemas.commands import COMMANDS as COMMAND_NAMES
from schemas.enums import ErrorCode, ExportStatus, ReplyErrorCode, TrainingStatus, TrainingType

PREFIX = "swift_trainer_"

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bounds for what should take milliseconds, seconds."""
PATIENT = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 24 * 3600)
"""Bounds for what may take days, seconds."""
STOPPING = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 900)
"""Bounds around grace times, seconds."""


class Kind(StrEnum):
    """What a metric does over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: a family of series, one for each set of label values."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram."""
    read: bool = False
    """Its value is read when somebody asks, and not kept."""
    begins: tuple[tuple[str, ...], ...] = ()
    """Values of its labels, in their order, whose series stand at 0 from the start."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value that was read for an answer."""

    metric: Metric
    value: float
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def _counter(name: str, text: str, *labels: str, begins: Iterable[tuple[str, ...]] = ()) -> Metric:
    return Metric(PREFIX + name, Kind.COUNTER, text, labels, begins=tuple(begins))


def _histogram(
    name: str, text: str, buckets: tuple[float, ...], *labels: str, begins: Iterable[tuple[str, ...]] = ()
) -> Metric:
    return Metric(PREFIX + name, Kind.HISTOGRAM, text, labels, buckets, begins=tuple(begins))


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, Kind.GAUGE, text, labels, read=True)


BUILD_INFO = _gauge(
    "build_info", "Always 1; versions of the daemon, ms-swift and Python.", "version", "ms_swift", "python"
)
BROKER_UP = _gauge("broker_up", "1 while the broker takes and delivers messages.")
STORE_UP = _gauge("store_up", "1 while the store answers.")
NODE_UP = _gauge("node_up", "1 while a node's heartbeat is younger than its lease; every daemon shows all.", "node_id")

JOBS = _gauge("jobs", "Jobs in the store; every daemon shows all.", "training_type", "status")
OUTBOX_DOCUMENTS = _gauge("outbox_documents", "Documents with events that wait for the broker, at most 1000.")
JOBS_CREATED = _counter(
    "jobs_created_total", "Jobs that this daemon stored.", "training_type", begins=product(TrainingType)
)
JOBS_ENDED = _counter(
    "jobs_ended_total",
    "Jobs that this daemon moved to an end; error_code is empty unless they failed.",
    "training_type",
    "status",
    "error_code",
    begins=(
        *product(TrainingType, (TrainingStatus.COMPLETED, TrainingStatus.CANCELLED), ("",)),
        *product(TrainingType, (TrainingStatus.FAILED,), ErrorCode),
    ),
)
REQUEUES = _counter(
    "job_requeues_total",
    "Jobs put back into the queue after an attempt: retry, preemption, node_lost, resume.",
    "cause",
    begins=product(("retry", "preemption", "node_lost", "resume")),
)
QUEUE_WAIT = _histogram(
    "queue_wait_seconds",
    "From queued to claimed by this node.",
    PATIENT,
    "training_type",
    begins=product(TrainingType),
)
STOP = _histogram("stop_seconds", "From a stop order until no process of the job was left.", STOPPING)
EXPORTS_ENDED = _counter(
    "exports_ended_total",
    "Exports that ended on this node.",
    "status",
    begins=product((ExportStatus.COMPLETED, ExportStatus.FAILED)),
)
SPAWN = _histogram("spawn_seconds", "Starting a runner with its training or export.", QUICK, "kind")

COMMANDS = _counter(
    "commands_total",
    "Commands answered or buried; the outcome is ok or the error code.",
    "command",
    "outcome",
    begins=product(COMMAND_NAMES, ("ok", ReplyErrorCode.INTERNAL)),
)
COMMAND = _histogram("command_seconds", "From a command's delivery to its reply.", QUICK, "command")
SCHEDULE = _histogram("schedule_seconds", "From the scheduler's wake-up to its plan applied.", QUICK)
PLAN = _histogram("plan_seconds", "Deciding alone, without store and broker.", QUICK)

EVENT_LAG = _histogram(
    "event_lag_seconds", "From the write of a durable event to its confirmation by the broker.", QUICK
)
EVENTS = _counter("events_published_total", "Durable events confirmed by the broker.", "type")
PROGRESS_EVENTS = _counter("progress_events_total", "Progress events handed to the broker's client.")
LIVE_DROPPED = Metric(
    PREFIX + "live_events_dropped_total", Kind.COUNTER, "Progress, log and device events that were dropped.", read=True
)
LIVE_WAITING = _gauge("live_events_waiting", "Progress, log and device events on their way to the broker.")
LOG_READ = _counter("log_read_bytes_total", "Bytes read of trainings' and exports' log files.")

DEVICE_STATE = _gauge(
    "device_state", "1 for the state that a device of this node is in, 0 for the others.", "device", "state"
)
DEVICE_INFO = _gauge("device_info", "Always 1; what a device of this node is.", "device", "uuid", "name")
DEVICE_USE = _gauge("device_utilization_ratio", "Share of time in which the device worked, 0 to 1.", "device", "job_id")
DEVICE_MEMORY = _gauge("device_memory_used_bytes", "Memory in use on the whole device.", "device", "job_id")
DEVICE_MEMORY_TOTAL = _gauge("device_memory_total_bytes", "Memory of the device.", "device")
DEVICE_TEMPERATURE = _gauge("device_temperature_celsius", "Temperature of the device.", "device", "job_id")
DEVICE_POWER = _gauge("device_power_watts", "Power that the device draws.", "device", "job_id")

HTTP_REQUESTS = _counter(
    "http_requests_total", "HTTP requests answered, by route template.", "method", "route", "status"
)
HTTP_SECONDS = _histogram(
    "http_request_seconds", "From a request to the begin of its answer.", QUICK, "method", "route"
)
HTTP_IN_FLIGHT = _gauge("http_requests_in_flight", "HTTP requests and streams that are not answered to the end.")

DAEMON: tuple[Metric, ...] = (
    BUILD_INFO,
    BROKER_UP,
    STORE_UP,
    NODE_UP,
    JOBS,
    JOBS_CREATED,
    JOBS_ENDED,
    REQUEUES,
    QUEUE_WAIT,
    STOP,
    EXPORTS_ENDED,
    SPAWN,
    COMMANDS,
    COMMAND,
    SCHEDULE,
    PLAN,
    OUTBOX_DOCUMENTS,
    EVENTS,
    EVENT_LAG,
    PROGRESS_EVENTS,
    LIVE_WAITING,
    LIVE_DROPPED,
    LOG_READ,
    DEVICE_STATE,
    DEVICE_INFO,
    DEVICE_USE,
    DEVICE_MEMORY,
    DEVICE_MEMORY_TOTAL,
    DEVICE_TEMPERATURE,
    DEVICE_POWER,
)
"""What `swift-trainerd` shows."""

GATEWAY: tuple[Metric, ...] = (HTTP_REQUESTS, HTTP_SECONDS, HTTP_IN_FLIGHT)
"""What the gateway shows."""
