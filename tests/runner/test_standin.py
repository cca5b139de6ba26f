"""The stand-in is read as ms-swift is: its lines give the same records, its failures the same codes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from daemon.adapters.files import LocalFiles
from daemon.swift.checkpoints import best_of, complete
from daemon.swift.failures import Evidence, classify
from daemon.swift.lines import LineSplitter
from daemon.swift.records import (
    CheckpointSaving,
    LogParser,
    Metrics,
    Record,
    TrainingBegan,
    parse_jsonl_record,
)
from schemas.enums import ErrorCode
from tests.runner.harness import STANDIN


class Run:
    """A finished run of the stand-in."""

    def __init__(self, folder: Path, *options: str, **told: Any) -> None:
        model = folder / "model"
        model.mkdir(exist_ok=True)
        (model / "standin.json").write_text(json.dumps({"step_seconds": 0, **told}))
        self.out = folder / "out"
        argv = (
            *STANDIN,
            "sft",
            "--model",
            str(model),
            "--output_dir",
            str(self.out),
            "--add_version",
            "false",
            *options,
        )
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
        self.code = done.returncode
        splitter, parser, self.evidence = LineSplitter(0), LogParser(), Evidence()
        self.records: list[Record] = []
        for line in [*splitter.feed(done.stdout), *splitter.flush()]:
            self.evidence.feed(line.text)
            self.records += parser.feed(line)

    def of(self, kind: type[Any]) -> list[Any]:
        """The records of a kind."""
        return [record for record in self.records if isinstance(record, kind)]


async def test_a_whole_training_is_understood(tmp_path: Path) -> None:
    options = ("--save_steps=5", "--logging_steps", "4", "--val_dataset", str(tmp_path), "--eval_steps", "5")
    run = Run(tmp_path, *options, "--save_total_limit", "2", steps=12)
    assert run.code == 0
    assert len(run.of(TrainingBegan)) == 1
    assert [seen.step for seen in run.of(CheckpointSaving)] == [5, 10, 12]
    metrics: list[Metrics] = run.of(Metrics)
    assert [(point.kind, point.step, point.total_steps) for point in metrics] == [
        ("train", 1, 12), ("train", 4, 12), ("eval", 5, 12), ("train", 8, 12), ("eval", 10, 12), ("train", 12, 12),
        ("eval", 12, 12), ("summary", 12, 12),
    ]  # fmt: skip
    *lines, last = (run.out / "logging.jsonl").read_bytes().splitlines()
    exact = [parse_jsonl_record(line) for line in lines]
    for point, all_digits in zip(metrics, exact, strict=True):
        assert all_digits is not None
        assert {name: f"{value:.4g}" for name, value in all_digits.values.items()} == {
            name: f"{value:.4g}" for name, value in point.values.items()
        }
    summary = json.loads(last)
    whole = complete(await LocalFiles().checkpoints(run.out))
    assert [folder.path.name for folder in whole] == ["checkpoint-10", "checkpoint-12"]
    assert summary["last_model_checkpoint"] == str(whole[-1].path)
    assert summary["best_model_checkpoint"] == best_of(whole) == str(whole[0].path)


async def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    assert Run(tmp_path, "--save_steps", "5", steps=8).code == 0
    run = Run(tmp_path, "--resume_from_checkpoint", str(tmp_path / "out" / "checkpoint-5"), steps=10)
    assert [point.step for point in run.of(Metrics)] == [10, 10]
    over = Run(tmp_path, "--resume_from_checkpoint", str(tmp_path / "out" / "checkpoint-10"), steps=10)
    assert [(point.step, point.total_steps) for point in over.of(Metrics)] == [(11, 10)]


async def test_it_may_end_early_or_in_nan(tmp_path: Path) -> None:
    early = Run(tmp_path, steps=12, exit_early_at=7)
    assert early.code == 0
    assert early.of(Metrics)[-1].step == 7
    assert [folder.path.name for folder in complete(await LocalFiles().checkpoints(early.out))] == ["checkpoint-7"]
    lost = Run(tmp_path, steps=12, nan_at=5)
    assert [point.step for point in lost.of(Metrics) if str(point.values.get("loss")) == "nan"] == [5, 10]


@pytest.mark.parametrize(
    ("fail", "code", "error"),
    [
        ("out_of_memory", 1, ErrorCode.OUT_OF_MEMORY),
        ("nccl", 1, ErrorCode.NCCL_ERROR),
        ("disk_full", 1, ErrorCode.DISK_FULL),
        ("exception", 1, ErrorCode.UNKNOWN),
        ("crash", 245, ErrorCode.UNKNOWN),
        ("killed", 247, ErrorCode.KILLED),
        ("dataset", 1, ErrorCode.DATASET_ERROR),
        ("malformed", 1, ErrorCode.DATASET_ERROR),
        ("model", 1, ErrorCode.MODEL_NOT_FOUND),
        ("bad_argument", 1, ErrorCode.BAD_ARGUMENT),
        ("bf16", 1, ErrorCode.BAD_ARGUMENT),
        ("usage", 2, ErrorCode.BAD_ARGUMENT),
    ],
)
def test_it_fails_as_told(tmp_path: Path, fail: str, code: int, error: ErrorCode) -> None:
    run = Run(tmp_path, "--callbacks", "graceful_exit", fail=fail)
    assert run.code == code
    assert classify(run.evidence, run.code).code is error


def test_an_export_makes_its_folder_once(tmp_path: Path) -> None:
    Run(tmp_path, steps=2)
    checkpoint, out = tmp_path / "out" / "checkpoint-2", tmp_path / "merged"
    argv = (*STANDIN, "export", "--adapters", str(checkpoint), "--merge_lora", "true", "--output_dir", str(out))
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    assert (out / "model.safetensors").is_file()
    again = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1].startswith("FileExistsError: ")
    (out / "model.safetensors").write_bytes(b"torn")
    assert subprocess.run((*argv, "--exist_ok", "true"), capture_output=True, check=False).returncode == 0
    assert (out / "model.safetensors").read_bytes() == b"torn", "as ms-swift's own, which skips what is there"
