"""How things are shown: tables and lines for people, JSON for programs.

Labels, log lines and error messages were written by strangers. Whatever could steer a terminal in them (escape
sequences, C1 controls, marks that turn the direction of writing) is shown by its number and never sent as it is.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 10_000
"""Columns where nobody looks: a table in a pipe is never folded or cut."""

_STEERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STEERS_IN_JSON = re.compile(_STEERS.pattern.replace(r"\x00-\x1f", ""))
"""JSON itself escapes the first 32, and sets its own line ends."""


def safe(text: str) -> str:
    """A text in which nothing steers the terminal; what did is shown as `\\x1b` or `\\u202e`."""
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\t", "    "))


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON that a terminal may be shown as well."""
    found = json.dumps(value, indent=indent, ensure_ascii=False)
    return _STEERS_IN_JSON.sub(lambda steering: f"\\u{ord(steering[0]):04x}", found)


def show_document(value: object) -> None:
    """Print one JSON document."""
    typer.echo(json_text(value, indent=2))


def show_line(value: object) -> None:
    """Print one JSON document on a line of its own."""
    typer.echo(json_text(value))


def say(text: str) -> None:
    """Print one line for a person."""
    typer.echo(safe(text))


def console() -> Console:
    """Where tables go: colours on a terminal that has them, plain and unfolded text in a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows below their heads, or a sentence where there are none."""
    cells = [[cell_text(value) for value in row] for row in rows]
    if not cells:
        say(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    console().print(table)


def show_fields(fields: Mapping[str, object]) -> None:
    """Print names and values below each other, without those that say nothing."""
    shown = {name: text for name, value in fields.items() if (text := cell_text(value))}
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in shown.items():
        table.add_row(Text(name), Text(text))
    console().print(table)


def cell_text(value: object) -> str:
    """A value as a person reads it; empty for what is not there."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        items: dict[object, object] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
        return ", ".join(f"{safe(str(key))}={cell_text(item)}" for key, item in items.items())
    if isinstance(value, (list, tuple)):
        parts: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        return ", ".join(cell_text(part) for part in parts)
    return safe(str(value))


def age_text(moment: str | None, now: datetime | None = None) -> str:
    """How long ago a moment of a document was: `12s`, `5m`, `3h`, `2d`."""
    if moment is None:
        return ""
    then = datetime.fromisoformat(moment)
    seconds = max(0.0, ((now or datetime.now(UTC)) - then).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"
