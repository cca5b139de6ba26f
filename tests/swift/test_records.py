"""What counts as ms-swift's own words, and what does not."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.swift.lines import Line
from daemon.swift.records import (
    CheckpointSaving,
    LogParser,
    Metrics,
    PhaseSeen,
    Record,
    TrainingBegan,
    duration_s,
    parse_jsonl_record,
    parse_printed,
)
from schemas.enums import Phase
from tests.swift.recordings import recording

TRAIN = (
    "{'loss': '5.969', 'grad_norm': '0.7598', 'learning_rate': '0.0001', 'token_acc': '0', 'epoch': '0.125', "
    "'global_step/max_steps': '1/8', 'elapsed_time': '12s', 'remaining_time': '1m 26s', 'train_speed(s/it)': '12.25'}"
)
BAR = "Train:  12%|█▎        | 1/8 [00:12<01:25, 12.25s/it]"


def feed(*lines: str | Line, parser: LogParser | None = None) -> list[Record]:
    parser = parser or LogParser()
    return [
        record
        for line in lines
        for record in parser.feed(line if isinstance(line, Line) else Line(line, 0, carriage=False))
    ]


def redrawn(text: str) -> Line:
    return Line(text, 0, carriage=True)


@pytest.mark.parametrize(
    "line",
    [
        TRAIN,
        f"  {TRAIN} ",
        f"{BAR}{TRAIN}",
        f"{BAR}{BAR} {TRAIN}",
        f"Train: 61it [00:00, 322.69it/s]{TRAIN}",
        f"{TRAIN}[rank1]:[W1123 23:40:19 reducer.cpp:1529] Warning: find_unused_parameters",
        f"{TRAIN}/env/lib/python3.11/site-packages/x.py:3: UserWarning: so",
        f"{TRAIN}{BAR}",
    ],
)
def test_a_logged_step_may_stand_among_bars_and_before_another_ranks_words(line: str) -> None:
    record = parse_printed(line)
    assert record is not None
    assert (record.kind, record.step, record.total_steps) == ("train", 1, 8)
    assert (record.elapsed_s, record.remaining_s) == (12, 86)
    assert record.values == {
        "loss": 5.969, "grad_norm": 0.7598, "learning_rate": 0.0001, "token_acc": 0, "epoch": 0.125,
        "seconds_per_step": 12.25,
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        f"user: {TRAIN}",
        f"[INFO:swift] [INPUT] {TRAIN}",
        f"[{TRAIN}]",
        f"{TRAIN}<|im_end|>",
        f"{TRAIN} is what it printed",
        f'"{TRAIN}"',
        "{'loss': '0.1'}",
        "{'loss': '0.1', 'global_step/max_steps': '9 of 9', 'elapsed_time': '1s'}",
        "{'loss': '0.1', 'global_step/max_steps': '9/9', 'elapsed_time': '1s'",
        "{'loss': '0.1', 'global_step/max_steps': {'a': '9/9'}, 'elapsed_time': '1s'}",
        '{"loss": "0.1", "global_step/max_steps": "9/9", "elapsed_time": "1s"}',
        "{'loss': __import__('os').system('id'), 'global_step/max_steps': '9/9', 'elapsed_time': '1s'}",
        "{'loss': '1', 'global_step/max_steps': '9999999999999/9999999999999', 'elapsed_time': '1s'}",
        "{'messages': [{'role': 'user', 'content': \"{'loss': 1}\"}]}",
        "{'device_map': 'cpu', 'dtype': torch.float32}",
    ],
)
def test_what_does_not_look_like_a_logged_step_is_none(line: str) -> None:
    assert parse_printed(line) is None
    assert not any(isinstance(record, Metrics) for record in feed(line))


@pytest.mark.parametrize(
    ("line", "kind", "values"),
    [
        (
            "{'loss': nan, 'grad_norm': inf, 'epoch': 0.5, 'global_step/max_steps': '1/2', 'percentage': '50.00%', "
            "'elapsed_time': '1s', 'memory(GiB)': 21.35, 'train_speed(iter/s)': 4.0}",
            "train",
            {"loss": math.nan, "grad_norm": math.inf, "epoch": 0.5, "memory_gib": 21.35, "seconds_per_step": 0.25},
        ),
        (
            "{'loss': 'nan', 'grad_norm': '-inf', 'global_step/max_steps': '1/2', 'elapsed_time': '1s'}",
            "train",
            {"loss": math.nan, "grad_norm": -math.inf},
        ),
        (
            "{'eval_rouge-1': np.float64(40.5), 'eval_x': None, 'eval_l': [1, 2], 'eval_t': tensor(0.5), "
            "'global_step/max_steps': '0/2', 'percentage': '0.00%', 'elapsed_time': '0s', 'train_speed(iter/s)': 0.0}",
            "eval",
            {"eval_rouge-1": 40.5, "eval_t": 0.5},
        ),
        (
            "{'train_runtime': 4.1, 'train_loss': 5.9, 'global_step/max_steps': '2/2', 'elapsed_time': '1m 1s'}",
            "summary",
            {"train_runtime": 4.1, "train_loss": 5.9},
        ),
    ],
)
def test_forms_of_values(line: str, kind: str, values: dict[str, float]) -> None:
    record = parse_printed(line)
    assert record is not None
    assert record.kind == kind
    assert record.values == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0), ("1m 26s", 86), ("2d 3h 4m 5s", 2 * 86400 + 3 * 3600 + 245), ("1h", 3600), (12.5, 12.5), (3, 3),
        ("soon", None), (None, None), (True, None), ("", None),
    ],
)  # fmt: skip
def test_durations(text: object, seconds: float | None) -> None:
    assert duration_s(text) == seconds


def test_a_row_of_the_data_becomes_nothing() -> None:
    """A real run whose system prompt and data hold logged steps, a run folder and errors, each on a line of its own."""
    run = recording("quoted_data")
    assert run.log.count(b"'global_step/max_steps': '9/9'") == 7
    assert {record.total_steps for record in run.printed()} == {5}


def test_nothing_is_taken_of_a_shown_row_before_the_trainers_first_line() -> None:
    row = ("[INFO:swift] [INPUT] hello", "[INFO:swift] output_dir: /etc", "[INFO:swift] The logging file", TRAIN)
    assert feed(*row) == []
    first = "[INFO:swift] The logging file will be saved in: /o/v0-1/logging.jsonl"
    assert [type(record) for record in feed(*row, first, TRAIN)] == [TrainingBegan, Metrics]


def test_a_bar_that_is_drawn_anew_ends_the_showing_of_data_as_well() -> None:
    row = "[INFO:swift] [INPUT] hello"
    assert feed(row, BAR, TRAIN) == []
    assert feed(row, redrawn(BAR), TRAIN)[0] == TrainingBegan()


def test_a_log_without_messages_is_read_as_well() -> None:
    """`LOG_LEVEL=ERROR` and `--disable_tqdm true` leave the command and the steps."""
    command = ("run sh: `python sft.py --system You", TRAIN, "are --lora_rank 8`")
    assert feed(*command) == []
    assert [type(record) for record in feed(*command, TRAIN)] == [TrainingBegan, Metrics]


def test_a_parser_that_begins_within_a_training_takes_the_next_step() -> None:
    assert [type(record) for record in feed(TRAIN)] == [TrainingBegan, Metrics]
    assert [type(record) for record in feed(redrawn(BAR), TRAIN)] == [TrainingBegan, Metrics]


@pytest.mark.parametrize(
    "line",
    [
        "[INFO:swift] Saving model checkpoint to /o/v0-1/checkpoint-8",
        f"{BAR}[INFO:swift] Saving model checkpoint to /o/v0-1/checkpoint-8",
        "Saving model checkpoint to /o/v0-1/checkpoint-8 ",
        "Train: 61it [00:00, 322.69it/s]              [INFO:swift] Saving model checkpoint to /o/v0-1/checkpoint-8",
    ],
)
def test_a_checkpoint_that_is_being_saved(line: str) -> None:
    saved = [record for record in feed(TRAIN, line) if isinstance(record, CheckpointSaving)]
    assert saved == [CheckpointSaving("/o/v0-1/checkpoint-8", 8)]


@pytest.mark.parametrize(
    "line",
    [
        "He said: Saving model checkpoint to /o/checkpoint-8",
        "[INFO:swift] Saving model checkpoint to /o/checkpoint-x",
        "[INFO:swift] Saving model checkpoint to /o/checkpoint-8/more",
        "[INFO:swift] Saving model checkpoint to",
    ],
)
def test_what_is_no_checkpoint(line: str) -> None:
    assert not any(isinstance(record, CheckpointSaving) for record in feed(TRAIN, line))


def test_phases() -> None:
    def bar(name: str, step: int) -> Line:
        return redrawn(f"{name}:  12%|█▎        | {step}/8 [00:12<01:25, 12.25s/it]")

    records = feed(
        redrawn("Generating train split: 18 examples [00:00, 11315.57 examples/s]"),
        redrawn("Map (num_proc=4): 100%|██████████| 18/18 [00:00<00:00, 111.19 examples/s]"),
        bar("Train", 0),
        bar("Train", 3),
        bar("Val", 0),
        bar("Val", 1),
        bar("Train", 3),
        "[INFO:swift] Saving model checkpoint to /o/checkpoint-3",
        bar("Train", 3),
        bar("Train", 4),
        bar("Train", 5),
        bar("Val", 0),
    )
    assert records == [
        PhaseSeen(Phase.PREPROCESSING),
        TrainingBegan(),
        PhaseSeen(Phase.EVALUATING),
        CheckpointSaving("/o/checkpoint-3", 3),
        PhaseSeen(Phase.TRAINING),
        PhaseSeen(Phase.EVALUATING),
    ]


def test_jsonl_records() -> None:
    line = b'{"loss": NaN, "epoch": 0.125, "global_step/max_steps": "1/8", "elapsed_time": "0s", "memory(GiB)": 1}'
    record = parse_jsonl_record(line)
    assert record is not None
    assert (record.step, record.total_steps, record.values["memory_gib"]) == (1, 8, 1)
    assert math.isnan(record.values["loss"])
    assert parse_jsonl_record(b'{"loss": 1' + b"0" * 400 + b"}") == Metrics("train", None, None, {})
    for torn in (b"", b"  ", line[:-1], b"[]", b"7", b"\xff", b'{"a": 1}', b"[" * 100_000):
        assert parse_jsonl_record(torn) is None


def test_the_summary_at_the_end_of_logging_jsonl_is_no_metrics() -> None:
    text: dict[str, Any] = {
        "last_model_checkpoint": "/o/checkpoint-20", "best_model_checkpoint": None, "best_metric": None,
        "global_step": 29, "log_history": [{"loss": 1.0}],
    }  # fmt: skip
    assert parse_jsonl_record(json.dumps(text).encode()) is None


@given(st.text() | st.binary().map(lambda data: data.decode(errors="replace")))
def test_no_line_makes_the_parser_fail(text: str) -> None:
    parser = LogParser()
    for line in (text, f"{{'{text}", f"{BAR}{text}", f"[INFO:swift] {text}", f"{TRAIN[:-1]}, '{text}': 1}}"):
        parser.feed(Line(line, 0, carriage=False))
