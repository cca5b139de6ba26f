"""The invariants of the end: what must hold when the storm is over and all is quiet."""

from pathlib import Path

from daemon.adapters.memory_bus import MemoryBroker
from schemas.enums import TrainingStatus
from schemas.jobs import TrainingJob
from tests.simulation.audit import Audit
from tests.simulation.hosts import Hosts
from tests.simulation.stage import Stage
from tests.simulation.stranger import GARBAGE, Stranger, Wish
from tests.simulation.twins import SimFiles, SimStore


def check_end(
    stage: Stage,
    store: SimStore,
    files: SimFiles,
    hosts: Hosts,
    audit: Audit,
    stranger: Stranger,
    broker: MemoryBroker,
) -> None:
    """Look at everything once."""
    for run in hosts.living():
        stage.breaks(f"{run.process.run_id} lives on")
    for job in store.jobs.values():
        _check_told(stage, audit, job)
        _check_curve(stage, store, hosts, audit, job)
        spawned = sum(run.job_id == job.id and not run.exports for run in hosts.runs.values())
        if spawned > job.attempt:
            stage.breaks(f"{job.id}: {spawned} spawns in {job.attempt} attempts")
        if job.internal.output_lock != job.run_dir:
            stage.breaks(f"{job.id} is {job.status} and does not keep its folder")
    _check_effects(stage, store, files, audit, stranger)
    for letter in broker.dead:
        if (letter.routing_key, letter.body) not in GARBAGE:
            stage.breaks(f"{letter.routing_key} {letter.message_id} was dead-lettered: {dict(letter.headers)}")
    dead = {letter.message_id for letter in broker.dead}
    for order in stranger.orders.values():
        if isinstance(order.body, bytes) and order.message_id not in dead:
            stage.breaks(f"{order.message_id} can't be understood and is not among the dead letters")


def _check_told(stage: Stage, audit: Audit, job: TrainingJob) -> None:
    """The subscriber has seen all, and ends where the document does."""
    seen = audit.history(job.id)
    if len(seen) != job.internal.sequence:
        stage.breaks(f"{job.id} has {job.internal.sequence} events, {len(seen)} were published")
    statuses = [event.data["status"] for event in seen if "status" in event.data]
    if statuses[-1:] != [job.status]:
        stage.breaks(f"{job.id} is {job.status}; the last that was told is {statuses[-1:]}")


def _check_curve(stage: Stage, store: SimStore, hosts: Hosts, audit: Audit, job: TrainingJob) -> None:
    """Every logged step once, as the newest attempt logged it; but of a lost node's log only what was read."""
    stored = {point.step: (point.attempt, point.loss) for point in store.curve(job.id)}
    logged = {
        step: (attempt, loss)
        for step, (attempt, loss) in hosts.logged.get(job.id, {}).items()
        if step in stored or (job.id, attempt) not in audit.taken
    }
    if stored != logged:
        stage.breaks(f"{job.id}: logged {logged}, stored {stored}")


def _check_deletion(stage: Stage, store: SimStore, files: SimFiles, wish: Wish, job_id: str) -> None:
    """Who was told that a job is deleted, was told the truth."""
    deletions = [order for order in wish.rest if order.command == "job.delete"]
    gone = job_id not in store.jobs
    for order in wish.accepted("job.delete"):
        if not gone:
            stage.breaks(f"{job_id} is still there, and {order.message_id} was told that it is deleted")
        assert order.settled is not None
        assert order.settled.result is not None
        folder = str(order.settled.result["message"]).partition("with its run folder ")[2]
        shared = any(job.run_dir == folder for job in store.jobs.values())
        if folder and not shared and files.holds(Path(folder)):
            stage.breaks(f"{folder} is still there, and {order.message_id} was told that it is deleted")
    if gone and not deletions:
        stage.breaks(f"{job_id} is gone, and nobody deleted it")


def _check_effects(stage: Stage, store: SimStore, files: SimFiles, audit: Audit, stranger: Stranger) -> None:
    """Each accepted command had its effect, once."""
    wished = {wish.job_id for wish in stranger.wishes}
    for job_id in store.jobs:
        if job_id not in wished:
            stage.breaks(f"{job_id} was asked for by nobody")
    for wish in stranger.wishes:
        job_id = wish.job_id
        if job_id is None:
            stage.breaks(f"a creation was refused: {wish.creation.settled}")
            continue
        _check_deletion(stage, store, files, wish, job_id)
        resumed, asked = audit.resumes.get(job_id, 0), len(wish.accepted("job.resume"))
        if not asked <= resumed <= asked + len(wish.silent("job.resume")):
            stage.breaks(f"{job_id} was resumed {resumed} times by {asked} commands")
        started = wish.starts or wish.accepted("job.start") or wish.silent("job.start")
        job = store.jobs.get(job_id)
        if started and job is not None and job.status is TrainingStatus.PENDING:
            stage.breaks(f"{job_id} is pending, and its start was asked for")
