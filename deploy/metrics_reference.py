"""Prints `docs/reference/metrics.md`: the table of metrics of `daemon/metrics.py`. `make generate` writes the file."""

import sys

from daemon.metrics import DAEMON, GATEWAY, Metric

HEAD = """# Metrics

Made by `deploy/metrics_reference.py` from `daemon/metrics.py`; to write it anew: `make generate`.

The daemon shows its metrics at `/metrics` of `SWIFT_TRAINER_HTTP_HOST` and `SWIFT_TRAINER_HTTP_PORT` (0, the default:
none), the gateway at `/metrics` of its own port. Both show the process's own beside them (`process_*`, `python_info`).
What every daemon shows of all (`swift_trainer_jobs`, `swift_trainer_node_up`) is to be looked at with `max`, not `sum`;
counters and histograms are each daemon's own, so `sum` them. A counter begins at 0 when its process does.
The series that an alert counts are there from the start; the others come with their first count.
"""


def render() -> str:
    """The whole file."""
    return "\n".join([HEAD, *_section("The daemon", DAEMON), *_section("The gateway", GATEWAY)])


def _section(title: str, metrics: tuple[Metric, ...]) -> list[str]:
    rows = [f"| `{metric.name}` | {metric.kind} | {_labels(metric)} | {metric.text} |" for metric in metrics]
    return [f"## {title}", "", "| name | type | labels | meaning |", "| --- | --- | --- | --- |", *rows, ""]


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)


if __name__ == "__main__":
    sys.stdout.write(render())
