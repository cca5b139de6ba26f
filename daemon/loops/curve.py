"""The run folder's `logging.jsonl`: the same metrics as on standard output, with all their digits.

ms-swift appends a record there before it prints it, so a printed record's full values are already on disk. Where they
are not (ms-swift writes no such file on PAI), the printed ones stand.
"""

from pathlib import Path

from daemon.ports import Files
from daemon.swift.records import Metrics, parse_jsonl_record

CHUNK_BYTES = 256 * 1024
MOST_WAITING = 1000


class FullMetrics:
    """Reads `logging.jsonl` beside the log and finds the full record for a printed one."""

    def __init__(self, files: Files, offset: int) -> None:
        self._files = files
        self._position = offset
        self._rest = b""
        self._waiting: dict[tuple[str, int | None], tuple[Metrics, int]] = {}
        self.offset = offset
        """Bytes whose records were all taken."""

    async def take(self, printed: Metrics, run_dir: Path) -> Metrics:
        """The record with full digits, or the printed one where there is none."""
        key = (printed.kind, printed.step)
        if key not in self._waiting:
            await self._read(run_dir / "logging.jsonl")
        found = self._waiting.pop(key, None)
        if found is None:
            return printed
        full, end = found
        self.offset = max(self.offset, end)
        return full

    async def _read(self, path: Path) -> None:
        while True:
            data = await self._files.read(path, self._position, CHUNK_BYTES)
            self._position += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            end = self._position - len(self._rest)
            ends: list[int] = []
            for line in reversed(lines):
                ends.append(end)
                end -= len(line) + 1
            for line, line_end in zip(lines, reversed(ends), strict=True):
                record = parse_jsonl_record(line)
                if record is not None:
                    self._waiting[record.kind, record.step] = (record, line_end)
            while len(self._waiting) > MOST_WAITING:
                del self._waiting[next(iter(self._waiting))]
            if len(data) < CHUNK_BYTES:
                return
