"""Numbers as a person reads them: durations, rates, the use of GPUs, and a curve in one line. Pure."""

import itertools
import math
from collections.abc import Sequence

from schemas.events import GpuUse

BLOCKS = "▁▂▃▄▅▆▇█"
BLOCKS_ASCII = "_.-=+*#@"
"""Where the terminal is not UTF-8."""
MOST_GPUS_NAMED = 4
MIB_PER_GIB = 1024


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """The finite ones among the values as at most `width` blocks, each the mean of its stretch."""
    shown = _squeezed([value for value in values if math.isfinite(value)], width)
    if not shown:
        return ""
    blocks, low = BLOCKS_ASCII if ascii_only else BLOCKS, min(shown)
    scale = (len(blocks) - 1) / (max(shown) - low) if max(shown) > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in shown)


def _squeezed(values: Sequence[float], width: int) -> list[float]:
    """As many means of neighbours as fit."""
    number = min(len(values), max(width, 0))
    edges = [place * len(values) // number for place in range(number + 1)] if number else []
    return [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]


def duration_text(seconds: float | None) -> str:
    """`8s`, `4m 05s`, `2h 10m`, `3d 4h`; empty where it is not known."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def rate_text(seconds_per_step: float | None) -> str:
    """`0.24 s/step`; empty where it is not known."""
    return f"{seconds_per_step:.3g} s/step" if seconds_per_step and math.isfinite(seconds_per_step) else ""


def gpu_texts(gpus: Sequence[GpuUse]) -> list[str]:
    """`GPU 0 97% 35/80 GiB`, one a device; of many, their mean."""
    if len(gpus) <= MOST_GPUS_NAMED:
        return [f"GPU {gpu.index}{_use(gpu.utilization)}{_memory([gpu])}" for gpu in gpus]
    return [f"{len(gpus)} GPUs{_use(_mean([gpu.utilization for gpu in gpus]))}{_memory(gpus)}"]


def gpu_short(gpus: Sequence[GpuUse]) -> str:
    """Utilization alone, for a column: `97% 95%`, of many their mean: `8x 96%`."""
    if len(gpus) <= MOST_GPUS_NAMED:
        return " ".join(f"{gpu.utilization:.0f}%" if gpu.utilization is not None else "-" for gpu in gpus)
    return f"{len(gpus)}x{_use(_mean([gpu.utilization for gpu in gpus]))}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _use(percent: float | None) -> str:
    return "" if percent is None else f" {percent:.0f}%"


def _memory(gpus: Sequence[GpuUse]) -> str:
    used = [gpu.memory_used_mib for gpu in gpus if gpu.memory_used_mib is not None]
    total = [gpu.memory_total_mib for gpu in gpus if gpu.memory_total_mib is not None]
    return f" {sum(used) / MIB_PER_GIB:.0f}/{sum(total) / MIB_PER_GIB:.0f} GiB" if used and total else ""
