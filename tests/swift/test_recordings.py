"""The parser against every recording of a real run: nothing missed, nothing invented, and the same as last time."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from daemon.swift.records import CheckpointSaving, Metrics, PhaseSeen, Record, TrainingBegan
from schemas.enums import Phase
from tests.swift.recordings import DATA, STREAMS, interleaved, names, recording

GOLDEN = DATA / "swift_records"
TOTALS = {
    "03_success_basic": 8,
    "20_sigterm_child": 500,
    "21_sigterm_group": 500,
    "24_sigint_child": 500,
    "26_sigterm_leader_only": 10_000,
    "28_graceful_exit_sigterm_child": 500,
    "31_direct_module_graceful_sigterm": 500,
    "40_resume": 60,
    "42_resume_completed": 60,
    "50_torchrun_nproc2": 16,
    "51_torchrun_sigkill_group": 750,
    "70_v3.12.6_train_type": 24,
    "80_vlm_qwen2_5_vl": 4,
    "90_plugin_callback": 16,
    "no_tqdm_with_eval": 32,
    "quoted_data": 5,
    "torchrun_rank_killed": 250,
}
"""Steps of the runs that trained."""
COMPLETED = (
    "03_success_basic", "40_resume", "50_torchrun_nproc2", "70_v3.12.6_train_type", "80_vlm_qwen2_5_vl",
    "90_plugin_callback", "no_tqdm_with_eval", "quoted_data",
)  # fmt: skip


def test_the_recordings_are_whole() -> None:
    assert len(names()) == 32
    for folder in STREAMS.iterdir():
        size = sum((folder / stream).stat().st_size for stream in ("stdout", "stderr"))
        assert len(interleaved(folder)) == size, folder.name


@pytest.mark.parametrize("name", names())
def test_each_logged_step_is_found_once_in_what_was_printed(name: str) -> None:
    run = recording(name)
    printed = run.printed()
    if not run.logged:
        return
    assert [(record.kind, record.step, record.total_steps) for record in printed] == [
        (record.kind, record.step, record.total_steps) for record in run.logged
    ]
    for seen, full in zip(printed, run.logged, strict=True):
        expected = {key: value for key, value in full.values.items() if key != "total_flos"}  # which is not printed
        epochs = seen.values["epoch"], expected.pop("epoch")  # 3.x prints two digits of it
        assert epochs[0] == pytest.approx(epochs[1], abs=0.006)
        assert {key: value for key, value in seen.values.items() if key != "epoch"} == pytest.approx(
            expected, rel=1e-3, abs=1e-6
        )
        assert (seen.elapsed_s, seen.remaining_s) == (full.elapsed_s, full.remaining_s)


@pytest.mark.parametrize("name", names())
def test_the_total_of_steps(name: str) -> None:
    totals = {record.total_steps for record in recording(name).printed()}
    assert totals == ({TOTALS[name]} if name in TOTALS else set())


@pytest.mark.parametrize("name", COMPLETED)
def test_a_completed_run_is_seen_to_reach_its_last_step(name: str) -> None:
    last = recording(name).printed()[-1]
    assert last.kind == "summary"
    assert last.step == last.total_steps
    assert last.remaining_s == 0


def test_a_resume_of_a_completed_run_goes_one_step_too_far() -> None:
    (only,) = recording("42_resume_completed").printed()
    assert (only.step, only.total_steps) == (61, 60)


@pytest.mark.parametrize("name", names())
def test_records_come_in_the_order_of_a_run(name: str) -> None:
    records = recording(name).records()
    began = [number for number, record in enumerate(records) if isinstance(record, TrainingBegan)]
    assert len(began) == (1 if name in TOTALS else 0)
    before = records[: began[0]] if began else records
    assert all(isinstance(record, PhaseSeen) for record in before)
    assert {record.phase for record in before if isinstance(record, PhaseSeen)} <= {Phase.PREPROCESSING}
    steps = [record.step for record in records if isinstance(record, Metrics)]
    assert steps == sorted(steps, key=lambda step: step or 0)


@pytest.mark.parametrize("name", sorted(TOTALS))
def test_each_run_names_its_checkpoints_in_one_folder(name: str) -> None:
    saved = [record for record in recording(name).records() if isinstance(record, CheckpointSaving)]
    assert len({record.path.rpartition("/")[0] for record in saved}) <= 1
    assert all(record.path.endswith(f"/checkpoint-{record.step}") for record in saved)
    assert [record.step for record in saved] == sorted({record.step for record in saved})
    if name in COMPLETED:
        assert saved[-1].step == TOTALS[name]


def test_evaluations_have_their_own_records_and_phase() -> None:
    records = recording("70_v3.12.6_train_type").records()
    evals = [record for record in records if isinstance(record, Metrics) and record.kind == "eval"]
    assert [record.step for record in evals] == [10, 20, 24]
    assert all("eval_loss" in record.values and "loss" not in record.values for record in evals)
    told = [record for record in records if isinstance(record, PhaseSeen | CheckpointSaving)]
    assert [record.phase if isinstance(record, PhaseSeen) else record.step for record in told] == [
        Phase.PREPROCESSING, Phase.EVALUATING, 10, Phase.TRAINING, Phase.EVALUATING, 20, Phase.TRAINING, 24,
    ]  # fmt: skip


def test_numbers_and_strings_are_the_same_values() -> None:
    strings = recording("03_success_basic").printed()[0]
    numbers = recording("90_plugin_callback").printed()[0]
    assert strings.values["loss"] == 5.969
    assert strings.values["seconds_per_step"] == 12.25
    assert strings.remaining_s == 86
    assert numbers.values["loss"] == 5.96325779
    assert recording("70_v3.12.6_train_type").printed()[1].values == pytest.approx(
        {
            "loss": 5.95885706,
            "grad_norm": 0.80693889,
            "learning_rate": 9.548e-05,
            "token_acc": 0.00392927,
            "epoch": 0.21,
            "seconds_per_step": 0.168129,
        }
    )


@pytest.mark.parametrize("name", names())
def test_the_records_are_those_of_the_golden_file(name: str) -> None:
    """A difference is a change of what subscribers get. `python -m tests.swift.golden` writes the files anew."""
    golden: Any = json.loads((GOLDEN / f"{name}.json").read_text())
    assert [_plain(record) for record in recording(name).records()] == golden


def _plain(record: Record) -> dict[str, Any]:
    return {"record": type(record).__name__, **asdict(record)}
