"""The tracker of one training attempt: turns log lines into progress, events, points and checkpoints.

It decides nothing about the job's end; it hands what it learned to the recorder (for the document) and to the bus (for
subscribers), and keeps the evidence from which a failure is explained. What waited through an outage is written after
it, so each change of the document looks first whether the job is still in this attempt.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from daemon.core.lifecycle import Cause
from daemon.core.moves import about, checkpoint_seen, move, source_of
from daemon.core.progress import Progress, logged, progress_fields
from daemon.core.watchdog import bad_losses
from daemon.logs import get_log
from daemon.loops.context import Context, persistently
from daemon.loops.curve import FullMetrics
from daemon.loops.recorder import Recorder
from daemon.metrics import PROGRESS_EVENTS
from daemon.ports import UnavailableError
from daemon.swift.checkpoints import best_of, complete, step_of
from daemon.swift.failures import Evidence
from daemon.swift.lines import Line, LineSplitter
from daemon.swift.records import CheckpointSaving, LogParser, Metrics, PhaseSeen, TrainingBegan
from schemas.enums import Phase, TrainingStatus
from schemas.events import PROGRESS_TYPE, CloudEvent, ProgressData
from schemas.jobs import MetricPoint, TrainingJob

log = get_log("tracking")

RECALLED_BYTES = 256 * 1024
LONGEST_RECALL_S = 30.0


class Tracker:
    """Follows one attempt through its log."""

    def __init__(self, ctx: Context, job: TrainingJob, recorder: Recorder) -> None:
        self._ctx = ctx
        self._job = job
        self._about = about(job)
        self._recorder = recorder
        self._parser = LogParser()
        self._full = FullMetrics(ctx.files, job.internal.metrics_offset)
        self._number = 0
        self._expected: set[int] = set()
        self._told = job.internal.checkpoint_step
        self.run_dir = Path(job.run_dir or job.output_dir)
        self.evidence = Evidence()
        self.heard_at = ctx.clock.monotonic()
        """When the run last wrote something."""
        self.bad_losses = 0
        """Logged steps in a row with a loss that is no number."""
        self.checkpoint_mib = 0.0
        """Size of the newest checkpoint on disk, of whichever attempt."""
        self._warnings: dict[str, str] = {}
        self.progress = Progress(
            phase=job.phase or Phase.LOADING,
            step=job.current_step,
            total_steps=job.total_steps,
            percent=job.progress,
            epoch=job.current_epoch,
            loss=job.loss,
            grad_norm=job.grad_norm,
            learning_rate=job.current_learning_rate,
            token_acc=job.token_acc,
            eval=job.eval_metrics,
            memory_gib=job.memory_gib,
            seconds_per_step=job.seconds_per_step,
            remaining_s=job.estimated_time_remaining,
        )

    @property
    def expects_checkpoint(self) -> bool:
        """Whether ms-swift said that it saves one that is not complete yet."""
        return bool(self._expected)

    def begin(self) -> None:
        """Tell where the attempt is before it has written anything, or where an earlier daemon left it."""
        self._tell({})

    async def recall(self, path: Path) -> None:
        """Learn again what an earlier daemon has read of this attempt's log: the evidence, what its lines belong to,
        and which checkpoints were being written."""
        end = self._job.internal.log_offset
        begin = max(self._job.internal.attempt_offset, end - RECALLED_BYTES)
        if begin < end:
            for line in LineSplitter(begin).feed(await self._read(path, begin, end - begin)):
                if not line.carriage:
                    self.evidence.feed(line.text)
                for record in self._parser.feed(line):
                    if isinstance(record, CheckpointSaving) and record.step > self._told:
                        self._expected.add(record.step)

    async def _read(self, path: Path, offset: int, limit: int) -> bytes:
        """A part of the log; empty where it can't be read for a while, so that a stop need not wait for it."""

        async def read() -> bytes:
            return await self._ctx.files.read(path, offset, limit)

        try:
            return await persistently(self._ctx, "the log so far", read, limit_s=LONGEST_RECALL_S, job_id=self._job.id)
        except UnavailableError as error:
            log.warning("log_forgotten", f"what it said before is not known: {error}", job_id=self._job.id)
            return b""

    async def handle(self, lines: list[Line]) -> None:
        """Take the next lines of the log."""
        self.heard_at = self._ctx.clock.monotonic()
        for line in lines:
            if not line.carriage:
                self.evidence.feed(line.text)
            for record in self._parser.feed(line):
                match record:
                    case Metrics():
                        await self._metrics(record)
                    case TrainingBegan():
                        self._recorder.step(self._began)
                        self._enter(Phase.TRAINING)
                    case PhaseSeen():
                        self._enter(record.phase)
                    case CheckpointSaving():
                        self._expected.add(record.step)
                        self._enter(Phase.SAVING)
                    case _:
                        assert_never(record)
        self._recorder.progress({"internal.log_offset": lines[-1].end})
        await self._recorder.wait_room()

    def warn(self, kind: str, text: str | None) -> None:
        """Say that something is wrong, once for as long as it is; None: it is well again."""
        if (kind in self._warnings) == (text is not None):
            return
        if text is None:
            del self._warnings[kind]
        else:
            self._warnings[kind] = text
            log.warning("job_warned", text, job_id=self._job.id, kind=kind)
        self._recorder.progress({"warnings": tuple(self._warnings.values())})
        self._tell({})

    def log_away(self, why: str | None) -> None:
        """The log can't be read, which is no silence; None: it can be again."""
        self.heard_at = self._ctx.clock.monotonic()
        self.warn("log", None if why is None else f"log: {why}")

    async def look_at_last(self, wait_s: float) -> None:
        """Look for checkpoints when the run has ended, and wait so long for a file system that is away."""
        try:
            await persistently(
                self._ctx,
                "the look for checkpoints",
                self.look_for_checkpoints,
                limit_s=wait_s,
                job_id=self._job.id,
            )
        except UnavailableError as error:
            log.warning("checkpoints_unseen", f"they stay untold: {error}", job_id=self._job.id)

    async def look_for_checkpoints(self) -> None:
        """Tell of checkpoints that are complete on disk and were not told of. Raises `UnavailableError`."""
        folders = await self._ctx.files.checkpoints(self.run_dir)
        whole = complete(folders)
        best = best_of(whole)
        self.checkpoint_mib = whole[-1].size_mib if whole else 0.0
        for folder in whole:
            step = step_of(folder.path)
            if step is None or step <= self._told:
                continue
            self._told = step
            self._recorder.step(lambda job, path=str(folder.path), step=step: self._checkpoint(job, path, step, best))
        self._expected = {step for step in self._expected if step > self._told}

    def _began(self, job: TrainingJob) -> TrainingJob | None:
        if job.attempt != self._job.attempt or job.status is not TrainingStatus.STARTING:
            return None
        return move(job, Cause.TRAIN, at=self._ctx.clock.now(), by=self._ctx.node_id, reason="training has begun")

    def _checkpoint(self, job: TrainingJob, path: str, step: int, best: str | None) -> TrainingJob | None:
        if job.attempt != self._job.attempt or step <= job.internal.checkpoint_step:
            return None
        return checkpoint_seen(job, path, step, best, at=self._ctx.clock.now(), by=self._ctx.node_id)

    def _enter(self, phase: Phase) -> None:
        if phase is not self.progress.phase:
            self.progress = replace(self.progress, phase=phase)
            self._recorder.progress({"phase": phase})
            self._tell({})

    async def _metrics(self, printed: Metrics) -> None:
        record = await self._full.take(printed, self.run_dir)
        if record.kind == "train":
            self.bad_losses = bad_losses(self.bad_losses, record.values.get("loss"))
            self.progress = replace(self.progress, phase=Phase.TRAINING)
        elif record.kind == "eval":
            self.progress = replace(self.progress, phase=Phase.EVALUATING)
        before = self.progress
        self.progress = logged(
            before,
            step=record.step,
            total_steps=record.total_steps,
            values=record.values,
            elapsed_s=record.elapsed_s,
            remaining_s=record.remaining_s,
        )
        if record.kind != "summary" and record.step is not None:
            self._recorder.point(self._point(record, record.step))
        self._recorder.progress(self._fields())
        self._tell(record.values if record.kind == "train" else {})

    def _point(self, record: Metrics, step: int) -> MetricPoint:
        values: Mapping[str, float] = record.values if record.kind == "train" else {}
        evals = {key: value for key, value in record.values.items() if key.startswith("eval_")}
        return MetricPoint(
            step=step,
            epoch=record.values.get("epoch"),
            loss=values.get("loss"),
            grad_norm=values.get("grad_norm"),
            learning_rate=values.get("learning_rate"),
            token_acc=values.get("token_acc"),
            memory_gib=values.get("memory_gib"),
            seconds_per_step=values.get("seconds_per_step"),
            eval=evals if record.kind == "eval" else {},
            attempt=self._job.attempt,
            time=self._ctx.clock.now(),
        )

    def _fields(self) -> dict[str, object]:
        """The progress as fields of the document."""
        return {**progress_fields(self.progress), "internal.metrics_offset": self._full.offset}

    def _tell(self, given: Mapping[str, float]) -> None:
        """Publish where the attempt is; the metric values only where this step logged them."""
        now = self.progress
        data = ProgressData(
            **self._about,
            phase=now.phase,
            step=now.step,
            total_steps=now.total_steps,
            percent=now.percent,
            epoch=now.epoch,
            loss=_finite(given.get("loss")),
            grad_norm=_finite(given.get("grad_norm")),
            learning_rate=given.get("learning_rate"),
            token_acc=given.get("token_acc"),
            eval={key: value for key, value in now.eval.items() if math.isfinite(value)},
            memory_gib=now.memory_gib,
            seconds_per_step=now.seconds_per_step,
            elapsed_seconds=now.elapsed_s,
            remaining_seconds=now.remaining_s,
            gpus=self._ctx.board.use_of(self._job.devices),
            warnings=tuple(self._warnings.values()),
        )
        self._number += 1
        event = CloudEvent(
            id=f"{data.job_id}-{data.attempt}-progress-{now.step}-{now.phase}-{self._number}",
            source=source_of(self._ctx.node_id),
            type=PROGRESS_TYPE,
            subject=data.job_id,
            time=self._ctx.clock.now(),
            data=data.model_dump(mode="json"),
        )
        self._ctx.bus.publish_live(f"job.{data.job_id}.progress", event)
        self._ctx.meters.add(PROGRESS_EVENTS)


def _finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity: they are null there (the document keeps them)."""
    return value if value is not None and math.isfinite(value) else None
