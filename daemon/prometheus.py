"""The meters on Prometheus's client library: counts what `daemon.metrics` lists, and renders it as text.

What is counted is kept here; what is read when somebody asks (`Metric.read`) is handed to `render` and kept nowhere, so
a series of a job that has ended is gone with the next answer.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from daemon.metrics import Kind, Metric, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class PrometheusMeters:
    """`ports.Meters` with a registry of its own."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._read = tuple(metric for metric in metrics if metric.read)
        kept = [metric for metric in metrics if not metric.read]
        self._counters = {
            metric: Counter(metric.name, metric.text, metric.labels, registry=self._registry)
            for metric in kept
            if metric.kind is Kind.COUNTER
        }
        self._histograms = {
            metric: Histogram(metric.name, metric.text, metric.labels, buckets=metric.buckets, registry=self._registry)
            for metric in kept
            if metric.kind is Kind.HISTOGRAM
        }
        for metric in kept:
            for values in metric.begins:
                (self._counters.get(metric) or self._histograms[metric]).labels(*values)

    def add(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """Count."""
        counter = self._counters[metric]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Note a duration."""
        histogram = self._histograms[metric]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def render(self, samples: Iterable[Sample]) -> bytes:
        """All of it, with what was read just now, in Prometheus's text form."""
        return generate_latest(self._registry) + generate_latest(_Readings(self._read, samples))  # pyright: ignore[reportArgumentType]  # all that it needs is collect()


class _Readings:
    """What was read for one answer, as families; those without a sample are named all the same."""

    def __init__(self, metrics: Sequence[Metric], samples: Iterable[Sample]) -> None:
        self._metrics = metrics
        self._samples = tuple(samples)

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        for metric in self._metrics:
            family = (CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily)(
                metric.name, metric.text, labels=metric.labels
            )
            for sample in self._samples:
                if sample.metric is metric:
                    family.add_metric([sample.labels[name] for name in metric.labels], sample.value)
            yield family
