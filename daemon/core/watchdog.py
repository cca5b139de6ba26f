"""When a running attempt is in trouble although it has not failed: silence, a loss that is no number, the disk.

A data set map of seven hours is no hang, so silence is judged by the phase; what draws a progress bar is not silent.
"""

import math
from dataclasses import dataclass

from schemas.enums import Phase

_LOADS = frozenset({Phase.LOADING, Phase.PREPROCESSING})


@dataclass(frozen=True, slots=True)
class Limits:
    """What is too much; 0 means never."""

    stall_s: float
    stall_loading_s: float
    nan_steps: int
    disk_min_free_mib: float


def silence(silent_s: float, phase: Phase, step: int, limits: Limits) -> str | None:
    """What to say of an attempt that has written nothing for so long; None: that is all right in this phase."""
    limit_s = limits.stall_loading_s if phase in _LOADS else limits.stall_s
    if not limit_s or silent_s < limit_s:
        return None
    return f"stalled: no output for {limit_s:g} s while {phase}, at step {step}"


def bad_losses(before: int, loss: float | None) -> int:
    """How many logged steps in a row had a loss that is NaN or infinite, after one more record."""
    if loss is None:
        return before
    return 0 if math.isfinite(loss) else before + 1


def hopeless(bad: int, step: int, limits: Limits) -> str | None:
    """What to say of an attempt with so many bad losses in a row; None: it may recover."""
    if not limits.nan_steps or bad < limits.nan_steps:
        return None
    return f"the loss was NaN or infinite for {bad} logged steps in a row, up to step {step}"


def short_of_disk(free_mib: float, checkpoint_mib: float, limits: Limits) -> str | None:
    """What to say where the next checkpoint (as large as the last) may not fit; None: it does."""
    if not limits.disk_min_free_mib:
        return None
    if free_mib < checkpoint_mib:
        return f"disk: the next checkpoint needs about {checkpoint_mib:.0f} MiB, and {free_mib:.0f} MiB are free"
    if free_mib < limits.disk_min_free_mib:
        return f"disk: {free_mib:.0f} MiB are free below the output folder, less than {limits.disk_min_free_mib:g}"
    return None
