"""The recordings of real ms-swift runs in `tests/data`, and how the daemon would have seen them.

`swift_logs/NAME/` has both streams with arrival times, `merged/NAME.log` one file with both, as the runner writes it.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.swift.lines import Line, LineSplitter
from daemon.swift.records import LogParser, Metrics, Record, parse_jsonl_record

DATA = Path(__file__).resolve().parents[1] / "data"
STREAMS = DATA / "swift_logs"
MERGED = DATA / "merged"
_CHUNK = re.compile(r"\s*(\d+\.\d+) (b['\"].*)")


@dataclass(frozen=True, slots=True)
class Recording:
    """One run."""

    name: str
    log: bytes
    """Both streams as one file."""
    exit_code: int
    logged: tuple[Metrics, ...]
    """The records of its `logging.jsonl`; empty where there is none."""

    def lines(self, chunk_bytes: int = 64 * 1024) -> list[Line]:
        """Its lines, read in chunks."""
        splitter = LineSplitter()
        lines: list[Line] = []
        for begin in range(0, len(self.log), chunk_bytes):
            lines += splitter.feed(self.log[begin : begin + chunk_bytes])
        return lines + splitter.flush()

    def records(self) -> list[Record]:
        """What the parser makes of it."""
        parser = LogParser()
        return [record for line in self.lines() for record in parser.feed(line)]

    def printed(self) -> list[Metrics]:
        """The metrics among its records."""
        return [record for record in self.records() if isinstance(record, Metrics)]


def recording(name: str) -> Recording:
    """A recording by its name."""
    folder = STREAMS / name
    if folder.is_dir():
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        return Recording(name, interleaved(folder), int(summary["rc"]), _logged(folder / "logging.jsonl"))
    exit_codes: dict[str, int] = json.loads((MERGED / "exit_codes.json").read_text())
    log = (MERGED / f"{name}.log").read_bytes()
    return Recording(name, log, exit_codes[name], _logged(MERGED / f"{name}.logging.jsonl"))


def names() -> list[str]:
    """The names of all recordings."""
    return sorted([path.name for path in STREAMS.iterdir()] + [path.stem for path in MERGED.glob("*.log")])


def interleaved(folder: Path) -> bytes:
    """Both streams in the order of arrival."""
    chunks = [chunk for stream in ("stdout", "stderr") for chunk in _chunks(folder / f"{stream}.ts")]
    return b"".join(data for _, data in sorted(chunks, key=lambda chunk: chunk[0]))


def _chunks(path: Path) -> Iterator[tuple[float, bytes]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        found = _CHUNK.fullmatch(line)
        if found:
            data: object = ast.literal_eval(found[2])
            assert isinstance(data, bytes)
            yield float(found[1]), data


def _logged(path: Path) -> tuple[Metrics, ...]:
    lines: Iterable[bytes] = path.read_bytes().splitlines() if path.exists() else ()
    return tuple(record for line in lines if (record := parse_jsonl_record(line)) is not None)
