"""The log reader: follows one run's log file and hands on its lines as they come.

It reads as fast as the file grows, in bounded chunks, so memory stays flat whatever is written. Lines also go out as
`log` events, at most one per 100 ms and job; a terminal would show only the last state of a progress bar, and so does a
batch. What does not fit into a batch is left out and counted: the file has it.

A file that can't be read for now is waited for: that nothing is read then does not mean that there is nothing. When its
run has ended, it is waited for no longer than for `LONGEST_AWAY_S`, because the run's devices wait as well.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from daemon.core.masking import mask
from daemon.core.moves import About, about, source_of
from daemon.logs import get_log
from daemon.loops.context import Context
from daemon.metrics import LOG_READ
from daemon.ports import UnavailableError, Watch
from daemon.swift.lines import Line, LineSplitter
from schemas.events import LOG_TYPE, CloudEvent, LogData
from schemas.jobs import TrainingJob

log = get_log("reading")

CHUNK_BYTES = 64 * 1024
TURN_BYTES = 8 * 1024
"""Taken at once; then the others have their turn, because so much may be thousands of empty lines."""
BATCH_INTERVAL_S = 0.1
BATCH_LINES = 200
BATCH_BYTES = 64 * 1024
IDLE_POLL_S = 1.0
LONGEST_AWAY_S = 600.0
"""How long the file system of a run that has ended is waited for."""

Handle = Callable[[list[Line]], Awaitable[None]]
TellAway = Callable[[str | None], None]
"""Told why the log can't be read, at every try; None: it can be again."""


def _tell_nobody(_why: str | None) -> None:
    pass


class LogReader:
    """Follows a log file from an offset until its run has ended and everything is read."""

    def __init__(
        self,
        ctx: Context,
        job: TrainingJob,
        path: Path,
        offset: int,
        handle: Handle,
        *,
        tell_away: TellAway = _tell_nobody,
        live: bool = True,
    ) -> None:
        self._ctx = ctx
        self._path = path
        self._position = offset
        self._splitter = LineSplitter(offset)
        self._handle = handle
        self._tell_away = tell_away
        self._batch = LogBatch(ctx, about(job), offset) if live else None
        self._ended_s: float | None = None
        self._watch: Watch | None = None
        self.away = ""
        """Why the file can't be read; empty: it can."""

    def run_ended(self) -> None:
        """Nobody writes any more: read what is there, then return."""
        self._ended_s = self._ctx.clock.monotonic()
        if self._watch is not None:
            self._watch.notify()

    async def run(self) -> None:
        """Read until `run_ended` was called and the end of the file is reached, or it is `away` for too long."""
        async with self._ctx.files.watch(self._path) as self._watch:
            while True:
                last_round = self._ended_s is not None
                data = await self._read()
                if data is None:
                    if self._gives_up():
                        break
                    await self._ctx.clock.sleep(IDLE_POLL_S)
                    continue
                for begin in range(0, len(data), TURN_BYTES):
                    await self._take(self._splitter.feed(data[begin : begin + TURN_BYTES]))
                    await asyncio.sleep(0)
                self._position += len(data)
                self._ctx.meters.add(LOG_READ, len(data))
                if not data and last_round:
                    break
                if len(data) < CHUNK_BYTES and not last_round:
                    await self._pause(self._watch)
        await self._take(self._splitter.flush())
        if self._batch is not None:
            self._batch.send_all()

    async def _read(self) -> bytes | None:
        """The next bytes; None: they can't be read for now."""
        try:
            data = await self._ctx.files.read(self._path, self._position, CHUNK_BYTES)
        except UnavailableError as error:
            if not self.away:
                log.warning("log_unreadable", f"waiting for it: {error}", path=str(self._path))
            self.away = str(error)
            self._tell_away(self.away)
            return None
        if self.away:
            log.info("log_readable", "it can be read again", path=str(self._path))
            self.away = ""
            self._tell_away(None)
        return data

    def _gives_up(self) -> bool:
        """Whether the file of a run that has ended is away for too long."""
        if self._ended_s is None or self._ctx.clock.monotonic() < self._ended_s + LONGEST_AWAY_S:
            return False
        log.error("log_unread", f"its end stays unread: {self.away}", path=str(self._path), offset=self._position)
        return True

    async def _take(self, lines: list[Line]) -> None:
        if lines and self._batch is not None:
            self._batch.add(lines)
        if lines:
            await self._handle(lines)
        self._send_due()

    def _send_due(self) -> None:
        if self._batch is not None:
            self._batch.send_due()

    async def _pause(self, watch: Watch) -> None:
        """Wait for more bytes, for the end of the run, or for the next batch to be due."""
        timeout_s = IDLE_POLL_S if self._batch is None else min(IDLE_POLL_S, self._batch.due_in_s())
        await watch.changed(timeout_s)
        self._send_due()


class LogBatch:
    """Lines on their way into `log` events."""

    def __init__(self, ctx: Context, about_job: About, offset: int) -> None:
        self._ctx = ctx
        self._about = about_job
        self._offset = offset
        self._next = offset
        self._lines: list[str] = []
        self._bytes = 0
        self._skipped = 0
        self._bar = False
        self._sent_at = -1.0

    def add(self, lines: list[Line]) -> None:
        """Take lines; a redrawn progress bar replaces its last state."""
        for line in lines:
            size = line.end - self._next
            self._next = line.end
            if not line.text.strip():
                continue
            if self._bar and self._lines:
                self._bytes -= len(self._lines.pop())
            self._bar = line.carriage
            if len(self._lines) >= BATCH_LINES or self._bytes + len(line.text) > BATCH_BYTES:
                self._skipped += size
                self._bar = False
                continue
            self._lines.append(line.text)
            self._bytes += len(line.text)

    def due_in_s(self) -> float:
        """Seconds until the batch may be sent; a large number while it is empty."""
        if not self._lines and not self._skipped:
            return IDLE_POLL_S
        return max(0.0, self._sent_at + BATCH_INTERVAL_S - self._ctx.clock.monotonic())

    def send_due(self) -> None:
        """Send what is there, unless the last batch is less than 100 ms old."""
        if (self._lines or self._skipped) and self.due_in_s() == 0.0:
            self.send_all()

    def send_all(self) -> None:
        """Send what is there."""
        if not self._lines and not self._skipped:
            return
        data = LogData(
            **self._about,
            lines=tuple(mask(line) for line in self._lines),
            offset=self._offset,
            next_offset=self._next,
            skipped_bytes=self._skipped,
        )
        event = CloudEvent(
            id=f"{data.job_id}-{data.attempt}-log-{self._offset}",
            source=source_of(self._ctx.node_id),
            type=LOG_TYPE,
            subject=data.job_id,
            time=self._ctx.clock.now(),
            data=data.model_dump(mode="json"),
        )
        self._ctx.bus.publish_live(f"job.{data.job_id}.log", event)
        self._sent_at = self._ctx.clock.monotonic()
        self._offset, self._lines, self._bytes, self._skipped, self._bar = self._next, [], 0, 0, False
