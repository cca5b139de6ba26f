"""The recorder: writes what the log reader learned, beside it, so that an outage of the store never stops the reading.

Moves and checkpoints are written at once and in order; the newest progress and the curve at most once a second, the
points before the offset that says they are stored. When the store is away they wait here; when too much waits, the
reader waits as well, and the log file keeps the rest.
"""

from collections import deque
from collections.abc import Awaitable, Callable

from daemon.loops.context import Context, Step, change_job, persistently
from daemon.loops.hints import Hint
from schemas.jobs import MetricPoint

INTERVAL_S = 1.0
IDLE_WAIT_S = 60.0
MOST_POINTS = 5000


class Recorder:
    """Writes one attempt's progress, curve and moves."""

    def __init__(self, ctx: Context, job_id: str, attempt: int) -> None:
        self._ctx = ctx
        self._job_id = job_id
        self._attempt = attempt
        self._steps: deque[Step] = deque()
        self._points: list[MetricPoint] = []
        self._values: dict[str, object] = {}
        self._wake = Hint()
        self._room = Hint()
        self._closing = False
        self._written_at = -INTERVAL_S

    def step(self, step: Step) -> None:
        """Change the job's document, in the order of the calls."""
        self._steps.append(step)
        self._wake.give()

    def progress(self, values: dict[str, object]) -> None:
        """Set plain fields of the document, soon; newer values replace waiting ones."""
        self._values.update(values)
        self._wake.give()

    def point(self, point: MetricPoint) -> None:
        """Add a point to the curve, soon."""
        self._points.append(point)
        self._wake.give()

    async def wait_room(self) -> None:
        """Wait while too many points are unwritten."""
        while len(self._points) >= MOST_POINTS:
            await self._room.wait(self._ctx.clock, INTERVAL_S)

    def close(self) -> None:
        """Nothing more will come: `run` writes what waits and returns."""
        self._closing = True
        self._wake.give()

    async def run(self) -> None:
        """Write until closed and everything is written."""
        while True:
            await self._write_steps()
            waiting = bool(self._values or self._points)
            due_in_s = self._written_at + INTERVAL_S - self._ctx.clock.monotonic()
            if waiting and (self._closing or due_in_s <= 0):
                await self._flush()
            elif self._closing and not self._steps:
                return
            else:
                await self._wake.wait(self._ctx.clock, due_in_s if waiting else IDLE_WAIT_S)

    async def _flush(self) -> None:
        self._written_at = self._ctx.clock.monotonic()
        points, values = self._points[:], self._values
        self._values = {}
        if points:
            await self._persist("the training curve", lambda: self._ctx.store.add_points(self._job_id, points))
            del self._points[: len(points)]
            self._room.give()
        if values:
            await self._persist(
                "the progress", lambda: self._ctx.store.note_progress(self._job_id, self._attempt, values)
            )

    async def _write_steps(self) -> None:
        while self._steps:
            step = self._steps[0]
            await self._persist("a change of the job", lambda step=step: change_job(self._ctx, self._job_id, step))
            self._steps.popleft()

    async def _persist(self, what: str, call: Callable[[], Awaitable[object]]) -> None:
        await persistently(self._ctx, what, call, job_id=self._job_id)
