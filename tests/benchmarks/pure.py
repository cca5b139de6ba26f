"""The pure parts on their own, in this process: the scheduler's decision, and the parser."""

import ast
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

from daemon.core.scheduler import plan
from daemon.core.work import Held, NodeView, Work, WorkKind
from daemon.swift.lines import LineSplitter
from daemon.swift.records import LogParser
from schemas.enums import NodeState
from schemas.events import Device
from tests.benchmarks.figures import Figure
from tests.benchmarks.room import REPO

NODES, DEVICES = 1000, 8
MOST_QUEUED = 100_000
PLAN_AIM_MS = 2000
CHUNK_BYTES = 64 * 1024
"""As the log reader reads."""
RECORDINGS = (REPO / "tests" / "data" / "swift_logs", REPO.parent / "shared" / "swift_logs")
RECORDING = "26_sigterm_leader_only"
MIB = 1024 * 1024

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def planning(quick: bool) -> list[Figure]:
    """Queues of growing length before 1,000 nodes of 8 devices: all free, or all given away but one."""
    free, taken = fleet(), leases()
    figures = [
        Figure(
            f"plan(): {waiting:,} queued, {NODES:,} nodes x {DEVICES} {where}",
            "ms",
            [plan_ms(works(waiting), free, held) for _ in range(1 if quick else rounds)],
            aim=PLAN_AIM_MS if waiting == MOST_QUEUED else None,
        )
        for waiting, rounds in ((100, 7), (1000, 7), (10_000, 5), (MOST_QUEUED, 3))
        for where, held in (("free", []), ("taken but one", taken[:-1]))
    ]
    return [*figures, _memory(free, taken)]


def fleet() -> list[NodeView]:
    """The nodes, with nothing on them."""
    return [
        NodeView(
            f"node-{number:04}",
            NodeState.ONLINE,
            tuple(Device(node_id=f"node-{number:04}", index=index, name="GPU") for index in range(DEVICES)),
        )
        for number in range(NODES)
    ]


def leases() -> list[Held]:
    """Every device given away, half of them until a known time."""
    return [
        Held(
            f"held-{node.node_id}-{index}",
            WorkKind.TRAIN,
            node.node_id,
            (index,),
            f"owner-{index}",
            _NOW + timedelta(days=2, seconds=index) if index % 2 else None,
        )
        for node in fleet()
        for index in range(DEVICES)
    ]


def works(number: int) -> list[Work]:
    """Most want one device, some two or eight, some exactly these; of ten owners; a third has a short limit."""
    return [
        Work(
            job_id=f"job-{place:06}",
            kind=WorkKind.TRAIN,
            priority=place % 11,
            queued_at=_NOW + timedelta(seconds=place),
            count=(1, 1, 1, 1, 1, 1, 2, 2, 8, 2)[place % 10],
            pinned=(0, 1) if place % 10 == 9 else (),
            owner=f"owner-{place % 10}",
            timeout_s=(None, None, 600.0)[place % 3],
        )
        for place in range(number)
    ]


def plan_ms(waiting: list[Work], nodes: list[NodeView], held: list[Held]) -> float:
    """How long one decision takes."""
    began = time.perf_counter()
    decided = plan(waiting, nodes, held, _NOW + timedelta(days=1))
    taken_ms = (time.perf_counter() - began) * 1000
    assert len(decided.starts) + len(decided.waits) == len(waiting)
    return taken_ms


def _memory(nodes: list[NodeView], held: list[Held]) -> Figure:
    """The most that one decision over the longest queue holds, beside what it is asked about."""
    waiting = works(MOST_QUEUED)
    tracemalloc.start()
    plan(waiting, nodes, held, _NOW + timedelta(days=1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Figure(f"plan(): memory, {MOST_QUEUED:,} queued", "MiB", [peak / MIB])


def parser(quick: bool) -> list[Figure]:
    """A recorded log of ms-swift, over and over, in chunks as the log reader reads them."""
    folder = next((base / RECORDING for base in RECORDINGS if (base / RECORDING).is_dir()), None)
    if folder is None:
        return [Figure(f"parser: no recording {RECORDING}", "", [])]
    data = recorded(folder) * (20 if quick else 100)
    lines_per_s: list[float] = []
    mib_per_s: list[float] = []
    for _ in range(2 if quick else 5):
        splitter, found = LineSplitter(), LogParser()
        lines = records = 0
        began = time.perf_counter()
        for position in range(0, len(data), CHUNK_BYTES):
            for line in splitter.feed(data[position : position + CHUNK_BYTES]):
                lines += 1
                records += len(found.feed(line))
        taken_s = time.perf_counter() - began
        assert records > 100
        lines_per_s.append(lines / taken_s)
        mib_per_s.append(len(data) / MIB / taken_s)
    return [
        Figure("parser: lines", "/s", lines_per_s, more_is_better=True),
        Figure("parser: bytes", "MiB/s", mib_per_s, more_is_better=True),
    ]


def recorded(folder: Path) -> bytes:
    """Both streams of a recording as they came into one file."""
    parts: list[tuple[float, bytes]] = []
    for name in ("stdout.ts", "stderr.ts"):
        for line in (folder / name).read_text().splitlines():
            at_s, _, literal = line.strip().partition(" ")
            parts.append((float(at_s), ast.literal_eval(literal)))
    return b"".join(part for _, part in sorted(parts, key=lambda part: part[0]))
