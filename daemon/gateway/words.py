"""The words of the older REST API for what the contract says: five statuses, and its names of a device's figures.

Every answer that has an old `status` also has `state`, the contract's own status.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from daemon.client import Json
from schemas.enums import DeviceState, TrainingStatus

OLD: Mapping[TrainingStatus, str] = MappingProxyType(
    {
        TrainingStatus.PENDING: "pending",
        TrainingStatus.QUEUED: "pending",
        TrainingStatus.STARTING: "pending",
        TrainingStatus.RUNNING: "running",
        TrainingStatus.STOPPING: "running",
        TrainingStatus.COMPLETED: "completed",
        TrainingStatus.FAILED: "failed",
        TrainingStatus.CANCELLED: "cancelled",
    }
)
_WIDENED = frozenset({"pending", "running"})
"""Old names that stand for several statuses; each is the name of one of them too."""


def statuses(asked: Iterable[str]) -> list[str]:
    """The contract's statuses that are asked for by old names or by its own."""
    found: dict[str, None] = {}
    for name in asked:
        wide = [status.value for status, old in OLD.items() if old == name] if name in _WIDENED else [name]
        found.update(dict.fromkeys(wide))
    return list(found)


def document(job: Json) -> Json:
    """A job, or where it stands, with the old status, and the contract's as `state`."""
    status = TrainingStatus(job["status"])
    return {**job, "status": OLD[status], "state": status.value}


def accepted(found: Json, status: str) -> Json:
    """The answer to an order, with the old status of it."""
    return {**found, "status": status, "state": found["status"]}


def deleted(found: Json) -> Json:
    """The answer to a deletion."""
    return {**found, "status": "deleted"}


def page(found: Json) -> Json:
    """A page of jobs of both kinds."""
    return {**found, "jobs": [document(job) for job in found["jobs"]]}


def page_of_a_kind(found: Json) -> Json:
    """A page of jobs of one kind."""
    return {name: value for name, value in page(found).items() if name not in {"total_llm", "total_vlm"}}


def log(found: Json) -> Json:
    """Lines of a log, by both their names."""
    return {**found, "logs": found["lines"], "total": len(found["lines"])}


def events(found: Json) -> Json:
    """Durable events, counted."""
    return {**found, "total": len(found["events"])}


def gpus(found: Json) -> Json:
    """Devices."""
    return {**found, "gpus": [device(each) for each in found["gpus"]]}


def device(found: Json) -> Json:
    """A device, with the old names beside its own. Memory is in MiB."""
    return {
        **found,
        "id": found["index"],
        "memory_total": found["memory_total_mib"],
        "memory_used": found["memory_used_mib"],
        "memory_free": found["memory_free_mib"],
        "status": found["state"],
        "available": found["state"] == DeviceState.FREE,
    }
