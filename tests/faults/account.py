"""The account of one job after the faults: what was logged against what was stored, what was stored against what was
told, what was started against what was claimed, and what lives on.

The training's own files are the truth: the log, where a step was printed, and `logging.jsonl`, with all its digits.
"""

import ast
import asyncio
import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.harness import Event, Json, processes_of
from tests.faults.witness import Witness

ARRIVAL_LIMIT_S = 30.0
STARTED = "run sh: `"
"""What a `swift` prints once, first."""
_METRICS = re.compile(r"\{'loss'.*?\}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Account:
    """What is wrong with a job; all empty where all is well."""

    job_id: str
    status: str
    events_lost: tuple[str, ...]
    """Durable events that did not come, gaps in the sequence, ids used twice, and what came out of order."""
    steps_lost: tuple[int, ...]
    steps_double: tuple[int, ...]
    """In the curve twice, or there and nowhere in the training's files."""
    steps_wrong: tuple[int, ...]
    """With other figures than `logging.jsonl`."""
    spawns_beyond: int
    """Trainings and exports that were started, but not claimed."""
    processes_left: int
    untrue: bool
    """Called completed without its last step, or not with the code of its process."""

    @property
    def sound(self) -> bool:
        """Whether all is well."""
        return not (
            self.events_lost
            or self.steps_lost
            or self.steps_double
            or self.steps_wrong
            or self.spawns_beyond
            or self.processes_left
            or self.untrue
        )


async def account_of(found: Witness, job_id: str) -> Account:
    """The account of a job that has ended, when its events have had time to arrive."""
    stored: list[Event] = (await found.order("job.events", {"job_id": job_id, "limit": 1000}))["events"]
    with suppress(TimeoutError):
        await _all_came(found, job_id, len(stored))
    job = await found.job(job_id)
    points = (await found.order("job.metrics", {"job_id": job_id, "max_points": 10_000}))["points"]
    told = [point["step"] for point in points if point["loss"] is not None]
    figures = {point["step"]: point["loss"] for point in points}
    log = _text(job["log_file_path"])
    printed, exact = _printed(log), _exact(Path(job["run_dir"]))
    return Account(
        job_id=job_id,
        status=job["status"],
        events_lost=tuple(_event_faults(stored, found.durable(job_id))),
        steps_lost=tuple(sorted(printed - set(told))),
        steps_double=tuple(step for step in told if told.count(step) > 1 or step not in printed | exact.keys()),
        steps_wrong=tuple(step for step in told if step in exact and not _same(figures[step], exact[step])),
        spawns_beyond=_spawns_beyond(job, log, stored),
        processes_left=len(processes_of(job_id)),
        untrue=job["status"] == "completed" and (job["total_steps"] not in printed or job["exit_code"] != 0),
    )


async def assert_sound(found: Witness, *job_ids: str) -> None:
    """Nothing is lost, doubled, or left behind of these jobs."""
    for job_id in job_ids:
        account = await account_of(found, job_id)
        assert account.sound, account


def steps_told(points: Iterable[Json]) -> list[int]:
    """The logged steps of a curve."""
    return [point["step"] for point in points if point["loss"] is not None]


async def _all_came(found: Witness, job_id: str, count: int) -> None:
    async with asyncio.timeout(ARRIVAL_LIMIT_S):
        while len(found.durable(job_id)) < count:
            seen = len(found.events)
            await found.until(lambda _, seen=seen: len(found.events) > seen, ARRIVAL_LIMIT_S)


def _event_faults(stored: list[Event], came: list[Event]) -> list[str]:
    numbers = [event["sequence"] for event in stored]
    faults = [f"the store has {numbers}"] if numbers != list(range(1, len(stored) + 1)) else []
    faults += [f"lost: {event['id']}" for event in stored if event["id"] not in {other["id"] for other in came}]
    order = [event["sequence"] for event in came]
    faults += [f"came as {order}"] if order != sorted(set(order)) else []
    bodies = {event["id"]: event["data"] for event in stored}
    faults += [f"told otherwise: {event['id']}" for event in came if bodies.get(event["id"]) != event["data"]]
    return faults


def _spawns_beyond(job: Json, log: str, stored: list[Event]) -> int:
    """Starts that nobody claimed; each claim has its event."""
    kinds = [(event["type"], event["data"]) for event in stored]
    claims = sum(kind == "swift.job.status.v1" and data["status"] == "starting" for kind, data in kinds)
    exports = sum(kind == "swift.job.export.v1" and data["export_status"] == "running" for kind, data in kinds)
    beyond = max(0, log.count(STARTED) - claims) + abs(job["attempt"] - claims)
    if job["log_file_path"] is None:
        return beyond
    texts = [_text(str(path)) for path in Path(job["log_file_path"]).parent.glob(f"export_{job['id']}_*.log")]
    twice = sum(max(0, text.count(STARTED) - 1) for text in texts)
    return beyond + twice + max(0, len(texts) - exports)


def _text(path: str | None) -> str:
    return Path(path).read_text(errors="replace") if path and Path(path).exists() else ""


def _printed(log: str) -> set[int]:
    """Steps whose metrics a training printed; a progress bar may stand before them on the line."""
    found: set[int] = set()
    for text in _METRICS.findall(log):
        with suppress(ValueError, SyntaxError, KeyError):  # the last one of a killed training may be torn
            record: dict[str, Any] = ast.literal_eval(text)
            found.add(int(record["global_step/max_steps"].partition("/")[0]))
    return found


def _exact(run_dir: Path) -> dict[int, float]:
    """The loss by step; of a step that was trained again, the later one."""
    found: dict[int, float] = {}
    for line in _text(str(run_dir / "logging.jsonl")).splitlines():
        with suppress(ValueError, KeyError):
            record: dict[str, Any] = json.loads(line)
            found[int(record["global_step/max_steps"].partition("/")[0])] = float(record["loss"])
    return found


def _same(told: float, exact: float) -> bool:
    return math.isclose(told, exact, rel_tol=1e-9)
