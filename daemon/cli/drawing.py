"""Views of jobs as they are drawn: one job in two lines, many as a table with a row each.

Rich leaves colours out where the terminal has none (`NO_COLOR`, `TERM=dumb`, a pipe) and draws in ASCII where it is not
UTF-8; so do the curves here. Nothing of a job steers the terminal (`output.safe`).
"""

from collections.abc import Mapping, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daemon.cli.figures import duration_text, gpu_short, gpu_texts, rate_text, sparkline
from daemon.cli.job_view import JobView
from daemon.cli.output import cell_text, safe
from daemon.cli.tables import short_id
from schemas.enums import ExportStatus, TrainingStatus

BAR_WIDTH = 24
STATE_WIDTH = 13
ROWS_AROUND = 4
"""Lines of the terminal that the table's rows leave: its head, what is not shown, the counts, the prompt."""
WIDE, WIDER = 100, 130
"""Columns of the terminal from which curve and rate, then owner and labels are shown."""
ORDER = ("JOB", "STATE", "PROGRESS", "", "STEP", "LOSS", "CURVE", "RATE", "LEFT", "GPU", "OWNER", "LABELS")

STYLES = {
    TrainingStatus.RUNNING: "green",
    TrainingStatus.STARTING: "cyan",
    TrainingStatus.STOPPING: "yellow",
    TrainingStatus.COMPLETED: "bold green",
    TrainingStatus.FAILED: "bold red",
    TrainingStatus.CANCELLED: "yellow",
}


class JobDrawing:
    """One job: state, bar, percent, step, rate and time left; below them loss, its curve, and the GPUs."""

    def __init__(self, view: JobView) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view = self._view
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=STATE_WIDTH, no_wrap=True)
        grid.add_column(width=BAR_WIDTH, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(_state(view), _bar(view), Text("  ".join(_pace(view))))
        below = _below(view)
        if view.loss is not None or below:
            loss = "" if view.loss is None else f"loss {view.loss:.4f}"
            curve = sparkline(view.curve.values, BAR_WIDTH, ascii_only=options.ascii_only)
            grid.add_row(Text(loss), Text(curve, style="cyan"), Text("  ".join(below)))
        yield grid
        for warning in view.warnings:
            yield Text(f"warning: {safe(warning)}", style="yellow")


class BoardDrawing:
    """Many jobs in a table that fits the terminal, and how many there are of each status."""

    def __init__(self, views: Sequence[JobView], tally: str) -> None:
        self._views = views
        self._tally = tally

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(1, (options.height or console.height) - ROWS_AROUND)
        shown = self._views[:room]
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        columns = _columns(shown, options.max_width, ascii_only=options.ascii_only)
        for name in columns:
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        for row in zip(*columns.values(), strict=True):
            table.add_row(*row)
        yield table if shown else Text("no unfinished jobs; new ones appear here")
        if len(self._views) > len(shown):
            yield Text(f"and {len(self._views) - len(shown)} more", no_wrap=True, overflow="ellipsis")
        yield Text(self._tally, style="dim", no_wrap=True, overflow="ellipsis")


def plain_line(view: JobView) -> str:
    """Where a running job stands, in one line for a pipe."""
    loss = [] if view.loss is None else [f"loss {view.loss:.4f}"]
    return "  ".join([view.doing, *_pace(view), *loss, *gpu_texts(view.gpus)])


def _columns(views: Sequence[JobView], width: int, *, ascii_only: bool) -> Mapping[str, Sequence[RenderableType]]:
    """The table's columns by their heads: those for which there is room, and which say something."""
    wide = width >= WIDE
    found: dict[str, Sequence[RenderableType]] = {
        "JOB": [Text(short_id(view.job_id)) for view in views],
        "STATE": [_state(view) for view in views],
        "PROGRESS": [ProgressBar(completed=view.percent, width=16 if wide else 10) for view in views],
        "": [Text(f"{view.percent:3.0f}%") for view in views],
        "STEP": [Text(_steps(view)) for view in views],
        "LOSS": [Text("" if view.loss is None else f"{view.loss:.4f}") for view in views],
        "LEFT": [Text(_left(view)) for view in views],
        "GPU": [Text(gpu_short(view.gpus)) for view in views],
    }
    if wide:
        found["CURVE"] = [Text(sparkline(view.curve.values, 16, ascii_only=ascii_only), style="cyan") for view in views]
        found["RATE"] = [Text(rate_text(view.seconds_per_step)) for view in views]
    if width >= WIDER:
        found["OWNER"] = [Text(cell_text(view.owner)) for view in views]
        found["LABELS"] = [Text(cell_text(view.labels)) for view in views]
    return {name: found[name] for name in ORDER if name in found and any(map(_says_something, found[name]))}


def _says_something(cell: RenderableType) -> bool:
    return not isinstance(cell, Text) or bool(cell.plain)


def _state(view: JobView) -> Text:
    failed = view.ended and view.export is ExportStatus.FAILED
    return Text("export failed" if failed else view.doing, style="red" if failed else STYLES.get(view.status, ""))


def _bar(view: JobView) -> ProgressBar:
    return ProgressBar(completed=view.percent, width=BAR_WIDTH)


def _steps(view: JobView) -> str:
    return f"{view.step}/{view.total_steps}" if view.total_steps else ""


def _left(view: JobView) -> str:
    return duration_text(view.remaining_seconds) if view.status is TrainingStatus.RUNNING else ""


def _pace(view: JobView) -> list[str]:
    left = _left(view)
    parts = [f"{view.percent:3.0f}%", _steps(view), rate_text(view.seconds_per_step), f"{left} left" if left else ""]
    return [part for part in parts if part]


def _below(view: JobView) -> list[str]:
    rate = [] if view.learning_rate is None else [f"lr {view.learning_rate:.3g}"]
    return [*rate, *gpu_texts(view.gpus)]
