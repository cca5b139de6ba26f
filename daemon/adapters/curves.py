"""The training curve in bounded buckets, and its thinning, as pure functions.

A bucket holds the points of 500 steps of one attempt, so no document grows for ever. Each value has a path of its own
(`points.{step}.{name}`): a training record and an evaluation of one step merge, and writing one again changes nothing,
in whichever order they come. Attempts have buckets of their own; where two logged the same step, the newer one counts,
which the reader decides (`read_buckets`) and no writer has to know. So it is with what an older attempt logged behind
the first step of a newer one (`Newest`): that training was thrown away.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import cast

from daemon.adapters.documents import Document, plain, section
from schemas.jobs import MetricPoint

BUCKET_STEPS = 500
_BUFFER_FACTOR = 4


def bucket_of(step: int) -> int:
    """The number of the bucket that a step is in."""
    return step // BUCKET_STEPS


def bucket_updates(job_id: str, points: Iterable[MetricPoint]) -> dict[str, dict[str, Document]]:
    """For each bucket's `_id` the upsert that writes its points, by operator."""
    updates: dict[str, dict[str, Document]] = {}
    for point in points:
        bucket = bucket_of(point.step)
        update = updates.setdefault(
            f"{job_id}:{bucket}:{point.attempt}",
            {"$set": {"job_id": job_id, "bucket": bucket, "attempt": point.attempt}, "$max": {}},
        )
        path = f"points.{point.step}"
        update["$max"][f"{path}.time"] = plain(point.time)  # the later of two, so that a repetition changes nothing
        for name, value in point.model_dump(exclude={"step", "attempt", "time", "eval"}, exclude_none=True).items():
            update["$set"][f"{path}.{name}"] = value
        for name, value in point.eval.items():
            update["$set"][f"{path}.eval.{_escaped(name)}"] = value
    return updates


def read_buckets(buckets: Sequence[Mapping[str, object]]) -> list[MetricPoint]:
    """The points of one bucket number, all attempts, by step; a newer attempt's point replaces an older one's."""
    points: dict[int, MetricPoint] = {}
    for bucket in sorted(buckets, key=lambda item: cast("int", item["attempt"])):
        for step, values in section(bucket, "points").items():
            fields = cast("Document", values)
            evaluation = {_unescaped(name): value for name, value in section(fields, "eval").items()}
            points[int(step)] = MetricPoint.model_validate(
                {**fields, "step": int(step), "attempt": bucket["attempt"], "eval": evaluation}
            )
    return [points[step] for step in sorted(points)]


class Newest:
    """Of a curve that comes in step order, the points that no newer attempt has begun before or at.

    A retry that begins anew, or falls back to an earlier checkpoint, is else followed by what the attempt before it had
    reached. `attempt` is the newest one before the first point.
    """

    def __init__(self, attempt: int = 0) -> None:
        self._attempt = attempt

    def of(self, points: Iterable[MetricPoint]) -> Iterator[MetricPoint]:
        """Those of the next ones that stand."""
        for point in points:
            if point.attempt >= self._attempt:
                self._attempt = point.attempt
                yield point


def merged(older: MetricPoint | None, newer: MetricPoint) -> MetricPoint:
    """Two records of one step as one point, as the buckets would have it."""
    if older is None or older.attempt < newer.attempt:
        return newer
    if older.attempt > newer.attempt:
        return older
    values = newer.model_dump(exclude={"eval", "time"}, exclude_none=True)
    return older.model_copy(
        update={**values, "eval": {**older.eval, **newer.eval}, "time": max(older.time, newer.time)}
    )


def _escaped(name: str) -> str:
    """The name of a metric as a path's part: no dot, no leading dollar, no NUL, never empty."""
    return name.replace("%", "%25").replace(".", "%2E").replace("$", "%24").replace("\x00", "%00") or "%"


def _unescaped(name: str) -> str:
    if name == "%":
        return ""
    return name.replace("%00", "\x00").replace("%24", "$").replace("%2E", ".").replace("%25", "%")


# ---------------------------------------------------------------- thinning


def thin(points: Sequence[MetricPoint], max_points: int) -> list[MetricPoint]:
    """At most `max_points` of them, evenly chosen, first and last kept (of one: the last).

    The points between the ends are parted into equal groups; each is represented by a point with an evaluation where
    it has one, else by its middle.
    """
    if len(points) <= max_points:
        return list(points)
    if max_points < 2:
        return list(points[-1:]) if max_points == 1 else []
    groups, inner = max_points - 2, points[1:-1]
    cuts = [len(inner) * number // groups for number in range(groups + 1)] if groups else []
    chosen = [_representative(inner[start:end]) for start, end in pairwise(cuts)]
    return [points[0], *chosen, points[-1]]


def _representative(group: Sequence[MetricPoint]) -> MetricPoint:
    return next((point for point in group if point.eval), group[len(group) // 2])


class Thinning:
    """`thin` for a curve that comes bucket by bucket: memory for a few times `max_points`, however long it is.

    A curve shorter than four times `max_points` is thinned exactly. Of a longer one every second point is dropped
    whenever the buffer is full, those with an evaluation preferred, and later points are taken at the same density.
    """

    def __init__(self, max_points: int) -> None:
        self._max_points = max_points
        self._limit = _BUFFER_FACTOR * max(max_points, 2)
        self._kept: list[MetricPoint] = []
        self._stride = 1
        self._seen = 0
        self._candidate: MetricPoint | None = None
        self._first: MetricPoint | None = None
        self._last: MetricPoint | None = None

    def add(self, points: Iterable[MetricPoint]) -> None:
        """Take further points, in step order."""
        for point in points:
            self._first = self._first or point
            self._last = point
            self._seen += 1
            if self._candidate is None or (point.eval and not self._candidate.eval):
                self._candidate = point
            if self._seen == self._stride:
                self._kept.append(self._candidate)
                self._seen, self._candidate = 0, None
            if len(self._kept) == self._limit:
                self._kept = [_representative(pair) for pair in _pairs(self._kept)]
                self._stride *= 2

    def result(self) -> list[MetricPoint]:
        """The thinned curve of what was added."""
        if self._first is None or self._last is None:
            return []
        between = [point for point in self._kept if self._first.step < point.step < self._last.step]
        ends = [self._first] if self._first is self._last else [self._first, self._last]
        return thin([ends[0], *between, *ends[1:]], self._max_points)


def _pairs(points: Sequence[MetricPoint]) -> Iterator[Sequence[MetricPoint]]:
    return (points[start : start + 2] for start in range(0, len(points), 2))
