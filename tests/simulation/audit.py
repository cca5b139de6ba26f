"""The invariants, looked after at every write, every spawn and every event, and once more at the end.

What an audit believes is the world itself: the processes that live, not the documents that say so; the events that were
published, not those that were meant to be.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from daemon.adapters.memory_runs import Process
from daemon.core.moves import source_of
from schemas.enums import ErrorCode, ExportStatus, TrainingStatus
from schemas.events import CHECKPOINT_TYPE, EXPORT_TYPE, STATUS_TYPE, CloudEvent, OutboxEvent
from schemas.jobs import TrainingJob
from tests.simulation.hosts import Hosts, RunRecord, resumed_from, run_dir_of
from tests.simulation.stage import Stage

S = TrainingStatus
HOLDS_DEVICES = frozenset({S.STARTING, S.RUNNING, S.STOPPING})
ENDED = frozenset({S.COMPLETED, S.FAILED, S.CANCELLED})
LEGAL: Mapping[TrainingStatus, frozenset[TrainingStatus]] = {
    S.PENDING: frozenset({S.QUEUED, S.CANCELLED}),
    S.QUEUED: frozenset({S.STARTING, S.CANCELLED, S.FAILED}),
    S.STARTING: frozenset({S.RUNNING, S.STOPPING, S.FAILED, S.QUEUED}),
    S.RUNNING: frozenset({S.COMPLETED, S.STOPPING, S.FAILED, S.QUEUED}),
    S.STOPPING: frozenset({S.CANCELLED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset({S.QUEUED}),
    S.CANCELLED: frozenset({S.QUEUED}),
}
"""What the contract says of a job's life, written down once more, because the table in the product is under test."""
EXPORT_ENDED = frozenset({ExportStatus.COMPLETED, ExportStatus.FAILED})
EXPORT_UNDER_WAY = frozenset({ExportStatus.QUEUED, ExportStatus.RUNNING})


class Audit:
    """Looks on, and says what is broken."""

    def __init__(self, stage: Stage, hosts: Hosts) -> None:
        self._stage = stage
        self._hosts = hosts
        self.on_event: Callable[[CloudEvent], None] = lambda _: None
        """Told of each event once, as the subscriber sees it."""
        self._statuses: dict[str, TrainingStatus] = {}
        """By job, where it stands."""
        self._progress: dict[str, tuple[int, float]] = {}
        self._events_read = 0
        self.events: dict[str, dict[str, OutboxEvent]] = {}
        """By subject and id, what a subscriber has seen who drops known ids."""
        self.taken: set[tuple[str, int]] = set()
        """By job and attempt, what was taken off a lost node: the end of its log was read by nobody."""
        self.resumes: dict[str, int] = {}
        """By job, how often it was resumed."""

    # ------------------------------------------------------------ writes

    def job_written(self, before: TrainingJob | None, after: TrainingJob) -> None:
        """A document of a job was written under its guard."""
        name = after.id
        self._statuses[name] = after.status
        if before is None:
            self._stage.note(f"{name} is there, {after.status}")
            told = [event.event.data["status"] for event in after.internal.outbox]
            if told not in (["pending"], ["pending", "queued"]) or told[-1] != after.status:
                self._stage.breaks(f"{name} was created as {after.status} and told {told}")
            return
        if before.status is not after.status:
            self._stage.note(f"{name}: {before.status} -> {after.status} (attempt {after.attempt})")
            self._moved(before, after)
        if before.export_status is not after.export_status:
            self._stage.note(f"{name}: export {before.export_status} -> {after.export_status}")
            if after.export_status in EXPORT_ENDED:
                self._nothing_left(name, exports=True, why=f"its export is {after.export_status}")
        if after.internal.revision != before.internal.revision + 1:
            self._stage.breaks(f"{name}: revision {before.internal.revision} was followed by {after.internal.revision}")
        again = after.status is S.QUEUED and before.status not in {S.PENDING, S.QUEUED}
        first = after.status is S.STARTING and before.attempt == 0
        if after.attempt != before.attempt + (again or first):
            self._stage.breaks(f"{name}: attempt {before.attempt} became {after.attempt}")
        self.progress_noted(after)
        self._told(before, after)

    def _moved(self, before: TrainingJob, after: TrainingJob) -> None:
        name = after.id
        if after.status not in LEGAL[before.status]:
            self._stage.breaks(f"{name}: {before.status} became {after.status}")
        if before.status in HOLDS_DEVICES and after.status not in HOLDS_DEVICES:
            self._nothing_left(name, exports=False, why=f"it is {after.status}")
        if after.status is S.STARTING and after.after_policy == "success":
            for other in after.after:
                if self._statuses.get(other) is not S.COMPLETED:
                    self._stage.breaks(f"{name} starts, and {other}, which it comes after, has not completed")
        if before.status in ENDED and after.status is S.QUEUED:
            self.resumes[name] = self.resumes.get(name, 0) + 1
        run = self._hosts.runs.get(f"{name}-{before.attempt}")
        finished = run is not None and run.finished
        gave_way = (
            run is not None and run.process.stops and after.total_steps in self._hosts.whole.get(run_dir_of(run), ())
        )
        if after.status is S.COMPLETED and (not (finished or gave_way) or after.progress != 100.0):
            self._stage.breaks(f"{name} is called completed at {after.progress:g} %, and did not reach its last step")
        reason = str(after.internal.outbox[-1].event.data.get("reason")) if after.internal.outbox else ""
        if reason.startswith("node ") and " is lost; " in reason:
            self.taken.add((name, before.attempt))
        ended_ill = after.status is S.FAILED or (before.status in HOLDS_DEVICES and after.status is S.QUEUED)
        unread = (name, before.attempt) in self.taken
        if ended_ill and finished and not unread and after.error_code is not ErrorCode.TIMEOUT:
            self._stage.breaks(f"{name} reached its last step and is called {after.status}: {after.error_message}")

    def _told(self, before: TrainingJob, after: TrainingJob) -> None:
        """Each change has its one event, under the next number."""
        new = [entry for entry in after.internal.outbox if entry.sequence > before.internal.sequence]
        expected = list(range(before.internal.sequence + 1, after.internal.sequence + 1))
        if [entry.sequence for entry in new] != expected:
            self._stage.breaks(f"{after.id}: events {[entry.sequence for entry in new]} instead of {expected}")
        told = [entry.event.data["status"] for entry in new if entry.event.type == STATUS_TYPE]
        if told != ([after.status] if before.status is not after.status else []):
            self._stage.breaks(f"{after.id}: {before.status} -> {after.status} was told as {told}")
        exports = [entry.event.data["export_status"] for entry in new if entry.event.type == EXPORT_TYPE]
        if exports != ([after.export_status] if before.export_status is not after.export_status else []):
            self._stage.breaks(f"{after.id}: export is {after.export_status} and was told as {exports}")
        for entry in new:
            if entry.event.type == CHECKPOINT_TYPE or entry.event.data.get("status") == S.RUNNING:
                self._told_by_its_node(after, entry.event)

    def _told_by_its_node(self, job: TrainingJob, event: CloudEvent) -> None:
        """What an attempt does is told by the node that runs it, and not before it does."""
        run = self._hosts.runs.get(f"{job.id}-{job.attempt}")
        if run is None or event.source != source_of(run.node_id):
            what = f"{event.type} of attempt {job.attempt}"
            self._stage.breaks(f"{job.id}: {event.source} told {what}, which runs on {run and run.node_id}")

    def _nothing_left(self, job_id: str, *, exports: bool, why: str) -> None:
        left = [run for run in self._hosts.living() if run.job_id == job_id and run.exports == exports]
        for run in left:
            self._stage.breaks(f"{run.process.run_id} lives, and {why}")

    def progress_noted(self, job: TrainingJob) -> None:
        """Progress was written, with the guard or beside it."""
        attempt, percent = self._progress.get(job.id, (0, 0.0))
        if attempt == job.attempt and job.progress < percent:
            self._stage.breaks(f"{job.id}: progress fell from {percent:g} to {job.progress:g} in attempt {attempt}")
        if (job.progress == 100.0) != (job.status is S.COMPLETED):
            self._stage.breaks(f"{job.id} is {job.status} at {job.progress:g} %")
        self._progress[job.id] = (job.attempt, job.progress)

    def job_deleted(self, job: TrainingJob) -> None:
        """A document is gone."""
        self._stage.note(f"{job.id} is deleted")
        if job.status in HOLDS_DEVICES or job.status is S.QUEUED or job.export_status in EXPORT_UNDER_WAY:
            self._stage.breaks(f"{job.id} was deleted while it was {job.status}, export {job.export_status}")
        if job.internal.outbox and job.status is not S.PENDING:  # a creation that came too late may be taken back
            self._stage.breaks(f"{job.id} was deleted before {len(job.internal.outbox)} of its events were published")

    def removed(self, path: Path) -> None:
        """A folder is removed: no training writes into it."""
        self._hosts.removed(path)
        for run in self._hosts.living():
            if not run.exports and run_dir_of(run).is_relative_to(path):
                self._stage.breaks(f"{path} is removed while {run.process.run_id} writes there")

    # ------------------------------------------------------------ processes

    def spawned(self, node_id: str, process: Process, job: TrainingJob | None) -> RunRecord:
        """A run begins: it is the only one of its name, on devices that nobody has."""
        if process.run_id in self._hosts.runs:
            self._stage.breaks(f"{process.run_id} was spawned twice")
        others = self._hosts.living()
        run = self._hosts.begin(node_id, process)
        for other in others:
            if other.node_id == node_id and other.devices & run.devices:
                self._stage.breaks(f"{process.run_id} got a device that {other.process.run_id} has")
            if other.job_id == run.job_id and other.exports == run.exports:
                self._stage.breaks(f"{process.run_id} was spawned beside {other.process.run_id}")
        ports = [other.process.spec.env.get("MASTER_PORT") for other in others if other.node_id == node_id]
        if process.spec.env.get("MASTER_PORT", "none") in ports:
            self._stage.breaks(f"{process.run_id} shares its port")
        self._allowed(run, job)
        return run

    def _allowed(self, run: RunRecord, job: TrainingJob | None) -> None:
        name = run.process.run_id
        if job is None:
            self._stage.breaks(f"{name} was spawned for a job that is gone")
            return
        if run.exports:
            right = job.internal.export_attempt == run.number and job.export_status is ExportStatus.RUNNING
        else:
            right = job.attempt == run.number and job.status in HOLDS_DEVICES and job.node_id == run.node_id
        if not right:
            self._stage.breaks(f"{name} was spawned while the job was {job.status} in attempt {job.attempt}")
        if not run.exports and run.number > 1:
            self._resumes_right(run, job)

    def _resumes_right(self, run: RunRecord, job: TrainingJob) -> None:
        """It goes on from the newest checkpoint that is whole."""
        folder = Path(job.run_dir or "")
        whole = self._hosts.whole.get(folder)
        newest = folder / f"checkpoint-{max(whole)}" if whole else None
        if resumed_from(run) != newest:
            self._stage.breaks(f"{run.process.run_id} goes on from {resumed_from(run)}, the newest is {newest}")

    # ------------------------------------------------------------ events

    def read_events(self, published: list[OutboxEvent]) -> None:
        """A subscriber reads on: each event is known, or the next one of its subject."""
        while self._events_read < len(published):
            entry = published[self._events_read]
            self._events_read += 1
            subject = entry.event.subject or ""
            seen = self.events.setdefault(subject, {})
            known = seen.get(entry.event.id)
            if known is not None:
                if known != entry:
                    self._stage.breaks(f"{entry.event.id} was published with other contents")
                continue
            seen[entry.event.id] = entry
            self.on_event(entry.event)
            if entry.sequence != len(seen):
                self._stage.breaks(f"{subject}: event {entry.sequence} was published as number {len(seen)}")

    def history(self, subject: str) -> list[CloudEvent]:
        """What the subscriber has seen of a job, in order."""
        return [entry.event for entry in self.events.get(subject, {}).values()]
