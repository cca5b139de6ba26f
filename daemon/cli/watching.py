"""A job as a live progress bar, drawn from its events.

The document is read once; from there on events alone move the bar, over outages of the broker as well. A job
without a terminal to draw on prints its status lines and no bar.
"""

from collections.abc import Callable
from contextlib import aclosing

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from daemon.cli.output import safe
from daemon.client import Client, Json
from daemon.core.lifecycle import EXPORT_UNDER_WAY
from schemas.enums import ExportStatus, TrainingStatus
from schemas.events import EXPORT_TYPE, PROGRESS_TYPE, STATUS_TYPE, CloudEvent


async def watch_job(
    client: Client, job_id: str, console: Console | None = None, tell: Callable[[CloudEvent], None] | None = None
) -> bool:
    """Follow a job until it has ended and no export of it is under way; whether it (and the export) completed.

    `tell` gets each event as it comes.
    """
    after = await client.newest_sequence(job_id)  # before the document, so that no event falls between
    view = _View(console or Console(), await client.call("job.get", {"job_id": job_id}))
    with view.bar:
        view.begin()
        async with aclosing(client.watch(job_id, after=after, log=tell is not None)) as events:
            async for event in events:
                view.take(event)
                if tell is not None:
                    tell(event)
    return view.status is TrainingStatus.COMPLETED and view.export is not ExportStatus.FAILED


class _View:
    """What the bar shows of a job."""

    def __init__(self, console: Console, job: Json) -> None:
        self._job = job
        self.status = TrainingStatus(job["status"])
        self.export = ExportStatus(job["export_status"])
        self.bar = Progress(
            TextColumn("{task.description:<13}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
        )
        self._progress: Json = {
            "phase": job["phase"],
            "step": job["current_step"],
            "total_steps": job["total_steps"],
            "percent": job["progress"],
        }
        self._loss: float | None = job["loss"]
        self._task: TaskID = self.bar.add_task("", total=100.0, figures="")

    def begin(self) -> None:
        """Show where the job stands before any event came."""
        job = self._job
        self._say(f"{self.status}: {job['error_message'] or job['wait_reason'] or 'as it stands now'}")
        if self.export is not ExportStatus.NONE:
            self._say_export(job)
        self.draw()

    def take(self, event: CloudEvent) -> None:
        """Show what an event tells."""
        data: Json = dict(event.data)
        if event.type == STATUS_TYPE:
            self.status = TrainingStatus(data["status"])
            self._say(f"{data['status']}: {data['error_message'] or data['reason']}")
        elif event.type == EXPORT_TYPE:
            self.export = ExportStatus(data["export_status"])
            self._say_export(data)
        elif event.type == PROGRESS_TYPE:
            self._progress = data
            self._loss = data["loss"] if data["loss"] is not None else self._loss
        self.draw()

    def draw(self) -> None:
        """Bring the bar up to date."""
        now = self._progress
        shown = str(now["phase"] or "") if self.status is TrainingStatus.RUNNING else str(self.status)
        if self.status is TrainingStatus.COMPLETED and self.export in EXPORT_UNDER_WAY:
            shown = "merging"
        percent = 100.0 if self.status is TrainingStatus.COMPLETED else float(now["percent"] or 0.0)
        self.bar.update(self._task, description=shown, completed=percent, figures=self._figures())

    def _figures(self) -> str:
        now = self._progress
        parts = [f"{now['step']}/{now['total_steps']}"] if now["total_steps"] else []
        if self._loss is not None:
            parts.append(f"loss {self._loss:.4f}")
        if now.get("seconds_per_step"):
            parts.append(f"{now['seconds_per_step']:.2f} s/step")
        if now.get("remaining_seconds") and self.status is TrainingStatus.RUNNING:
            parts.append(f"{now['remaining_seconds']:.0f} s left")
        return "  ".join(parts)

    def _say_export(self, told: Json) -> None:
        more = told["export_error"] or told["export_path"]
        self._say(f"export {told['export_status']}" + (f": {more}" if more else ""))

    def _say(self, text: str) -> None:
        self.bar.console.print(escape(safe(text)), highlight=False, soft_wrap=True)
