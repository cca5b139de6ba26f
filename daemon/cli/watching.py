"""A job as a live progress bar, drawn from its events.

The document is read once; from there on events alone move the bar, over outages of the broker as well. Where nothing
can be drawn (a pipe, a terminal that can't move its cursor) there is a line for each status and each tenth of the way.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from daemon.cli.drawing import JobDrawing, plain_line
from daemon.cli.job_view import CURVE_POINTS, JobView, line_of, lines_of, view_of
from daemon.cli.output import safe
from daemon.client import Client
from schemas.events import PROGRESS_TYPE, CloudEvent
from schemas.jobs import TrainingJob

REDRAW_S = 0.2
PERCENT_PER_LINE = 10.0


async def watch_job(
    client: Client, job_id: str, console: Console | None = None, tell: Callable[[CloudEvent], None] | None = None
) -> JobView:
    """Follow a job until it has ended and no export of it is under way; how it ended.

    `tell` gets each event as it comes.
    """
    shown = console or Console()
    after = await client.newest_sequence(job_id)  # before the document, so that no event falls between
    job = await client.get(job_id)
    view = await with_curve(client, job)
    told_percent = view.percent
    for line in lines_of(job):
        say_on(shown, line)
    async with (
        redrawn(shown, lambda: JobDrawing(view)) as animated,
        aclosing(client.watch(job_id, after=after, log=tell is not None)) as events,
    ):
        async for event in events:
            view = view.after(event)
            if tell is not None:
                tell(event)
            line = line_of(event)
            if line is None and not animated and event.type == PROGRESS_TYPE:
                line, told_percent = _sparse(view, told_percent)
            if line is not None:
                say_on(shown, line)
    if not animated and view.total_steps:
        say_on(shown, plain_line(view))
    return view


async def with_curve(client: Client, job: TrainingJob) -> JobView:
    """A job's view with the curve that it has so far."""
    points = (await client.metrics(job, max_points=CURVE_POINTS - 1)).points if job.current_step else ()
    return view_of(job, (point.loss for point in points))


def can_animate(console: Console) -> bool:
    """Whether something can be drawn over and over at the same place."""
    return console.is_terminal and not console.is_dumb_terminal and not console.quiet


@asynccontextmanager
async def redrawn(console: Console, draw: Callable[[], RenderableType]) -> AsyncGenerator[bool]:
    """Draw at the foot of the terminal, anew while the block lasts; yields whether that can be done here."""
    if not can_animate(console):
        yield False
        return
    with Live(draw(), console=console, auto_refresh=False) as live:
        ticking = asyncio.create_task(_tick(live, draw), name="drawing")
        try:
            yield True
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
            live.update(draw(), refresh=True)


async def _tick(live: Live, draw: Callable[[], RenderableType]) -> None:
    while True:
        await asyncio.sleep(REDRAW_S)
        live.update(draw(), refresh=True)


def say_on(console: Console, text: str) -> None:
    """A line above what is drawn, unfolded in a pipe."""
    console.print(Text(safe(text)), highlight=False, soft_wrap=True)


def _sparse(view: JobView, told_percent: float) -> tuple[str | None, float]:
    """A line where another tenth of the way is done, and the percent that was told last."""
    if view.percent < told_percent:  # a new attempt that began anew
        told_percent = view.percent
    if view.percent // PERCENT_PER_LINE <= told_percent // PERCENT_PER_LINE:
        return None, told_percent
    return plain_line(view), view.percent
