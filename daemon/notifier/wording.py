"""Titles and texts of messages: templates of the operator's, or sentences in English or Chinese. Pure.

A template is plain text with names in braces, `{job_id}` or `{labels.team}`; `{{` is a brace. Names are looked up in
one flat table and nowhere else: no attributes, no expressions, no code.

Labels, reasons and error messages were written by strangers. In a message they are one line without control
characters, bounded, and call nobody: `@everyone` and `<!channel>` are broken by a mark that can't be seen.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from daemon.core.masking import mask
from daemon.notifier.events import Facts
from daemon.notifier.words import CHINESE, LINES, TITLES, Kind
from schemas.enums import ExportStatus, NodeState, TrainingStatus

Language = Literal["en", "zh"]


class Tone(StrEnum):
    """How a message sounds; Apprise colours it by that."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


_TONES: dict[object, Tone] = {
    TrainingStatus.COMPLETED: Tone.SUCCESS,
    TrainingStatus.FAILED: Tone.FAILURE,
    TrainingStatus.CANCELLED: Tone.WARNING,
    ExportStatus.COMPLETED: Tone.SUCCESS,
    ExportStatus.FAILED: Tone.FAILURE,
    NodeState.OFFLINE: Tone.FAILURE,
    NodeState.DRAINED: Tone.WARNING,
}


NAMES = (
    "attempt", "checkpoint", "devices", "error_code", "error_message", "event_id", "exit_code", "export_error",
    "export_path", "export_status", "job_id", "labels", "node_id", "owner", "previous", "reason", "rule", "short_id",
    "state", "status", "subject", "time", "training_type",
)  # fmt: skip
"""What a template may name; besides these `labels.NAME`."""
LABEL = "labels."
MOST_VALUE, MOST_TITLE, MOST_BODY = 500, 200, 4000
SHORT_ID = 8

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_CALLS = re.compile(r"(?<=@)(?=everyone|here|channel|all)|(?<=<)(?=[!@#])", re.IGNORECASE)
_UNSEEN = "\u200b"


def template_faults(template: str) -> list[str]:
    """What is wrong with a template, for a person; empty: nothing."""
    faults: list[str] = []
    for piece in _PIECES.finditer(template):
        name: str | None = piece[1]
        if name is None and piece[0] in {"{", "}"}:
            faults.append(f"a single {piece[0]}; a brace is written {piece[0] * 2}")
        elif name is not None and name not in NAMES and not (name.startswith(LABEL) and len(name) > len(LABEL)):
            faults.append(f"there is no {{{name}}}; there are {', '.join(NAMES)} and labels.NAME")
    return faults


def filled(template: str, table: Mapping[str, str]) -> str:
    """The template with its names replaced; what an event does not have is empty."""

    def replaced(piece: re.Match[str]) -> str:
        name: str | None = piece[1]
        return piece[0][0] if name is None else table.get(name, "")

    return _PIECES.sub(replaced, template)


def table_of(facts: Facts, rule: str) -> dict[str, str]:
    """The flat table that templates are filled from; every value is safe to be shown."""
    plain = {name: _text(value) for name, value in facts.values.items() if name not in {"labels", "devices"}}
    devices = facts.values.get("devices") or ()
    found = {
        **plain,
        "devices": ", ".join(str(index) for index in devices) if isinstance(devices, tuple) else "",  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        "event_id": _text(facts.event_id),
        "labels": ", ".join(f"{_text(name)}={_text(value)}" for name, value in sorted(facts.labels.items())),
        "rule": _text(rule),
        "short_id": _text(facts.subject)[:SHORT_ID],
        "subject": _text(facts.subject),
        "time": facts.time.strftime("%Y-%m-%d %H:%M:%S %Z"),
    }
    return {
        **{name: found.get(name, "") for name in NAMES},
        **{f"{LABEL}{name}": _text(value) for name, value in facts.labels.items()},
    }


def message_of(facts: Facts, *, rule: str, title: str | None, body: str | None, language: Language) -> tuple[str, str]:
    """Title (one line) and text of a message."""
    table = table_of(facts, rule)
    shown = table if language == "en" else {**table, **_translated(table)}
    told = filled(title or TITLES[language][kind_of(facts)], table if title else shown)
    text = filled(body, table) if body else _sentences(shown, language)
    return _one_line(told)[:MOST_TITLE], text[:MOST_BODY]


def tone_of(facts: Facts) -> Tone:
    """How bad or good an event is."""
    return _TONES.get(facts.status or facts.export_status or facts.node_state, Tone.INFO)


def kind_of(facts: Facts) -> Kind:
    """Which sentences go with an event."""
    if facts.node_state is not None:
        return "node"
    if facts.export_status is not None:
        return "export"
    return "failed" if facts.error_code is not None else "status"


def _sentences(table: Mapping[str, str], language: Language) -> str:
    """Lines of the default text: those that have something to say."""
    lines = (filled(line, table) for name, line in LINES[language] if table[name])
    return "\n".join(lines)


def _translated(table: Mapping[str, str]) -> dict[str, str]:
    names = ("status", "previous", "export_status", "state", "error_code")
    return {name: CHINESE.get(table[name], table[name]) for name in names}


def _text(value: object) -> str:
    """A value in a message."""
    if value is None:
        return ""
    masked = mask(_one_line(str(value)[: 2 * MOST_VALUE]))
    shown = masked if len(masked) <= MOST_VALUE else f"{masked[: MOST_VALUE - 1]}…"
    return _CALLS.sub(_UNSEEN, shown)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).strip()
