"""What was measured, as rows of a table. Nothing here judges: a row has its aim and the ratio to it, a person looks.

Samples are told by their median, their 95th percentile and their worst, so that a busy machine shows in the tail and
not in the middle. For a rate the tail is at its lower end: the worst round is the slowest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

HEAD = ("name", "p50", "p95", "worst", "n", "aim", "of aim")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row."""

    name: str
    unit: str
    samples: Sequence[float]
    aim: float | None = None
    more_is_better: bool = False

    def cells(self) -> tuple[str, ...]:
        """The row's texts."""
        if not self.samples:
            return (self.name, "-", "-", "-", "0", "-", "nothing measured")
        median = at_share(self.samples, 0.5)
        tail = at_share(self.samples, 0.05 if self.more_is_better else 0.95)
        worst = min(self.samples) if self.more_is_better else max(self.samples)
        shown = (self._text(median), self._text(tail), self._text(worst), str(len(self.samples)))
        if self.aim is None:
            return (self.name, *shown, "", "")
        sign = ">" if self.more_is_better else "<"
        return (self.name, *shown, f"{sign} {self._text(self.aim)}", f"{median / self.aim:.2f}")

    def _text(self, value: float) -> str:
        digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
        return f"{value:,.{digits}f} {self.unit}"


def at_share(samples: Sequence[float], share: float) -> float:
    """The sample below which this share of them lies (nearest rank)."""
    ranked = sorted(samples)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """All rows, aligned."""
    rows = [HEAD, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join(line.rstrip() for line in (lines[0], "-" * len(lines[0]), *lines[1:]))
