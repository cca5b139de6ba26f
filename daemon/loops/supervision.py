"""The supervisors: one named task for each training and export that runs on this node.

A supervisor that fails is a bug; it is told of loudly and taken up again after a pause, because its training goes on
and the other jobs have nothing to do with it.

What the store says runs here and nobody follows is looked for now and then: a store that was frozen may carry out the
claim of a daemon that died after the next one has begun. Where its devices are somebody else's by then, it is given
back; else it is taken up.
"""

import asyncio

from daemon.core.lifecycle import HOLDS_DEVICES
from daemon.core.moves import export_lost, going_on, lost
from daemon.core.work import WorkKind
from daemon.logs import get_log
from daemon.loops.context import Context, change_job, persistently
from daemon.loops.exporting import export_run_id, supervise_export
from daemon.loops.following import end_run, job_of, read_job
from daemon.loops.lease import lease_held
from daemon.loops.training import run_id_of, supervise_training
from daemon.ports import UnavailableError
from schemas.enums import ExportStatus
from schemas.jobs import TrainingJob

log = get_log("supervision")

AGAIN_S = 30.0
LOOK_S = 30.0
Key = tuple[str, WorkKind]


class Supervision:
    """Holds the supervisors of this node inside a task group."""

    def __init__(self, ctx: Context, group: asyncio.TaskGroup) -> None:
        self._ctx = ctx
        self._group = group
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._claimed_anew: set[Key] = set()
        """Claimed while the supervisor of the last attempt was on its way out: it has read the document before that."""

    @property
    def running(self) -> int:
        """Number of runs that are followed."""
        return len(self._tasks)

    def begin(self, job_id: str, kind: WorkKind) -> None:
        """Follow a claimed training or export; where it is followed already, its document is read once more after."""
        key = (job_id, kind)
        if key in self._tasks:
            self._claimed_anew.add(key)
            return
        task = self._group.create_task(self._supervise(job_id, kind), name=f"{kind} {job_id}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._ended(key, well=not task.cancelled() and task.exception() is None))

    def detach(self) -> None:
        """Stop following; the runs go on."""
        for task in self._tasks.values():
            task.cancel()

    async def recover(self) -> int:
        """Take up everything that runs here by the documents; how many that were."""
        jobs = await persistently(
            self._ctx, "finding what ran here", lambda: self._ctx.store.jobs_on(self._ctx.node_id)
        )
        for job in jobs:
            for kind in kinds_held(job, self._ctx.node_id):
                log.info("recovering", "taking up a run of an earlier daemon", job_id=job.id, kind=kind)
                self.begin(job.id, kind)
        await self._end_strays({run_of(job, kind) for job in jobs for kind in kinds_held(job, self._ctx.node_id)})
        return len(jobs)

    async def look_after(self) -> None:
        """Find what nobody follows, for as long as the daemon runs. One look alone may come between claim and begin."""
        before: set[Key] = set()
        while True:
            await self._ctx.clock.sleep(LOOK_S)
            try:
                before = await self._look(before)
            except UnavailableError as error:
                log.debug("look_waits", str(error))

    async def _look(self, before: set[Key]) -> set[Key]:
        """What nobody follows now; what was so at the last look as well is taken up or given back."""
        node_id = self._ctx.node_id
        jobs = await self._ctx.store.jobs_on(node_id)
        held = {(job.id, kind): job for job in jobs for kind in kinds_held(job, node_id)}
        loose = {key for key in held if key not in self._tasks}
        known = await self._ctx.runs.known() if loose & before else ()
        for key in sorted(loose & before):
            job, kind = held[key], key[1]
            taken = {index for other, its in held.items() if other not in loose for index in _devices(its, other[1])}
            if run_of(job, kind) not in known and taken.intersection(_devices(job, kind)):
                log.warning("claim_too_late", "its devices are another's; giving it back", job_id=job.id, kind=kind)
                await change_job(self._ctx, job.id, lambda now, seen=(job, kind): _given_back(self._ctx, *seen, now))
                self._ctx.signals.scheduling.give()
            else:
                log.warning("run_unfollowed", "it is this node's and nobody follows it", job_id=job.id, kind=kind)
                self.begin(*key)
        return loose

    async def _end_strays(self, held: set[str]) -> None:
        """End runs that are no longer this node's: their jobs went elsewhere, or on, while no daemon was here."""
        for run_id in await self._ctx.runs.known():
            if run_id not in held:
                self._group.create_task(self._end_stray(run_id), name=f"stray {run_id}")

    async def _end_stray(self, run_id: str) -> None:
        if await read_job(self._ctx, job_of(run_id)) is None:
            log.warning("stray_run", "the store has no job of this run; it is left alone", run_id=run_id)
            return
        run = await self._ctx.runs.adopt(run_id)
        if run is not None:
            log.warning("stray_run", "its job went on without it; ending what is left of it", run_id=run_id)
            await end_run(self._ctx, run)
        await self._ctx.runs.forget(run_id)

    def _ended(self, key: Key, *, well: bool) -> None:
        self._tasks.pop(key, None)
        if well and key in self._claimed_anew:
            self._claimed_anew.discard(key)
            self.begin(*key)
        if not any(job_id == key[0] for job_id, _ in self._tasks):
            self._ctx.signals.jobs.pop(key[0], None)

    async def _supervise(self, job_id: str, kind: WorkKind) -> None:
        while True:
            await lease_held(self._ctx)
            job = await read_job(self._ctx, job_id)
            if job is None or kind not in kinds_held(job, self._ctx.node_id):
                return
            try:
                await (
                    supervise_training(self._ctx, job) if kind is WorkKind.TRAIN else supervise_export(self._ctx, job)
                )
            except Exception as error:  # one job's bug must not end the others
                log.crash("supervisor_failed", "a bug; trying again", error, job_id=job_id, kind=kind)
                await self._ctx.clock.sleep(AGAIN_S)


def run_of(job: TrainingJob, kind: WorkKind) -> str:
    """Name of the run record of a job's newest training or export."""
    return run_id_of(job) if kind is WorkKind.TRAIN else export_run_id(job)


def kinds_held(job: TrainingJob, node_id: str) -> tuple[WorkKind, ...]:
    """What of a job runs on a node by its document."""
    trains = job.status in HOLDS_DEVICES and job.node_id == node_id
    exports = job.export_status is ExportStatus.RUNNING and job.internal.export_node_id == node_id
    return ((WorkKind.TRAIN,) if trains else ()) + ((WorkKind.EXPORT,) if exports else ())


def _devices(job: TrainingJob, kind: WorkKind) -> tuple[int, ...]:
    return job.devices if kind is WorkKind.TRAIN else job.internal.export_devices


def _given_back(ctx: Context, seen: TrainingJob, kind: WorkKind, job: TrainingJob) -> TrainingJob | None:
    """Back in the queue, unless it was changed since it was seen."""
    if job.internal.revision != seen.internal.revision:
        return None
    now, by = ctx.clock.now(), ctx.node_id
    if kind is WorkKind.EXPORT:
        return export_lost(job, at=now, by=by)
    resume_from = job.internal.resume_from
    reason = f"it was claimed too late, and others have its devices; it {going_on(resume_from)}"
    return lost(job, reason, resume_from, at=now, by=by)
