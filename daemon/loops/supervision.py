"""The supervisors: one named task for each training and export that runs on this node.

A supervisor that fails is a bug; it is told of loudly and taken up again after a pause, because its training goes on
and the other jobs have nothing to do with it.
"""

import asyncio

from daemon.core.lifecycle import HOLDS_DEVICES
from daemon.core.work import WorkKind
from daemon.logs import get_log
from daemon.loops.context import Context, persistently
from daemon.loops.exporting import supervise_export
from daemon.loops.following import read_job
from daemon.loops.training import supervise_training
from schemas.enums import ExportStatus
from schemas.jobs import TrainingJob

log = get_log("supervision")

AGAIN_S = 30.0


class Supervision:
    """Holds the supervisors of this node inside a task group."""

    def __init__(self, ctx: Context, group: asyncio.TaskGroup) -> None:
        self._ctx = ctx
        self._group = group
        self._tasks: dict[tuple[str, WorkKind], asyncio.Task[None]] = {}

    @property
    def running(self) -> int:
        """Number of runs that are followed."""
        return len(self._tasks)

    def begin(self, job_id: str, kind: WorkKind) -> None:
        """Follow a claimed training or export; nothing happens where it is followed already."""
        key = (job_id, kind)
        if key not in self._tasks:
            task = self._group.create_task(self._supervise(job_id, kind), name=f"{kind} {job_id}")
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._ended(key))

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
        return len(jobs)

    def _ended(self, key: tuple[str, WorkKind]) -> None:
        self._tasks.pop(key, None)
        if not any(job_id == key[0] for job_id, _ in self._tasks):
            self._ctx.signals.jobs.pop(key[0], None)

    async def _supervise(self, job_id: str, kind: WorkKind) -> None:
        while True:
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


def kinds_held(job: TrainingJob, node_id: str) -> tuple[WorkKind, ...]:
    """What of a job runs on a node by its document."""
    trains = job.status in HOLDS_DEVICES and job.node_id == node_id
    exports = job.export_status is ExportStatus.RUNNING and job.internal.export_node_id == node_id
    return ((WorkKind.TRAIN,) if trains else ()) + ((WorkKind.EXPORT,) if exports else ())
