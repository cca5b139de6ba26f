"""The run folder's `logging.jsonl`: the same metrics as on standard output, with all their digits.

ms-swift appends a record there before it prints it, so a printed record's full values are already on disk. Where they
are not (ms-swift writes no such file on PAI), the printed ones stand. The file is read no farther than the record that
is looked for: when the log's reader is behind, any number of records lies behind that one.
"""

from pathlib import Path

from daemon.logs import get_log
from daemon.ports import Files, UnavailableError
from daemon.swift.lines import LineSplitter
from daemon.swift.records import MAX_JSON_LINE, Metrics, parse_jsonl_record

log = get_log("tracking")

CHUNK_BYTES = 64 * 1024
MOST_WAITING = 4096
"""More than one chunk can hold."""


class FullMetrics:
    """Reads `logging.jsonl` beside the log and finds the full record for a printed one."""

    def __init__(self, files: Files, offset: int) -> None:
        self._files = files
        self._position = offset
        self._splitter = LineSplitter(offset, MAX_JSON_LINE)
        self._waiting: dict[tuple[str, int | None], tuple[Metrics, int]] = {}
        self._newest_step = -1
        self.offset = offset
        """Bytes whose records were all taken."""

    async def take(self, printed: Metrics, run_dir: Path) -> Metrics:
        """The record with full digits, or the printed one where there is none."""
        key = (printed.kind, printed.step)
        await self._read_to(key, run_dir / "logging.jsonl")
        found = self._waiting.pop(key, None)
        if found is None:
            return printed
        full, end = found
        self.offset = max(self.offset, end)
        return full

    async def _read_to(self, key: tuple[str, int | None], path: Path) -> None:
        """Read until a record is there, or one of a later step is, or nothing more is."""
        step = key[1]
        while key not in self._waiting and (step is None or self._newest_step <= step):
            try:
                data = await self._files.read(path, self._position, CHUNK_BYTES)
            except UnavailableError as error:  # the printed record will do
                log.warning("metrics_unreadable", str(error))
                return
            self._position += len(data)
            for line in self._splitter.feed(data):
                record = parse_jsonl_record(line.text.encode())
                if record is not None:
                    self._waiting[record.kind, record.step] = (record, line.end)
                    self._newest_step = max(self._newest_step, record.step or 0)
            while len(self._waiting) > MOST_WAITING:
                del self._waiting[next(iter(self._waiting))]
            if len(data) < CHUNK_BYTES:
                return
