"""The indexes of the database, by collection: one for every query of `mongo.py`, so that none scans a collection.

An index costs every write a little. The outbox and the run folder's lock are therefore partial: a job that has
none is not in them.
"""

from pymongo import ASCENDING, DESCENDING, IndexModel

MEMORY_S = 48 * 3600
"""How long the reply to a `message_id` is kept, and that a job was deleted; the contract promises 24 h."""

OUTBOX_NOT_EMPTY = {"internal.outbox.0": {"$exists": True}}
"""The query that the outbox's partial index answers."""

OUTBOX_TIME = "internal.outbox.0.event.time"

COMES_AFTER = {"after.0": {"$exists": True}}
"""The query that the partial index of `after` answers."""

TRAININGS_ORDER = [("priority", DESCENDING), ("queued_at", ASCENDING), ("_id", ASCENDING)]
EXPORTS_ORDER = [("priority", DESCENDING), ("internal.export_order.requested_at", ASCENDING), ("_id", ASCENDING)]

_NEWEST_FIRST = [("created_at", DESCENDING), ("_id", DESCENDING)]
_OUTBOX = IndexModel([(OUTBOX_TIME, ASCENDING)], name="outbox", partialFilterExpression=OUTBOX_NOT_EMPTY)
_EXPIRY = IndexModel([("at", ASCENDING)], name="expiry", expireAfterSeconds=MEMORY_S)

INDEXES: dict[str, list[IndexModel]] = {
    "jobs": [
        IndexModel([("training_type", ASCENDING), *_NEWEST_FIRST], name="type_newest"),
        IndexModel([("status", ASCENDING), ("training_type", ASCENDING), *_NEWEST_FIRST], name="status_type_newest"),
        IndexModel([("owner", ASCENDING), ("training_type", ASCENDING), *_NEWEST_FIRST], name="owner_type_newest"),
        IndexModel(
            [("internal.label_terms", ASCENDING), ("training_type", ASCENDING), *_NEWEST_FIRST],
            name="label_type_newest",
        ),
        IndexModel(
            TRAININGS_ORDER,
            name="trainings_waiting",
            partialFilterExpression={"status": "queued"},
        ),
        IndexModel(
            EXPORTS_ORDER,
            name="exports_waiting",
            partialFilterExpression={"export_status": "queued"},
        ),
        IndexModel(
            [("status", ASCENDING), ("owner", ASCENDING), *TRAININGS_ORDER],
            name="owner_trainings_waiting",
            partialFilterExpression={"status": "queued"},
        ),
        IndexModel(
            [("export_status", ASCENDING), ("owner", ASCENDING), *EXPORTS_ORDER],
            name="owner_exports_waiting",
            partialFilterExpression={"export_status": "queued"},
        ),
        IndexModel([("after", ASCENDING), ("_id", ASCENDING)], name="after", partialFilterExpression=COMES_AFTER),
        IndexModel(
            [("export_status", ASCENDING), ("internal.export_node_id", ASCENDING)],
            name="exports_running",
            partialFilterExpression={"export_status": "running"},
        ),
        IndexModel(
            [("internal.output_lock", ASCENDING)],
            name="output_lock",
            unique=True,
            partialFilterExpression={"internal.output_lock": {"$type": "string"}},
        ),
        _OUTBOX,
    ],
    "nodes": [_OUTBOX],
    "events": [IndexModel([("kind", ASCENDING), ("subject", ASCENDING), ("sequence", ASCENDING)], name="by_sequence")],
    "metrics": [IndexModel([("job_id", ASCENDING), ("bucket", ASCENDING), ("attempt", ASCENDING)], name="by_bucket")],
    "commands": [_EXPIRY],
    "deletions": [_EXPIRY],
}
