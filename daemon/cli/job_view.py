"""What is shown of a job, as a value: made from its document, from then on by its events alone. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import ValidationError

from daemon.core.lifecycle import ENDED, EXPORT_UNDER_WAY
from schemas.enums import ExportStatus, Phase, TrainingStatus
from schemas.events import (
    EXPORT_TYPE,
    PROGRESS_TYPE,
    STATUS_TYPE,
    CloudEvent,
    ExportData,
    GpuUse,
    ProgressData,
    StatusData,
)
from schemas.jobs import TrainingJob

EXPORTING = "exporting"
"""What a job does that has ended, and whose export is under way."""
CURVE_POINTS = 64
"""Values of a curve that are kept; twice a line's width at most."""


@dataclass(frozen=True)
class Curve:
    """A training's losses from the first to the newest: when there are too many, each two become their mean."""

    values: tuple[float, ...] = ()
    stride: int = 1
    """Losses behind each value."""
    begun: tuple[float, ...] = ()
    """Losses of the value that is not full yet."""

    def with_loss(self, loss: float) -> "Curve":
        """The curve with one more loss; one that is no number is left out."""
        if not math.isfinite(loss):
            return self
        begun = (*self.begun, loss)
        if len(begun) < self.stride:
            return replace(self, begun=begun)
        values = (*self.values, sum(begun) / len(begun))
        if len(values) < CURVE_POINTS:
            return Curve(values, self.stride)
        return Curve(
            tuple((one + two) / 2 for one, two in zip(values[::2], values[1::2], strict=True)), 2 * self.stride
        )


@dataclass(frozen=True)
class JobView:
    """Where a job stands, for a person who watches it."""

    job_id: str
    owner: str | None
    labels: Mapping[str, str]
    status: TrainingStatus
    export: ExportStatus
    said: str
    """Why it is where it is: the reason of the newest status, or the line of its failure."""
    created_at: datetime
    phase: Phase | None = None
    step: int = 0
    total_steps: int | None = None
    percent: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: float | None = None
    remaining_seconds: float | None = None
    gpus: tuple[GpuUse, ...] = ()
    warnings: tuple[str, ...] = ()
    curve: Curve = field(default_factory=Curve)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self.status in ENDED and self.export not in EXPORT_UNDER_WAY

    @property
    def succeeded(self) -> bool:
        """Whether it completed, and its export too where it has one."""
        return self.status is TrainingStatus.COMPLETED and self.export is not ExportStatus.FAILED

    @property
    def doing(self) -> str:
        """One word: the phase while it runs, `exporting`, or its status."""
        if self.status in ENDED and self.export in EXPORT_UNDER_WAY:
            return EXPORTING
        if self.status is TrainingStatus.RUNNING and self.phase is not None:
            return self.phase.value
        return self.status.value

    def after(self, event: CloudEvent) -> "JobView":
        """The view with what an event tells; one that is not understood (a newer daemon's) changes nothing."""
        try:
            return self._after(event)
        except ValidationError:
            return self

    def _after(self, event: CloudEvent) -> "JobView":
        if event.type == STATUS_TYPE:
            told = StatusData.model_validate(event.data)
            return replace(
                self,
                status=told.status,
                said=told.error_message or told.reason,
                percent=100.0 if told.status is TrainingStatus.COMPLETED else self.percent,
                gpus=() if told.status in ENDED or told.status is TrainingStatus.QUEUED else self.gpus,
            )
        if event.type == EXPORT_TYPE:
            return replace(self, export=ExportData.model_validate(event.data).export_status)
        if event.type == PROGRESS_TYPE:
            return self._with_progress(ProgressData.model_validate(event.data))
        return self

    def _with_progress(self, now: ProgressData) -> "JobView":
        return replace(
            self,
            phase=now.phase,
            step=now.step,
            total_steps=now.total_steps,
            percent=now.percent,
            loss=self.loss if now.loss is None else now.loss,
            learning_rate=self.learning_rate if now.learning_rate is None else now.learning_rate,
            seconds_per_step=now.seconds_per_step,
            remaining_seconds=now.remaining_seconds,
            gpus=now.gpus,
            warnings=now.warnings,
            curve=self.curve if now.loss is None else self.curve.with_loss(now.loss),
        )


def view_of(job: TrainingJob, losses: Iterable[float | None] = ()) -> JobView:
    """A job as its document has it; `losses` are those of its stored curve."""
    curve = Curve()
    for loss in losses:
        curve = curve if loss is None else curve.with_loss(loss)
    return JobView(
        job_id=job.id,
        owner=job.owner,
        labels=job.labels,
        status=job.status,
        export=job.export_status,
        said=job.error_message or job.wait_reason or "",
        created_at=job.created_at,
        phase=job.phase,
        step=job.current_step,
        total_steps=job.total_steps,
        percent=job.progress,
        loss=job.loss,
        learning_rate=job.current_learning_rate,
        seconds_per_step=job.seconds_per_step,
        remaining_seconds=job.estimated_time_remaining,
        warnings=job.warnings,
        curve=curve,
    )


def lines_of(job: TrainingJob) -> list[str]:
    """What is said of a job before any event came."""
    said = [f"{job.status}: {job.error_message or job.wait_reason or 'as it stands now'}"]
    return said if job.export_status is ExportStatus.NONE else [*said, _export_line(job)]


def line_of(event: CloudEvent) -> str | None:
    """What is said of an event; None: nothing."""
    try:
        if event.type == STATUS_TYPE:
            told = StatusData.model_validate(event.data)
            return f"{told.status}: {told.error_message or told.reason}"
        if event.type == EXPORT_TYPE:
            return _export_line(ExportData.model_validate(event.data))
    except ValidationError:
        return f"{event.type}: not understood; is this client much older than the daemon?"
    return None


def _export_line(told: ExportData | TrainingJob) -> str:
    more = told.export_error or told.export_path
    return f"export {told.export_status}" + (f": {more}" if more else "")
