"""Progress arithmetic: what is known of an attempt, folded from what ms-swift logged.

Nothing here is estimated but the remaining time, and that only where ms-swift does not say it: steps left times its own
seconds per step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas.enums import Phase

EVAL_PREFIX = "eval_"
NOT_DONE = math.nextafter(100.0, 0.0)
"""What the document says of a training at its last step, which may still fail to save: 100 is for completed ones."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an attempt is. The metric values are those of the newest logged step."""

    phase: Phase = Phase.LOADING
    step: int = 0
    total_steps: int | None = None
    percent: float = 0.0
    epoch: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    token_acc: float | None = None
    eval: Mapping[str, float] = field(default_factory=dict[str, float])
    memory_gib: float | None = None
    seconds_per_step: float | None = None
    elapsed_s: float | None = None
    remaining_s: float | None = None


def progress_fields(now: Progress) -> dict[str, object]:
    """The progress as fields of the job's document."""
    return {
        "progress": min(NOT_DONE, max(now.percent, percent_of(now.step, now.total_steps))),
        "phase": now.phase,
        "current_step": now.step,
        "total_steps": now.total_steps,
        "current_epoch": now.epoch,
        "loss": now.loss,
        "grad_norm": now.grad_norm,
        "current_learning_rate": now.learning_rate,
        "token_acc": now.token_acc,
        "memory_gib": now.memory_gib,
        "seconds_per_step": now.seconds_per_step,
        "estimated_time_remaining": now.remaining_s,
        "eval_metrics": dict(now.eval),
    }


def percent_of(step: int, total_steps: int | None) -> float:
    """100 x step / total steps, within 0 to 100; 0 while the total is not known."""
    if not total_steps or total_steps < 0:
        return 0.0
    return min(100.0, max(0.0, 100.0 * step / total_steps))


def logged(
    before: Progress,
    *,
    step: int | None,
    total_steps: int | None,
    values: Mapping[str, float],
    elapsed_s: float | None,
    remaining_s: float | None,
) -> Progress:
    """The progress after a logged record. Percent and step never fall within an attempt."""
    reached = max(before.step, step) if step is not None else before.step
    total = total_steps if total_steps is not None else before.total_steps
    per_step = values.get("seconds_per_step", before.seconds_per_step)
    if remaining_s is None and total is not None and per_step is not None:
        remaining_s = max(0, total - reached) * per_step
    evals = {key: value for key, value in values.items() if key.startswith(EVAL_PREFIX)}
    return replace(
        before,
        step=reached,
        total_steps=total,
        percent=max(before.percent, percent_of(reached, total)),
        epoch=values.get("epoch", before.epoch),
        loss=values.get("loss", before.loss),
        grad_norm=values.get("grad_norm", before.grad_norm),
        learning_rate=values.get("learning_rate", before.learning_rate),
        token_acc=values.get("token_acc", before.token_acc) if not evals else before.token_acc,
        eval=evals or before.eval,
        memory_gib=values.get("memory_gib", before.memory_gib),
        seconds_per_step=per_step,
        elapsed_s=elapsed_s if elapsed_s is not None else before.elapsed_s,
        remaining_s=remaining_s,
    )
