"""The alerts: Prometheus's own engine says when they fire; what their texts name is there."""

import re
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main
import yaml
from prometheus_client.parser import text_string_to_metric_families

from daemon.cli.main import app
from daemon.metrics import DAEMON
from daemon.prometheus import PrometheusMeters

REPO = Path(__file__).resolve().parents[2]
ALERTS = REPO / "deploy" / "prometheus" / "alerts.yaml"
CASES = Path(__file__).with_name("alerts.test.yaml")
FETCH_LIMIT_S = 300
SELECTED = re.compile(r"\b(swift_trainer_[a-z0-9_]+)(?:\{([^}]*)\})?")
TOLD = re.compile(r"\bswift-trainer ([a-z]+)")

Rule = dict[str, Any]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Path of Prometheus's promtool, which is fetched where there is none; nothing of ours needs it to run."""
    argv = ["bash", "deploy/promtool.sh"]
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False)
    if done.returncode != 0:
        pytest.skip(done.stderr.strip()[-500:])
    return done.stdout.strip()


def rules() -> list[Rule]:
    groups = cast("list[Rule]", yaml.safe_load(ALERTS.read_text())["groups"])
    return [rule for group in groups for rule in group["rules"]]


def run(*argv: str) -> None:
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(FETCH_LIMIT_S)
def test_they_fire_when_they_should_and_not_else(promtool: str) -> None:
    run(promtool, "test", "rules", str(CASES))


@pytest.mark.timeout(FETCH_LIMIT_S)
def test_prometheus_takes_the_example(promtool: str) -> None:
    run(promtool, "check", "config", str(ALERTS.with_name("prometheus.yaml")))


def test_every_case_is_of_an_alert_that_is_there() -> None:
    """To promtool, an alert that does not exist is one that does not fire."""
    asked = {
        case["alertname"] for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]
    }
    assert asked <= {rule["alert"] for rule in rules()}


def test_what_an_alert_counts_stands_at_0_before_anything_happened() -> None:
    """A rate over a series that appears with its first count misses that count."""
    text = PrometheusMeters(DAEMON).render(()).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    read = {metric.name for metric in DAEMON if metric.read}
    asked = {found.groups(default="") for rule in rules() for found in SELECTED.finditer(rule["expr"])}
    counted = {(name, labels) for name, labels in asked if name not in read}
    assert counted, "alerts count something"
    for name, labels in counted:
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        values = [sample.value for sample in samples if sample.name == name and wanted.items() <= sample.labels.items()]
        assert values, f"{name}{{{labels}}} is not there from the start"
        assert set(values) == {0.0}


def test_the_commands_that_the_texts_name_exist() -> None:
    texts = " ".join(text for rule in rules() for text in rule["annotations"].values())
    named = set(TOLD.findall(texts))
    assert {"gpus", "queue"} <= named
    assert named <= set(typer.main.get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]  # a group has them
