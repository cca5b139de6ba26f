"""What the scheduler asks MongoDB: who waits, and for whom. Each query is answered from an index.

A queue that is longer than what is asked for is read owner by owner, so that nobody's thousand jobs hide another's one.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from pymongo import ASCENDING

from daemon.adapters.documents import NOT_STARTED, WORK_FIELDS, Document, read_work, waiting_before
from daemon.adapters.mongo_indexes import COMES_AFTER, EXPORTS_ORDER, TRAININGS_ORDER
from daemon.core.turns import first_of_each, front, share_of
from daemon.core.work import Waiting
from schemas.enums import ExportStatus, TrainingStatus
from schemas.jobs import TrainingJob

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection

    Jobs = AsyncIOMotorCollection[Document]

TRAININGS: Document = {"status": TrainingStatus.QUEUED.value}
EXPORTS: Document = {"export_status": ExportStatus.QUEUED.value}


async def waiting(jobs: "Jobs", limit: int) -> Waiting:
    """`ports.Store.waiting`."""
    if limit < 1:  # which MongoDB would read as no limit
        return Waiting()
    found = read_work((await _first(jobs, {}, limit + 1)).values())
    if len(found) <= limit:
        return front(found, limit)
    owners = cast("set[str | None]", {*await jobs.distinct("owner", TRAININGS), *await jobs.distinct("owner", EXPORTS)})
    each = share_of(limit, len(owners))
    chosen = sorted(owners, key=lambda owner: owner or "")[:limit]
    parts = await asyncio.gather(*(_first(jobs, {"owner": owner}, each + 1) for owner in chosen))
    documents = {key: document for part in parts for key, document in part.items()}
    return first_of_each(read_work(documents.values()), each)  # one more was read, to know whether there is more


async def _first(jobs: "Jobs", of: Mapping[str, object], limit: int) -> dict[object, Document]:
    """The documents of the first trainings and of the first exports that wait."""
    trainings = jobs.find({**TRAININGS, **of}, WORK_FIELDS).sort(TRAININGS_ORDER)
    exports = jobs.find({**EXPORTS, **of}, WORK_FIELDS).sort(EXPORTS_ORDER)
    found = await asyncio.gather(trainings.limit(limit).to_list(None), exports.limit(limit).to_list(None))
    return {document["_id"]: document for part in found for document in part}


async def count_waiting(jobs: "Jobs", before: TrainingJob | None) -> int:
    """`ports.Store.count_waiting`."""
    trainings, exports = ({}, {}) if before is None else waiting_before(before)
    counts = await asyncio.gather(
        jobs.count_documents({**TRAININGS, **trainings}), jobs.count_documents({**EXPORTS, **exports})
    )
    return sum(counts)


async def statuses(jobs: "Jobs", job_ids: Iterable[str]) -> dict[str, TrainingStatus]:
    """`ports.Store.statuses`."""
    found = await jobs.find({"_id": {"$in": sorted(job_ids)}}, {"status": 1}).to_list(None)
    return {str(document["_id"]): TrainingStatus(document["status"]) for document in found}


async def dependents(jobs: "Jobs", job_id: str, limit: int) -> list[str]:
    """`ports.Store.dependents`."""
    if limit < 1:
        return []
    alive = {"$in": sorted(NOT_STARTED)}
    cursor = jobs.find({**COMES_AFTER, "after": job_id, "status": alive}, {"_id": 1}).sort("_id", ASCENDING)
    return [str(document["_id"]) for document in await cursor.limit(limit).to_list(None)]
