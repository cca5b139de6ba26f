"""The table of metrics that is read is the one that is counted by."""

import subprocess
import sys
from pathlib import Path

from daemon.metrics import DAEMON, GATEWAY, PREFIX, Kind

REPO = Path(__file__).resolve().parents[2]


def test_it_is_what_the_script_prints() -> None:
    """`make generate` writes it anew."""
    argv = [sys.executable, str(REPO / "deploy" / "metrics_reference.py")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout == (REPO / "docs" / "reference" / "metrics.md").read_text()


def test_the_table_keeps_its_own_rules() -> None:
    metrics = (*DAEMON, *GATEWAY)
    assert len({metric.name for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert metric.name.startswith(PREFIX)
        assert metric.text.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.buckets) == sorted(metric.buckets)
        assert "owner" not in metric.labels
