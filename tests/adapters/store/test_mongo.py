"""What only the real database can show: indexes that are used, outages in words, masked credentials."""

import asyncio
import socket
from datetime import timedelta
from typing import cast

import pytest
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, OperationFailure

from daemon.adapters.documents import job_document
from daemon.adapters.mongo import MongoStore
from daemon.adapters.mongo_outage import address, client_options, is_away
from daemon.ports import JobQuery, Subject, UnavailableError
from schemas.enums import ExportStatus, TrainingStatus, TrainingType
from schemas.jobs import Deletion, TrainingJob
from tests.adapters.store.records import at, changed, make_job, make_node, make_point, make_vlm_job, with_events

Documents = MongoClient[dict[str, object]]
JOBS = 2000
WATCHED = ("jobs", "events", "metrics")
"""`nodes` is not: it has a document a node, and a scan of it is the right plan."""


def many_jobs() -> list[TrainingJob]:
    """A long history, of which little is alive."""
    jobs: list[TrainingJob] = []
    for number in range(JOBS):
        make = make_vlm_job if number % 4 == 0 else make_job
        status = list(TrainingStatus)[number % 8] if number % 40 < 8 else TrainingStatus.COMPLETED
        export = ExportStatus.QUEUED if number % 50 == 49 else ExportStatus.COMPLETED
        export = ExportStatus.RUNNING if number % 200 == 39 else export
        labels = {"team.x": str(number % 9)} if number % 20 == 0 else {}
        job = make(f"j{number:05}", status=status, owner=f"o{number % 50}", created_at=at(number), labels=labels)
        job = changed(job, after=["j00000", "j00001"] if number in (8, 40, 41, 42) else [])
        job = changed(job, node_id="n", export_status=export, internal={"export_node_id": "n"})
        jobs.append(with_events(job, 1) if number % 100 == 0 else job)
    return jobs


@pytest.mark.services
async def test_no_query_scans_a_collection(mongo: MongoStore, database: str, documents: Documents) -> None:
    db = documents[database]
    jobs = many_jobs()
    db["jobs"].insert_many([job_document(job) for job in jobs])
    for node_id in ("n", "m"):
        await mongo.put_node(make_node(node_id))
    await mongo.add_points("j00001", [make_point(step, loss=1.0) for step in range(0, 3000, 100)])
    db.command({"profile": 2})
    try:
        await mongo.list_jobs(JobQuery())
        await mongo.list_jobs(JobQuery(training_type=TrainingType.VLM, page=3))
        await mongo.list_jobs(JobQuery(statuses=(TrainingStatus.FAILED, TrainingStatus.QUEUED)))
        await mongo.list_jobs(JobQuery(owner="o7"))
        await mongo.list_jobs(JobQuery(label=("team.x", "3")))
        await mongo.counts()
        await mongo.census()
        assert len((await mongo.waiting(20)).work) == 6 * (20 // 6)  # of six owners
        assert await mongo.count_queued("o1") == 10
        assert len(await mongo.statuses(["j00001", "j00002", "nobody"])) == 2
        assert await mongo.dependents("j00001", 5) == ["j00040", "j00041"]
        assert len(await mongo.held()) == 160
        assert len(await mongo.jobs_on("n")) == 160
        await mongo.note_wait_reasons({"j00001": "no device"})
        await mongo.note_progress("j00003", 0, {"loss": 1.0})
        assert len(await mongo.outbox_subjects(100)) == 20
        waiting = await mongo.outbox(Subject.JOB, "j00100")
        await mongo.outbox_done(Subject.JOB, "j00100", waiting)
        assert len(await mongo.events("j00100", 0, 10)) == 1
        assert len(await mongo.points("j00001", 0, 100)) == 29
        assert len(await mongo.points("j00001", 2000, 100)) == 9
        assert await mongo.update_job(jobs[1], changed(jobs[1], internal={"output_lock": "x"}))
        assert await mongo.delete_job(jobs[2])
    finally:
        db.command({"profile": 0})
    plans = list(db["system.profile"].find({"ns": {"$in": [f"{database}.{name}" for name in WATCHED]}}))
    assert len(plans) > 25
    for plan in plans:
        assert "COLLSCAN" not in str(plan.get("planSummary")), plan["command"]
        assert not plan.get("hasSortStage"), plan["command"]
    pages = [plan for plan in plans if cast("dict[str, object]", plan["command"]).get("find") == "jobs"]
    assert max(cast("int", page["docsExamined"]) for page in pages) <= 240


@pytest.mark.services
async def test_no_document_of_a_curve_grows_beyond_its_bucket(
    mongo: MongoStore, database: str, documents: Documents
) -> None:
    """A curve of any length is written into ever more documents, each of bounded size."""
    for attempt in (1, 2):
        await mongo.add_points("a", [make_point(step, attempt=attempt, loss=1.0) for step in range(1, 2401)])
    buckets = list(documents[database]["metrics"].find({"job_id": "a"}))
    sizes = {
        (bucket["attempt"], bucket["bucket"]): len(cast("dict[str, object]", bucket["points"])) for bucket in buckets
    }
    assert sum(sizes.values()) == 2 * 2400
    assert max(sizes.values()) == 500
    assert len(buckets) == len(sizes) == 2 * 5


@pytest.mark.services
async def test_replies_and_deletions_are_dropped_after_two_days(
    mongo: MongoStore, database: str, documents: Documents
) -> None:
    await mongo.remember_reply("m", b"x")
    await mongo.note_deletion("a", Deletion(revision=1, message_id="m", message="deleted"))
    for name in ("commands", "deletions"):
        index = documents[database][name].index_information()["expiry"]
        assert timedelta(seconds=cast("int", index["expireAfterSeconds"])) == timedelta(hours=48)


@pytest.mark.services
async def test_a_document_has_the_jobs_fields_and_nothing_else(
    mongo: MongoStore, database: str, documents: Documents
) -> None:
    job = make_job(labels={"a.b": "c"})
    await mongo.insert_job(job)
    document = documents[database]["jobs"].find_one({"_id": "a"})
    assert document is not None
    assert set(document) == {"_id", *type(job).model_fields}
    assert document["status"] == "pending"


@pytest.mark.services
async def test_what_is_acknowledged_is_in_the_journal(mongo: MongoStore, database: str, documents: Documents) -> None:
    documents[database].command({"profile": 2})
    try:
        await mongo.insert_job(make_job())
    finally:
        documents[database].command({"profile": 0})
    inserts = documents[database]["system.profile"].find({"op": "insert", "ns": {"$regex": "jobs"}})
    concerns = [cast("dict[str, dict[str, object]]", entry["command"])["writeConcern"] for entry in inserts]
    assert [concern["j"] for concern in concerns] == [True]


@pytest.mark.services
async def test_of_many_writers_of_one_revision_one_wins(mongo: MongoStore) -> None:
    job = make_job()
    await mongo.insert_job(job)
    won = await asyncio.gather(*(mongo.update_job(job, changed(job, owner=f"o{n}")) for n in range(20)))
    assert sum(won) == 1
    puts = [mongo.put_node(make_node("new")) for _ in range(20)]
    assert all(await asyncio.gather(*puts))
    assert len(await mongo.nodes()) == 1


@pytest.mark.services
async def test_a_node_from_before_there_were_epochs_renews(
    mongo: MongoStore, database: str, documents: Documents
) -> None:
    await mongo.put_node(make_node())
    documents[database]["nodes"].update_one({"_id": "n"}, {"$unset": {"internal.epoch": 1}})
    assert await mongo.put_node(make_node())


@pytest.mark.services
async def test_the_store_says_that_it_is_well(mongo: MongoStore) -> None:
    assert await mongo.check() == "ok"
    await mongo.prepare()


@pytest.mark.services
async def test_refused_credentials_are_an_outage_and_stay_secret(mongodb_url: str) -> None:
    store = MongoStore(f"mongodb://ann:hunter2@{address(mongodb_url)}/?serverSelectionTimeoutMS=50", "refused")
    try:
        with pytest.raises(UnavailableError, match="refuses the credentials") as caught:
            await store.get_job("a")
        assert "hunter2" not in str(caught.value)
        assert "refuses the credentials" in await store.check()
    finally:
        await store.close()


async def test_a_store_that_is_away_says_where_and_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port, and connections are refused
        where = f"127.0.0.1:{unused.getsockname()[1]}"
        store = MongoStore(f"mongodb://ann:hunter2@{where}/?serverSelectionTimeoutMS=50", "away")
        try:
            calls = (store.get_job("a"), store.insert_job(make_job()), store.points("a", 0, 1), store.prepare())
            errors = await asyncio.gather(*calls, return_exceptions=True)
            said = await store.check()
        finally:
            await store.close()
    assert [type(error) for error in errors] == [UnavailableError] * 4
    for sentence in (*map(str, errors), said):
        assert f"{where} is away" in sentence
        assert "SWIFT_TRAINER_MONGODB_URL" in sentence
        assert "hunter2" not in sentence
        assert len(sentence) < 500


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("mongodb://localhost:27017", "localhost:27017"),
        ("mongodb://ann:p%40ss@a:1,b:2/db?replicaSet=r", "a:1,b:2"),
        ("mongodb+srv://ann:p@cluster.example.org/?tls=true", "cluster.example.org"),
        ("mongodb://ann:odd@pass@h:1/?tlsCertificateKeyFilePassword=x", "h:1"),
        ("nonsense", "an empty address"),
    ],
)
def test_an_address_has_no_credentials(url: str, where: str) -> None:
    assert address(url) == where


def test_the_urls_options_come_first() -> None:
    assert client_options("mongodb://h")["socketTimeoutMS"] == 10_000
    assert "socketTimeoutMS" not in client_options("mongodb://h/?sockettimeoutms=5")
    assert "w" not in client_options("mongodb://h")
    assert client_options("mongodb://h/?replicaSet=r")["w"] == "majority"
    assert "w" not in client_options("mongodb://h/?replicaSet=r&w=1")
    with pytest.raises(ValueError, match="w=0"):
        MongoStore("mongodb://h/?w=0", "db")


def test_our_own_mistakes_are_no_outage() -> None:
    assert not is_away(DuplicateKeyError("duplicate"))
    assert not is_away(OperationFailure("unknown operator", 2))
    assert is_away(OperationFailure("shutting down", 91))
