"""What ms-swift logged, step by step, and whether it was told so."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.harness import Event

FOLLOWED = ("loss", "grad_norm", "learning_rate", "token_acc", "epoch")


def logged_steps(run_dir: Path) -> list[dict[str, Any]]:
    """The training records of `logging.jsonl`."""
    records = map(json.loads, (run_dir / "logging.jsonl").read_text().splitlines())
    return [record for record in records if "loss" in record]


def assert_same_curve(progress: list[Event], logged: list[dict[str, Any]]) -> None:
    """Every logged step was told once, in order, with all its digits."""
    told = [event["data"] for event in progress if event["data"]["loss"] is not None]
    assert [f"{data['step']}/{data['total_steps']}" for data in told] == [
        record["global_step/max_steps"] for record in logged
    ]
    for name in FOLLOWED:
        assert [data[name] for data in told] == [record[name] for record in logged], name
