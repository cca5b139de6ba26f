"""From lines to records: what ms-swift 3.x and 4.x say of a training, and nothing that they do not say.

Metrics are dictionary literals on standard output (4.x with its progress bar writes every value as a string of four
digits; 3.x and `--disable_tqdm` write numbers) and the same with all digits in `logging.jsonl`. Phases, checkpoints and
the run folder come from lines of standard error. tqdm may stand before a record on the same line.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from daemon.swift.lines import Line
from schemas.enums import Phase

Kind = Literal["train", "eval", "summary"]
MAX_LITERAL = 16 * 1024


@dataclass(frozen=True, slots=True)
class Metrics:
    """A logged record."""

    kind: Kind
    step: int | None
    total_steps: int | None
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    """As ms-swift names them, but `memory_gib` and `seconds_per_step`."""
    elapsed_s: float | None = None
    remaining_s: float | None = None


@dataclass(frozen=True, slots=True)
class PhaseSeen:
    """The output tells of a phase."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class TrainingBegan:
    """The first sign of training."""


@dataclass(frozen=True, slots=True)
class RunDirSeen:
    """ms-swift says where it writes."""

    path: str


@dataclass(frozen=True, slots=True)
class CheckpointSaving:
    """ms-swift has begun to write a checkpoint."""

    path: str
    step: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The last line of `logging.jsonl`."""

    last_checkpoint: str | None
    best_checkpoint: str | None
    best_metric: float | None
    global_step: int


Record = Metrics | PhaseSeen | TrainingBegan | RunDirSeen | CheckpointSaving

_RENAMED = {"memory(GiB)": "memory_gib", "train_speed(s/it)": "seconds_per_step"}
_NOT_VALUES = frozenset({"global_step/max_steps", "percentage", "elapsed_time", "remaining_time"})
_NON_FINITE = re.compile(r"(?<=: )(-?)(nan|inf)\b")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|m|s)")
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}

_TRAIN_BAR = re.compile(r"(?:^|\s)Train:\s+\d+%\|")
_EVAL_BAR = re.compile(r"(?:^|\s)(?:Val|Eval|Evaluating|Prediction):\s+\d+%\|")
_MAP_BAR = re.compile(
    r"(?:^|\s)(?:Map|Filter|Generating \w+ split|Packing|Tokenizing|Running tokenizer on dataset)\b[^:|]*:\s+(?:\d+%\||\d+ examples)"
)
_SAVING = re.compile(r"Saving model checkpoint to (\S.*?checkpoint-(\d+))\s*$")
_RUN_DIR = re.compile(
    r"\[INFO:swift\] (?:output_dir: (\S.*?)|The logging file will be saved in: (\S.*?)/logging\.jsonl)\s*$"
)


class LogParser:
    """Feed it lines, get records. Remembers the phase, so that each change is told once."""

    def __init__(self) -> None:
        self._phase = Phase.LOADING
        self._began = False

    def feed(self, line: Line) -> list[Record]:
        """The records of one line."""
        text = line.text
        if "{'" in text:
            metrics = parse_printed(text)
            if metrics is not None:
                return self._metrics(metrics)
        if "%|" in text or " examples" in text:
            return self._bar(text)
        if text.startswith("["):
            return self._told(text)
        if "Saving model checkpoint to" in text:
            return self._told(text)
        return []

    def _metrics(self, metrics: Metrics) -> list[Record]:
        began = self._begin()
        if metrics.kind == "train":
            self._phase = Phase.TRAINING
        elif metrics.kind == "eval":
            self._phase = Phase.EVALUATING
        return [*began, metrics]

    def _bar(self, text: str) -> list[Record]:
        saving = self._told(text) if "Saving model checkpoint to" in text else []
        if _TRAIN_BAR.search(text):
            # a bar is drawn anew after an evaluation or a save; those tell their own end by the next logged step
            return [*self._begin(), *saving]
        if _EVAL_BAR.search(text):
            return [*self._enter(Phase.EVALUATING), *saving] if self._began else saving
        if not self._began and _MAP_BAR.search(text):
            return self._enter(Phase.PREPROCESSING)
        return saving

    def _told(self, text: str) -> list[Record]:
        found = _SAVING.search(text)
        if found:
            self._phase = Phase.SAVING
            return [CheckpointSaving(path=found[1], step=int(found[2]))]
        found = _RUN_DIR.search(text)
        if found:
            return [RunDirSeen(path=found[1] or found[2])]
        return []

    def _begin(self) -> list[Record]:
        if self._began:
            return []
        self._began = True
        self._phase = Phase.TRAINING
        return [TrainingBegan()]

    def _enter(self, phase: Phase) -> list[Record]:
        if phase is self._phase:
            return []
        self._phase = phase
        return [PhaseSeen(phase)]


def parse_printed(text: str) -> Metrics | None:
    """The metrics of a printed line, wherever in it they stand; None where there are none."""
    begin, end = text.find("{'"), text.rfind("}")
    if begin < 0 or end < begin or end - begin > MAX_LITERAL:
        return None
    literal = text[begin : end + 1]
    try:
        # nan and inf are no literals: as strings they are
        found: object = ast.literal_eval(_NON_FINITE.sub(r"'\1\2'", literal))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    record: dict[object, object] = found  # pyright: ignore[reportUnknownVariableType]
    return _metrics({str(key): value for key, value in record.items()})


def parse_jsonl_record(line: bytes) -> Metrics | None:
    """The metrics of a `logging.jsonl` line; None for its last line and for anything torn."""
    found = _json(line)
    return None if found is None or "log_history" in found else _metrics(found)


def parse_jsonl_summary(line: bytes) -> RunSummary | None:
    """The last line of `logging.jsonl`, written when a run ended by itself."""
    found = _json(line)
    if found is None or "global_step" not in found or "last_model_checkpoint" not in found:
        return None
    last, best, metric = found["last_model_checkpoint"], found.get("best_model_checkpoint"), found.get("best_metric")
    return RunSummary(
        last_checkpoint=last if isinstance(last, str) else None,
        best_checkpoint=best if isinstance(best, str) else None,
        best_metric=float(metric) if isinstance(metric, int | float) else None,
        global_step=int(str(found["global_step"])),
    )


def _json(line: bytes) -> dict[str, object] | None:
    if not line.strip() or len(line) > 64 * MAX_LITERAL:
        return None
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _metrics(found: Mapping[str, object]) -> Metrics | None:
    """A record of canonical names; None where it is no record of a training."""
    place = found.get("global_step/max_steps")
    if not isinstance(place, str) and not any(key in found for key in ("loss", "eval_loss", "train_runtime")):
        return None
    step, total = _place(place)
    values: dict[str, float] = {}
    for key, raw in found.items():
        value = _number(raw)
        if key in _NOT_VALUES or value is None:
            continue
        if key == "train_speed(iter/s)":
            if value > 0:
                values["seconds_per_step"] = 1 / value
        else:
            values[_RENAMED.get(key, key)] = value
    return Metrics(
        kind=_kind(values),
        step=step,
        total_steps=total,
        values=values,
        elapsed_s=duration_s(found.get("elapsed_time")),
        remaining_s=duration_s(found.get("remaining_time")),
    )


def _kind(values: Mapping[str, float]) -> Kind:
    if "train_runtime" in values:
        return "summary"
    return "eval" if any(key.startswith("eval_") for key in values) and "loss" not in values else "train"


def _place(place: object) -> tuple[int | None, int | None]:
    if isinstance(place, str):
        step, slash, total = place.partition("/")
        if slash and step.strip().isdigit() and total.strip().isdigit():
            return int(step), int(total)
    return None, None


def _number(raw: object) -> float | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int | float):
        return float(raw)
    if isinstance(raw, str):
        try:
            return float(raw)
        except ValueError:
            return None
    return None


def duration_s(raw: object) -> float | None:
    """Seconds of `1m 26s`, `2d 3h 4m 5s` or a number; None where it is neither."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, str):
        return None
    parts = _DURATION.findall(raw)
    return sum(float(count) * _SECONDS[unit] for count, unit in parts) if parts else None
