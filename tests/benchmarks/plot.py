"""Measures `plan()` over queues of growing length, and draws its time against them, on log axes: `deploy/plan.svg`.

python -m tests.benchmarks.plot
"""

import math
import os
import platform
import statistics
import sys
from collections.abc import Sequence

from tests.benchmarks.pure import DEVICES, NODES, fleet, leases, plan_ms, works
from tests.benchmarks.room import REPO

QUEUES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
ROUNDS = 5
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 70, 20, 46, 56
X_DECADES, Y_DECADES = (2, 5), (0, 4)
COLOURS = {"all devices free": "#1b6ca8", "all taken but one": "#c0392b"}

Curve = list[tuple[float, float]]


def main() -> None:
    """Measure, draw, and print the numbers."""
    nodes, held = fleet(), leases()
    given = {"all devices free": [], "all taken but one": held[:-1]}
    curves: dict[str, Curve] = {
        name: [
            (number, statistics.median(plan_ms(works(number), nodes, taken) for _ in range(ROUNDS)))
            for number in QUEUES
        ]
        for name, taken in given.items()
    }
    path = REPO / "deploy" / "plan.svg"
    path.write_text(draw(curves), encoding="utf-8")
    for name, curve in curves.items():
        sys.stdout.write(f"{name}: {', '.join(f'{x:,.0f} jobs {y:.0f} ms' for x, y in curve)}\n")
    sys.stdout.write(f"written: {path}\n")


def draw(curves: dict[str, Curve]) -> str:
    """The plot."""
    title = f"plan() over {NODES:,} nodes of {DEVICES} devices: one decision, median of {ROUNDS}"
    where = f"Python {platform.python_version()}, one of {os.cpu_count()} cores"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 20, f"{title} ({where})", anchor="start"),
        *(line for decade in range(X_DECADES[0], X_DECADES[1] + 1) for line in _column(10**decade)),
        *(line for decade in range(Y_DECADES[0], Y_DECADES[1] + 1) for line in _row(10**decade)),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "jobs in the queue"),
        *(line for place, (name, curve) in enumerate(curves.items()) for line in _curve(name, curve, place)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def x_of(jobs: float) -> float:
    """Where a number of jobs is."""
    first, last = X_DECADES
    return LEFT + (math.log10(jobs) - first) / (last - first) * (WIDTH - LEFT - RIGHT)


def y_of(ms: float) -> float:
    """Where a time is."""
    first, last = Y_DECADES
    return HEIGHT - BOTTOM - (math.log10(ms) - first) / (last - first) * (HEIGHT - TOP - BOTTOM)


def text(x: float, y: float, words: str, *, anchor: str = "middle", colour: str = "#222") -> str:
    """A text at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _column(jobs: int) -> Sequence[str]:
    x = x_of(jobs)
    return _line(x, TOP, x, HEIGHT - BOTTOM), text(x, HEIGHT - BOTTOM + 18, f"{jobs:,}")


def _row(ms: int) -> Sequence[str]:
    y = y_of(ms)
    label = f"{ms} ms" if ms < 1000 else f"{ms // 1000} s"
    return _line(LEFT, y, WIDTH - RIGHT, y), text(LEFT - 8, y + 4, label, anchor="end")


def _curve(name: str, curve: Curve, place: int) -> Sequence[str]:
    points = [(x_of(jobs), y_of(ms)) for jobs, ms in curve]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    colour = COLOURS[name]
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points),
        text(LEFT + 12, TOP + 16 * (place + 1), name, anchor="start", colour=colour),
    )


if __name__ == "__main__":
    main()
