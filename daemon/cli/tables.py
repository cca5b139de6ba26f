"""Tables that fit a terminal of any width: a value is cut, or a column left out, before a row is folded past reading.

In a pipe nothing is cut: there each row is one line with all columns, and ids are whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.cli.output import cell_text, console, say, show_table

ID_SHOWN = 8
GAP = 2
"""Columns of the terminal between two of the table."""


class Excess(Enum):
    """What becomes of a value for which there is no room."""

    LEAVE_OUT = "the column is left out"
    CUT = "its end is cut"
    CUT_FRONT = "its beginning is cut: of a path the end tells more"
    FOLD = "it goes on in the next line"


@dataclass(frozen=True)
class Column:
    """One column and its claim to the terminal's width."""

    name: str
    rank: int
    """The highest is left out first."""
    excess: Excess = Excess.LEAVE_OUT
    least: int = 0
    """Width below which it is left out, where its values may be cut or folded."""
    ids: bool = False
    """At a terminal the beginnings of ids are shown; they are enough for every command, where they are unique."""


def short_id(job_id: str) -> str:
    """As much of an id as a table shows; it is enough for every command, where it is unique."""
    return job_id[:ID_SHOWN]


def show_fitted(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows below their heads, as wide as the terminal is, or a sentence where there are none."""
    shown = console()
    if not shown.is_terminal:
        show_table([column.name for column in columns], rows, empty=empty)
        return
    cells = [[_cell(column, value) for column, value in zip(columns, row, strict=True)] for row in rows]
    if cells:
        shown.print(fitted_table(columns, cells, shown))
    else:
        say(empty)


def fitted_table(columns: Sequence[Column], cells: Sequence[Sequence[str]], shown: Console) -> Table:
    """The rows as a table that is no wider than the terminal."""
    widths = fitted(columns, cells, shown.width)
    mark = "..." if shown.options.ascii_only else "…"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for place, width in widths.items():
        table.add_column(columns[place].name, width=width, overflow="fold")
    for row in cells:
        table.add_row(*(Text(_cut(row[place], columns[place].excess, widths[place], mark)) for place in widths))
    return table


def fitted(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> Mapping[int, int]:
    """The columns that are shown, by their places, each with its width; one that says nothing is not."""
    whole = {
        place: max(cell_len(text) for text in (column.name, *(row[place] for row in cells)))
        for place, column in enumerate(columns)
        if any(row[place] for row in cells)
    }
    given = {
        place: most if columns[place].excess is Excess.LEAVE_OUT else min(most, max(columns[place].least, 1))
        for place, most in whole.items()
    }
    by_rank = sorted(given, key=lambda place: columns[place].rank)
    while len(by_rank) > 1 and _total(given) > width:
        del given[by_rank.pop()]
    room = width - _total(given)
    for place in by_rank:
        more = max(0, min(room, whole[place] - given[place]))
        given[place] += more
        room -= more
    return given


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _cell(column: Column, value: object) -> str:
    text = cell_text(value)
    return short_id(text) if column.ids else text


def _cut(text: str, excess: Excess, width: int, mark: str) -> str:
    if excess not in (Excess.CUT, Excess.CUT_FRONT) or cell_len(text) <= width:
        return text
    room = width - len(mark)
    kept = text
    while kept and cell_len(kept) > room:
        kept = kept[1:] if excess is Excess.CUT_FRONT else kept[:-1]
    return mark + kept if excess is Excess.CUT_FRONT else kept + mark
