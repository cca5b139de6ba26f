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
