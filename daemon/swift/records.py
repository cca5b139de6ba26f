"""From lines to records: what ms-swift 3.x and 4.x say of a training, and nothing that they do not say.

Metrics are flat dictionary literals on standard output (4.x with its progress bar writes every value as a string of
four digits; 3.x and `--disable_tqdm` write numbers) and the same with all digits in `logging.jsonl`. Phases
and checkpoints come from lines of standard error. tqdm may stand before a record on the same line.

A log also repeats what strangers wrote (see `quoting`). So a record is taken only from a line that is one from its
first character to its last, and at the start of a run only behind the line with which ms-swift's trainer begins.
"""

import json
import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from daemon.swift.lines import Line
from daemon.swift.quoting import Quoting
from schemas.enums import Phase

Kind = Literal["train", "eval", "summary"]
MAX_RECORD = 16 * 1024
MAX_JSON_LINE = 1024 * 1024
"""The last line of `logging.jsonl` may have more, because it repeats every record; it is none itself."""


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
class CheckpointSaving:
    """ms-swift has begun to write a checkpoint."""

    path: str
    step: int


Record = Metrics | PhaseSeen | TrainingBegan | CheckpointSaving

_PLACE_KEY = "global_step/max_steps"
_PLACE_QUOTED = f"'{_PLACE_KEY}': '"
_RENAMED = {"memory(GiB)": "memory_gib", "train_speed(s/it)": "seconds_per_step"}
_NOT_VALUES = frozenset({_PLACE_KEY, "percentage", "elapsed_time", "remaining_time"})
_PLACE = re.compile(r"\s*(\d{1,12})\s*/\s*(\d{1,12})\s*")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(d|h|m|s)")
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}

_BAR = r"(?:Train|Val):\s+(?:\d+%\|[^|\[\]{}]{0,1000}\|\s*\d+/\d+|\d+it) \[[^\[\]{}]{0,200}\]"
_BARS = re.compile(rf"\s*(?:{_BAR}\s*)*")
"""Progress bars that may stand before a record or a message on the same line."""
_TRAIN_BAR = re.compile(r"Train:\s+(?:\d+%\|[^|\[\]{}]{0,1000}\|\s*(\d{1,12})/|(\d{1,12})it \[)")
_EVAL_BAR = re.compile(r"(?:Val|Eval|Evaluating|Prediction):\s+(?:\d+%\||\d+it \[)")
_MAP_BAR = re.compile(
    r"(?:Map|Filter|Generating \w+ split|Packing|Tokenizing|Running tokenizer on dataset)\b[^:|]{0,200}:\s+"
    r"(?:\d+%\||\d+ examples)"
)

_PAIR = re.compile(
    r"'([^'\\]{1,200})': "
    r"(?:'([^'\\]{0,200})'"  # a string
    r"|([^\s,'\"\\(){}\[\]]{1,60})"  # a number, None, True, nan
    r"|\w[\w.]{0,40}\(([^\s(){}\[\]]{0,60})\)"  # np.float64(0.5), tensor(0.5)
    r"|\[[^\[\]{}]{0,2000}\])"  # a list, which is no metric
    r"(?:, |(\}))"
)
_BEHIND_RECORD = re.compile(r"\s*(?:$|[\[/]|(?:Train|Val):)")
"""Nothing, or a message of another rank or a bar that was written into the same line."""

_SWIFT = "[INFO:swift] "
_SAVING = "Saving model checkpoint to "
_TRAINER_BEGINS = re.compile(re.escape(_SWIFT) + r"The logging file will be saved in: .*/logging\.jsonl\s*")
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,12})")


class LogParser:
    """Feed it lines, get records. Remembers the phase, so that each change is told once.

    The run folder is not among them: the daemon has chosen it, and no line of a log may name another.
    """

    def __init__(self) -> None:
        self._phase = Phase.LOADING
        self._began = False
        self._quoting = Quoting()
        self._shows_data = False
        """Arguments or rows were printed, and the trainer has not begun."""
        self._step = 0
        self._left_at = 0
        """The step at which training gave way to an evaluation or a save."""

    def feed(self, line: Line) -> list[Record]:
        """The records of one line."""
        text = line.text
        if not text or text.isspace():
            return []
        if not self._began and self._is_quoted(line):
            return self._enter(Phase.PREPROCESSING) if _MAP_BAR.match(text) else []
        if _PLACE_QUOTED in text:
            metrics = parse_printed(text)
            if metrics is not None:
                return self._metrics(metrics)
        return [*self._bar(text), *self._told(text)]

    def _is_quoted(self, line: Line) -> bool:
        """Whether a line before the training may be a stranger's.

        That is over with the trainer's first line, or with a progress bar that is drawn anew, where it is not printed.
        """
        quoted = self._quoting.feed(line.text)
        if quoted and line.text.startswith(_SWIFT):
            self._shows_data = True
        elif self._shows_data and (
            _TRAINER_BEGINS.fullmatch(line.text) or (line.carriage and _TRAIN_BAR.match(line.text))
        ):
            self._shows_data = False
            return False
        return quoted or self._shows_data

    def _metrics(self, metrics: Metrics) -> list[Record]:
        began = self._begin()
        self._step = max(self._step, metrics.step or 0)
        if metrics.kind == "train":
            self._phase = Phase.TRAINING
        elif metrics.kind == "eval":
            self._leave_training(Phase.EVALUATING)
        return [*began, metrics]

    def _bar(self, text: str) -> list[Record]:
        found = _TRAIN_BAR.match(text)
        if found:
            self._step = max(self._step, int(found[1] or found[2]))
            if not self._began:
                return self._begin()
            # a bar is drawn anew during an evaluation or a save; only one that has moved tells that training goes on
            return self._enter(Phase.TRAINING) if self._step > self._left_at else []
        if _EVAL_BAR.match(text):
            return self._leave_training(Phase.EVALUATING) if self._began else []
        if not self._began and _MAP_BAR.match(text):
            return self._enter(Phase.PREPROCESSING)
        return []

    def _told(self, text: str) -> list[Record]:
        message = _without_bars(text)
        place = message.removeprefix(_SWIFT)
        if place.startswith(_SAVING):
            path = place[len(_SAVING) :].strip()
            found = _CHECKPOINT.fullmatch(os.path.basename(path))
            if found:
                self._step = max(self._step, int(found[1]))
                self._leave_training(Phase.SAVING)
                return [CheckpointSaving(path=path, step=int(found[1]))]
        return []

    def _begin(self) -> list[Record]:
        if self._began:
            return []
        self._began = True
        self._phase = Phase.TRAINING
        return [TrainingBegan()]

    def _leave_training(self, phase: Phase) -> list[Record]:
        self._left_at = self._step
        return self._enter(phase)

    def _enter(self, phase: Phase) -> list[Record]:
        if phase is self._phase:
            return []
        self._phase = phase
        return [PhaseSeen(phase)]


def _without_bars(text: str) -> str:
    """A line without the progress bars that it begins with."""
    bars = _BARS.match(text)
    return text[bars.end() :] if bars else text


def parse_printed(text: str) -> Metrics | None:
    """The metrics of a printed line; None where it is not one of ms-swift's own.

    Its own begin with `{'`, name the step, and end with `}`. Before it there may be bars.
    """
    begin = text.find("{'")
    if begin < 0 or not _BARS.fullmatch(text, 0, begin):
        return None
    found: dict[str, object] = {}
    position = begin + 1
    while position - begin <= MAX_RECORD:
        pair = _PAIR.match(text, position)
        if pair is None:
            return None
        name, quoted, bare, wrapped, last = pair.groups()
        found[name] = next((value for value in (quoted, bare, wrapped) if value is not None), None)
        position = pair.end()
        if last:
            break
    else:
        return None
    place = found.get(_PLACE_KEY)
    if not isinstance(place, str) or not _PLACE.fullmatch(place):
        return None
    return _metrics(found) if _BEHIND_RECORD.match(text, position) else None


def parse_jsonl_record(line: bytes) -> Metrics | None:
    """The metrics of a `logging.jsonl` line; None for its last line and for anything torn."""
    found = _json(line)
    if found is None or "log_history" in found or "last_model_checkpoint" in found:
        return None
    if not isinstance(found.get(_PLACE_KEY), str) and not any(
        key in found for key in ("loss", "eval_loss", "train_runtime")
    ):
        return None
    return _metrics(found)


def _json(line: bytes) -> dict[str, object] | None:
    if not line or line.isspace() or len(line) > MAX_JSON_LINE:
        return None
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _metrics(found: Mapping[str, object]) -> Metrics:
    """A record of canonical names."""
    step, total = _place(found.get(_PLACE_KEY))
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
    found = _PLACE.fullmatch(place) if isinstance(place, str) else None
    return (int(found[1]), int(found[2])) if found else (None, None)


def _number(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        return float(raw)
    except (ValueError, OverflowError):
        return None


def duration_s(raw: object) -> float | None:
    """Seconds of `1m 26s`, `2d 3h 4m 5s` or a number; None where it is neither."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, str):
        return None
    parts = _DURATION.findall(raw[:100])
    return sum(float(count) * _SECONDS[unit] for count, unit in parts) if parts else None
