"""The store on MongoDB, a standalone `mongod` or a replica set. The only file that knows Motor.

Every change of a job is one guarded update of one document, built by `documents.changes`; no transaction is needed.
Collections: `jobs` and `nodes` (with their outboxes), `events` (what was published), `metrics` (the curves, in
buckets), `commands` (replies to repeat) and `deletions` (what was deleted); the last two are dropped by a TTL index.

Guarded writes, progress and curves are answered from the journal (`j`), so that what was acknowledged outlives a
`kill -9` of the server: whoever wrote a point forgets it, and only a new daemon reads the log again. The rest does not
wait for it: heartbeats and wait reasons are written again, an event whose publication was forgotten is published again
with the same id, and the reply to a command that changed a job stands in the job's document as well.
Options in the URL come before the ones chosen here.

A call that raises `UnavailableError` may have been carried out all the same: the answer was lost. Repeating it is
safe: `insert_job` then says False; a guarded write says False as well, and the caller reads the document again and sees
whether its own change (its revision, its event, its reply) is there; the others change nothing twice.

The client belongs to the running event loop, so it is made with the first call and not before.
"""

import asyncio
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ASCENDING, DESCENDING, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from daemon.adapters import mongo_queue
from daemon.adapters.curves import Newest, Thinning, bucket_of, bucket_updates, read_buckets
from daemon.adapters.documents import (
    HEARTBEAT_FIELDS,
    HELD_FIELDS,
    Document,
    changes,
    history_documents,
    job_document,
    job_filter,
    node_document,
    progress_values,
    read_held,
    read_job,
    read_node,
    read_outbox,
)
from daemon.adapters.mongo_indexes import INDEXES, OUTBOX_NOT_EMPTY, OUTBOX_TIME
from daemon.adapters.mongo_outage import address, client_options, is_away, only_duplicates, why_away
from daemon.core.lifecycle import HOLDS_DEVICES
from daemon.core.work import Held, Waiting
from daemon.ports import FolderTakenError, JobPage, JobQuery, Subject, UnavailableError
from schemas.enums import ExportStatus, TrainingStatus, TrainingType
from schemas.events import CloudEvent, OutboxEvent
from schemas.jobs import Deletion, MetricPoint, TrainingJob
from schemas.nodes import NodeRecord

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase

    Collection = AsyncIOMotorCollection[Document]

CHECK_TIMEOUT_S = 4.0
_BUCKETS_PER_BATCH = 4
_REASONS_PER_WRITE = 1000

_HOLDING = {"status": {"$in": sorted(status.value for status in HOLDS_DEVICES)}}
_EXPORTING = {"export_status": ExportStatus.RUNNING.value}


@dataclass(frozen=True, slots=True)
class _Connection:
    client: "AsyncIOMotorClient[Document]"
    jobs: "Collection"
    nodes: "Collection"
    metrics: "Collection"
    deletions: "Collection"
    quick: "AsyncIOMotorDatabase[Document]"
    """The collections for writes that need not wait for the journal."""

    def of(self, subject: Subject) -> "Collection":
        return self.quick["jobs" if subject is Subject.JOB else "nodes"]


class MongoStore:
    """`ports.Store` on the database `database` of the server or replica set at `url`.

    Raises `ValueError` for a URL that asks for unacknowledged writes (`w=0`).
    """

    def __init__(self, url: str, database: str) -> None:
        self._url = url
        self._database = database
        self._address = address(url)
        self._options = client_options(url)
        self._connection: _Connection | None = None

    # ------------------------------------------------------------ the whole

    async def prepare(self) -> None:
        with self._reaching() as db:
            for name, indexes in INDEXES.items():
                await db.quick[name].create_indexes(indexes)

    async def check(self) -> str:
        db = self._connected()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await db.jobs.find_one({}, {"_id": 1})  # unlike a ping, it needs the right to read
        except TimeoutError:
            return f"no answer from the store at {self._address} in {CHECK_TIMEOUT_S:g} s; is it overloaded?"
        except PyMongoError as error:
            return why_away(error, self._address)
        return "ok"

    async def now(self) -> datetime:
        with self._reaching() as db:
            found = await db.quick.command(
                "hello", codec_options=db.quick.codec_options
            )  # by itself it reads times as naive
        return cast("datetime", found["localTime"])

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.client.close()
            self._connection = None

    # ------------------------------------------------------------ jobs

    async def insert_job(self, job: TrainingJob) -> bool:
        with self._reaching() as db:
            try:
                await db.jobs.insert_one(job_document(job))
            except DuplicateKeyError as error:
                if await db.jobs.find_one({"_id": job.id}, {"_id": 1}) is not None:
                    return False
                raise _folder_taken(job) from error
        return True

    async def get_job(self, job_id: str) -> TrainingJob | None:
        with self._reaching() as db:
            document = await db.jobs.find_one({"_id": job_id})
        return None if document is None else read_job(document)

    async def update_job(self, before: TrainingJob, after: TrainingJob) -> bool:
        with self._reaching() as db:
            try:
                result = await db.jobs.update_one(
                    {"_id": before.id, "internal.revision": before.internal.revision},
                    changes(job_document(before), job_document(after)),
                )
            except DuplicateKeyError as error:
                raise _folder_taken(after) from error
        return result.matched_count == 1

    async def note_progress(self, job_id: str, attempt: int, values: Mapping[str, object]) -> bool:
        fields = progress_values(values)
        with self._reaching() as db:
            result = await db.jobs.update_one({"_id": job_id, "attempt": attempt}, {"$set": fields})
        return result.matched_count == 1

    async def delete_job(self, job: TrainingJob) -> bool:
        with self._reaching() as db:
            result = await db.jobs.delete_one({"_id": job.id, "internal.revision": job.internal.revision})
            if result.deleted_count == 0 and await db.jobs.find_one({"_id": job.id}, {"_id": 1}) is not None:
                return False
            # also where the job was gone already: the answer to an earlier call may have been lost
            await db.quick.events.delete_many({"kind": Subject.JOB.value, "subject": job.id})
            await db.quick.metrics.delete_many({"job_id": job.id})
        return result.deleted_count == 1

    async def list_jobs(self, query: JobQuery) -> JobPage:
        chosen = job_filter(query)
        types = list(TrainingType) if query.training_type is None else [query.training_type]
        typed = {**chosen, "training_type": {"$in": [kind.value for kind in types]}}  # always: indexes begin with it
        with self._reaching() as db:
            cursor = db.jobs.find(typed).sort([("created_at", DESCENDING), ("_id", DESCENDING)])
            documents, totals = await asyncio.gather(
                cursor.skip((query.page - 1) * query.size).limit(query.size).to_list(None),
                asyncio.gather(
                    *(db.jobs.count_documents({**chosen, "training_type": kind.value}) for kind in TrainingType)
                ),
            )
        by_type = dict(zip(TrainingType, totals, strict=True))
        return JobPage(
            jobs=tuple(map(read_job, documents)),
            total=sum(by_type[kind] for kind in types),
            total_llm=by_type[TrainingType.LLM],
            total_vlm=by_type[TrainingType.VLM],
        )

    async def counts(self) -> dict[str, int]:
        names = [status.value for status in TrainingStatus]
        with self._reaching() as db:
            groups = await db.jobs.aggregate(
                [{"$match": {"status": {"$in": names}}}, {"$group": {"_id": "$status", "count": {"$sum": 1}}}]
            ).to_list(None)
        found = {str(group["_id"]): cast("int", group["count"]) for group in groups}
        return {name: found.get(name, 0) for name in names}

    async def census(self) -> dict[tuple[TrainingType, TrainingStatus], int]:
        pairs = [(kind, status) for kind in TrainingType for status in TrainingStatus]
        group = {"$group": {"_id": {"$concat": ["$training_type", " ", "$status"]}, "count": {"$sum": 1}}}
        known = {"$match": {"status": {"$in": [status.value for status in TrainingStatus]}}}  # an index has both
        with self._reaching() as db:
            groups = await db.jobs.aggregate([known, group]).to_list(None)
        found = {str(group["_id"]): cast("int", group["count"]) for group in groups}
        return {(kind, status): found.get(f"{kind} {status}", 0) for kind, status in pairs}

    # ------------------------------------------------------------ scheduling

    async def waiting(self, limit: int) -> Waiting:
        with self._reaching() as db:
            return await mongo_queue.waiting(db.jobs, limit)

    async def count_waiting(self, before: TrainingJob | None = None) -> int:
        with self._reaching() as db:
            return await mongo_queue.count_waiting(db.jobs, before)

    async def count_queued(self, owner: str | None) -> int:
        with self._reaching() as db:
            return await db.jobs.count_documents({**mongo_queue.TRAININGS, "owner": owner})

    async def statuses(self, job_ids: Iterable[str]) -> dict[str, TrainingStatus]:
        with self._reaching() as db:
            return await mongo_queue.statuses(db.jobs, job_ids)

    async def dependents(self, job_id: str, limit: int) -> list[str]:
        with self._reaching() as db:
            return await mongo_queue.dependents(db.jobs, job_id, limit)

    async def held(self) -> list[Held]:
        with self._reaching() as db:
            return read_held(await db.jobs.find({"$or": [_HOLDING, _EXPORTING]}, HELD_FIELDS).to_list(None))

    async def jobs_on(self, node_id: str) -> list[TrainingJob]:
        here = [{**_HOLDING, "node_id": node_id}, {**_EXPORTING, "internal.export_node_id": node_id}]
        with self._reaching() as db:
            documents = await db.jobs.find({"$or": here}).to_list(None)
        return sorted(map(read_job, documents), key=lambda job: job.id)

    async def note_wait_reasons(self, reasons: Mapping[str, str]) -> None:
        writes = [
            UpdateOne(
                {"_id": job_id, "$or": [mongo_queue.TRAININGS, mongo_queue.EXPORTS]}, {"$set": {"wait_reason": reason}}
            )
            for job_id, reason in reasons.items()
        ]
        with self._reaching() as db:
            for start in range(0, len(writes), _REASONS_PER_WRITE):
                await _write_all(db.quick.jobs, writes[start : start + _REASONS_PER_WRITE])

    # ------------------------------------------------------------ events

    async def outbox_subjects(self, limit: int) -> list[tuple[Subject, str]]:
        if limit < 1:
            return []
        oldest = {"time": {"$first": "$internal.outbox.event.time"}}
        with self._reaching() as db:
            found = [
                (cast("datetime", document["time"]), subject, str(document["_id"]))
                for subject in Subject
                for document in await db.of(subject)
                .find(OUTBOX_NOT_EMPTY, oldest)
                .sort(OUTBOX_TIME, ASCENDING)
                .limit(limit)
                .to_list(None)
            ]
        return [(subject, subject_id) for _, subject, subject_id in sorted(found)[:limit]]

    async def outbox(self, subject: Subject, subject_id: str) -> tuple[OutboxEvent, ...]:
        with self._reaching() as db:
            document = await db.of(subject).find_one({"_id": subject_id}, {"internal.outbox": 1})
        return () if document is None else read_outbox(document)

    async def outbox_done(self, subject: Subject, subject_id: str, events: Sequence[OutboxEvent]) -> None:
        if not events:
            return
        published = {"internal.outbox": {"sequence": {"$lte": max(event.sequence for event in events)}}}
        with self._reaching() as db:
            try:
                await db.quick.events.insert_many(history_documents(subject.value, subject_id, events), ordered=False)
            except BulkWriteError as error:
                if not only_duplicates(error):
                    raise
            result = await db.of(subject).update_one({"_id": subject_id}, {"$pull": published})
            if result.matched_count == 0:  # deleted meanwhile: its history goes with it
                await db.quick.events.delete_many({"kind": subject.value, "subject": subject_id})

    async def events(self, job_id: str, after: int, limit: int) -> list[CloudEvent]:
        if limit < 1:
            return []
        waiting = await self.outbox(Subject.JOB, job_id)  # first: an event that moves meanwhile is then in both
        with self._reaching() as db:
            kept = (
                await db.quick.events.find({"kind": Subject.JOB.value, "subject": job_id, "sequence": {"$gt": after}})
                .sort("sequence", ASCENDING)
                .limit(limit)
                .to_list(None)
            )
        found = {item.sequence: item.event for item in waiting if item.sequence > after}
        found |= {cast("int", item["sequence"]): CloudEvent.model_validate(item["event"]) for item in kept}
        return [found[sequence] for sequence in sorted(found)[:limit]]

    # ------------------------------------------------------------ curves

    async def add_points(self, job_id: str, points: Sequence[MetricPoint]) -> None:
        writes = [
            UpdateOne({"_id": key}, update, upsert=True) for key, update in bucket_updates(job_id, points).items()
        ]
        if writes:
            with self._reaching() as db:
                await _write_all(db.metrics, writes)

    async def points(self, job_id: str, after_step: int, max_points: int) -> list[MetricPoint]:
        thinning = Thinning(max_points)
        with self._reaching() as db:
            before = {"job_id": job_id, "bucket": {"$lt": bucket_of(after_step)}}
            attempts = cast("list[int]", await db.quick.metrics.distinct("attempt", before))
            newest = Newest(max(attempts, default=0))
            cursor = db.quick.metrics.find({"job_id": job_id, "bucket": {"$gte": bucket_of(after_step)}})
            cursor = cursor.sort([("bucket", ASCENDING), ("attempt", ASCENDING)]).batch_size(_BUCKETS_PER_BATCH)
            same: list[Document] = []
            async for bucket in cursor:
                if same and same[0]["bucket"] != bucket["bucket"]:
                    thinning.add(_behind(after_step, newest.of(read_buckets(same))))
                    same = []
                same.append(bucket)
            thinning.add(_behind(after_step, newest.of(read_buckets(same))))
        return thinning.result()

    # ------------------------------------------------------------ replies

    async def find_reply(self, message_id: str) -> bytes | None:
        with self._reaching() as db:
            document = await db.quick.commands.find_one({"_id": message_id})
        return None if document is None else cast("bytes", document["reply"])

    async def remember_reply(self, message_id: str, reply: bytes) -> bool:
        with self._reaching() as db:
            try:
                await db.quick.commands.insert_one({"_id": message_id, "reply": reply, "at": datetime.now(UTC)})
            except DuplicateKeyError:
                return False
        return True

    async def note_deletion(self, job_id: str, deletion: Deletion) -> None:
        kept: Document = {**deletion.model_dump(), "at": datetime.now(UTC)}
        with self._reaching() as db:
            try:
                await db.deletions.replace_one({"_id": job_id}, kept, upsert=True)
            except DuplicateKeyError:  # two noted it at once; now it is there
                await db.deletions.replace_one({"_id": job_id}, kept)

    async def deletion(self, job_id: str) -> Deletion | None:
        with self._reaching() as db:
            kept = await db.deletions.find_one({"_id": job_id}, {"_id": 0, "at": 0})
        return None if kept is None else Deletion.model_validate(kept)

    # ------------------------------------------------------------ nodes

    async def put_node(self, node: NodeRecord) -> bool:
        document = node_document(node)
        epochs = [node.internal.epoch, *([] if node.internal.epoch else [None])]  # None: written before there were any
        mine = {"_id": node.node_id, "internal.epoch": {"$in": epochs}}
        heartbeat = {"$set": {**{name: document[name] for name in HEARTBEAT_FIELDS}, "internal.forgotten": False}}
        with self._reaching() as db:
            if (await db.quick.nodes.update_one(mine, heartbeat)).matched_count:
                return True
            try:
                await db.quick.nodes.insert_one(document)
            except DuplicateKeyError:  # of another epoch; or made just now, by an earlier call whose answer was lost
                return (await db.quick.nodes.update_one(mine, heartbeat)).matched_count == 1
        return True

    async def get_node(self, node_id: str) -> NodeRecord | None:
        with self._reaching() as db:
            document = await db.nodes.find_one({"_id": node_id})
        return None if document is None else read_node(document)

    async def update_node(self, before: NodeRecord, after: NodeRecord) -> bool:
        with self._reaching() as db:
            result = await db.nodes.update_one(
                {
                    "_id": before.node_id,
                    "internal.revision": before.internal.revision,
                    "last_heartbeat": before.last_heartbeat,
                },
                changes(node_document(before), node_document(after)),
            )
        return result.matched_count == 1

    async def nodes(self) -> list[NodeRecord]:
        with self._reaching() as db:
            found = db.nodes.find({"internal.forgotten": {"$ne": True}}).sort("_id", ASCENDING)
            return [read_node(document) for document in await found.to_list(None)]

    # ------------------------------------------------------------ the connection

    def _connected(self) -> _Connection:
        """The client of the running loop, made with the first call; it connects by itself, and again after a loss."""
        if self._connection is None:
            options = cast("dict[str, Any]", self._options)
            client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(self._url, tz_aware=True, tzinfo=UTC, **options)
            given = client.write_concern
            journaled = given if "j" in given.document else WriteConcern(**given.document, j=True)
            db = client.get_database(self._database)
            self._connection = _Connection(
                client=client,
                jobs=db.get_collection("jobs", write_concern=journaled),
                nodes=db.get_collection("nodes", write_concern=journaled),
                metrics=db.get_collection("metrics", write_concern=journaled),
                deletions=db.get_collection("deletions", write_concern=journaled),
                quick=db,
            )
        return self._connection

    @contextmanager
    def _reaching(self) -> Generator[_Connection]:
        """The collections. What means that they are away becomes `UnavailableError`; a bug of ours stays what it is."""
        try:
            yield self._connected()
        except PyMongoError as error:
            if is_away(error):
                raise UnavailableError(why_away(error, self._address)) from error
            raise


async def _write_all(collection: "Collection", writes: list[UpdateOne]) -> None:
    await collection.bulk_write(writes, ordered=False)  # pyright: ignore[reportUnknownMemberType]  # Motor's stub


def _behind(step: int, points: Iterable[MetricPoint]) -> Iterator[MetricPoint]:
    return (point for point in points if point.step > step)


def _folder_taken(job: TrainingJob) -> FolderTakenError:
    return FolderTakenError(
        f"another unfinished job has the run folder {job.internal.output_lock}; wait for it or choose another"
    )
