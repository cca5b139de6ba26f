"""What happens beside the reading of a run: stop orders, the deadline, the watchdogs, checkpoints on disk.

The document is looked at for a stop, hint or no hint. What the daemon itself ends a run for is written into the
document as well, so that the verdict is the same when another daemon has to give it.
"""

from daemon.core.moves import with_internal
from daemon.core.watchdog import hopeless, short_of_disk, silence
from daemon.logs import get_log
from daemon.loops.context import Context
from daemon.loops.following import Deadline
from daemon.loops.hints import Hint
from daemon.loops.recorder import Recorder
from daemon.loops.tracking import Tracker
from daemon.ports import Run, UnavailableError
from schemas.enums import ErrorCode
from schemas.jobs import StopOrder, StoppedFor, TrainingJob

log = get_log("supervising")

CHECKPOINT_POLL_S = 0.5
HEALTH_POLL_S = 5.0
DISK_POLL_S = 60.0


class Watching:
    """Watches one attempt; `orders`, `health` and `checkpoints` run side by side until it has ended."""

    def __init__(self, ctx: Context, job: TrainingJob, run: Run, tracker: Tracker, recorder: Recorder) -> None:
        self._ctx = ctx
        self._job = job
        self._run = run
        self._tracker = tracker
        self._recorder = recorder
        self._limits = ctx.settings.limits
        self._hint = ctx.signals.jobs.setdefault(job.id, Hint())
        already_s = (ctx.clock.now() - (job.started_at or ctx.clock.now())).total_seconds()
        self._deadline = Deadline(ctx, job.timeout_seconds, already_s)
        self._ordered_grace_s: float | None = None
        self.stopped_for: StoppedFor | None = job.internal.stopped_for
        """Why the daemon itself ended the run."""

    # ------------------------------------------------------------ stops

    async def orders(self) -> None:
        """Carry out a stop as soon as the document asks for it, or the deadline has passed."""
        while True:
            order = await self._order()
            before_s = self._ordered_grace_s
            if order is not None and (before_s is None or order.grace_s < before_s):
                self._ordered_grace_s = order.grace_s
                save = order.save and "graceful_exit" in self._job.swift_argv
                log.info("run_stopping", "stopping", job_id=self._job.id, grace_s=order.grace_s, save=save)
                await self._run.stop(grace_s=order.grace_s, save=save)
            elif self._deadline.passed:
                limit = f"timeout_seconds ({self._job.timeout_seconds:g} s) has passed"
                await self._stop_for(ErrorCode.TIMEOUT, f"stopped at step {self._tracker.progress.step}: {limit}")
            poll_s = self._ctx.settings.poll_seconds
            await self._hint.wait(self._ctx.clock, poll_s if self._ending else self._deadline.wait_s(poll_s))

    @property
    def _ending(self) -> bool:
        return self._ordered_grace_s is not None or self.stopped_for is not None

    async def _order(self) -> StopOrder | None:
        """The stop that the document asks for, of a person's or to give way to another job. While the store is away
        there is none, and the deadline holds."""
        try:
            job = await self._ctx.store.get_job(self._job.id)
        except UnavailableError as error:
            log.debug("orders_wait", str(error), job_id=self._job.id)
            return None
        if job is None or job.attempt != self._job.attempt:
            return None
        yielding = job.internal.preemption
        if job.internal.stop is not None or yielding is None:
            return job.internal.stop
        return StopOrder(grace_s=yielding.grace_s, save=True, requested_at=yielding.requested_at)

    async def _stop_for(self, code: ErrorCode, message: str) -> None:
        """End the run for a reason of our own, unless it is being ended already."""
        if self._ending:
            return
        reason = self.stopped_for = StoppedFor(error_code=code, message=message)
        log.warning("run_stopped", message, job_id=self._job.id, error_code=code)
        attempt = self._job.attempt
        self._recorder.step(lambda job: with_internal(job, stopped_for=reason) if job.attempt == attempt else None)
        await self._run.stop(grace_s=self._ctx.settings.stop_grace_seconds, save=False)

    # ------------------------------------------------------------ watchdogs

    async def health(self) -> None:
        """Look for silence, a loss that is no number, and a disk that fills up."""
        disk_at = self._ctx.clock.monotonic()
        while True:
            await self._look_for_silence()
            bad = hopeless(self._tracker.bad_losses, self._tracker.progress.step, self._limits)
            if bad is not None:
                await self._stop_for(ErrorCode.NAN_LOSS, bad)
            if self._ctx.clock.monotonic() >= disk_at:
                disk_at = self._ctx.clock.monotonic() + DISK_POLL_S
                free = await self._ctx.files.free_mib(self._tracker.run_dir)
                short = None if free is None else short_of_disk(free, self._tracker.checkpoint_mib, self._limits)
                self._tracker.warn("disk", short)
            await self._ctx.clock.sleep(HEALTH_POLL_S)

    async def _look_for_silence(self) -> None:
        progress = self._tracker.progress
        silent_s = self._ctx.clock.monotonic() - self._tracker.heard_at
        stalled = silence(silent_s, progress.phase, progress.step, self._limits)
        self._tracker.warn("stalled", stalled)
        if stalled is not None and self._ctx.settings.stall_policy == "stop":
            await self._stop_for(ErrorCode.STALLED, stalled)

    # ------------------------------------------------------------ checkpoints

    async def checkpoints(self) -> None:
        """Look for a checkpoint on disk: at first, for what was saved while no daemon ran, and while one is written."""
        seen = False
        while True:
            if not seen or self._tracker.expects_checkpoint:
                seen = await self._looked()
            await self._ctx.clock.sleep(CHECKPOINT_POLL_S)

    async def _looked(self) -> bool:
        """Look once; False: nobody can tell for now what is there."""
        try:
            await self._tracker.look_for_checkpoints()
        except UnavailableError as error:
            self._tracker.warn("checkpoints", f"checkpoints: {error}")
            return False
        self._tracker.warn("checkpoints", None)
        return True
