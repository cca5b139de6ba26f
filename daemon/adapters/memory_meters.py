"""The meters' in-memory twin: what was counted, to look at. Labels that a metric has not are refused."""

from collections import defaultdict

from daemon.metrics import Metric

Key = tuple[str, tuple[tuple[str, str], ...]]


class MemoryMeters:
    """`ports.Meters` in this process."""

    def __init__(self) -> None:
        self._counts: defaultdict[Key, float] = defaultdict(float)
        self._values: defaultdict[Key, list[float]] = defaultdict(list)

    def add(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """Count."""
        self._counts[_key(metric, labels)] += amount

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Note a value."""
        self._values[_key(metric, labels)].append(value)

    def count(self, metric: Metric, **labels: str) -> float:
        """What was counted under these labels."""
        return self._counts[_key(metric, labels)]

    def values(self, metric: Metric, **labels: str) -> list[float]:
        """What was noted under these labels."""
        return self._values[_key(metric, labels)]


def _key(metric: Metric, labels: dict[str, str]) -> Key:
    if set(labels) != set(metric.labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}, not {tuple(labels)}")
    return metric.name, tuple(sorted(labels.items()))
