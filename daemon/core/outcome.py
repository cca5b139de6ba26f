"""How an attempt ended, decided from evidence: exit code, the step it reached, and what was asked of it.

Exit code 0 alone is not completion: a run that saved on a stop ends with 0 as well. Completed is who reached the last
step. And code 0 before it is nobody's success: cancelled where a stop was asked for, else failed as `killed`.
"""

from dataclasses import dataclass
from enum import StrEnum

from schemas.enums import ErrorCode


class Why(StrEnum):
    """Why an attempt ended."""

    REACHED_LAST_STEP = "reached_last_step"
    STOP_ASKED = "stop_asked"
    TIMED_OUT = "timed_out"
    ENDED_EARLY = "ended_early"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known when no process of an attempt is left."""

    exit_code: int | None
    """None: neither process nor exit file."""
    step: int
    total_steps: int | None
    stop_asked: bool
    timed_out_after_s: float | None = None
    rebooted: bool = False
    """The host has been started anew since the attempt began."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision: why, and for a failure its code and the line that says it."""

    why: Why
    error_code: ErrorCode | None = None
    error_message: str | None = None


def judge(ending: Ending, failure_code: ErrorCode, failure_message: str, note: str) -> Verdict:
    """Decide. `failure_*` is what the log says of a failure, `note` what the runner knows beside it."""
    if ending.stop_asked:
        return Verdict(Why.STOP_ASKED)
    if ending.timed_out_after_s is not None:
        message = f"stopped at step {ending.step}: timeout_seconds ({ending.timed_out_after_s:g} s) has passed"
        return Verdict(Why.TIMED_OUT, ErrorCode.TIMEOUT, message)
    if ending.exit_code is None:
        code = ErrorCode.NODE_LOST if ending.rebooted else ErrorCode.KILLED
        cause = "the host was started anew" if ending.rebooted else "its runner was killed"
        detail = f": {note}" if note else ""
        return Verdict(Why.LOST, code, f"lost at step {ending.step} without an exit status; {cause}{detail}")
    if ending.exit_code == 0:
        if ending.total_steps is not None and ending.step >= ending.total_steps:
            return Verdict(Why.REACHED_LAST_STEP)
        of_total = f" of {ending.total_steps}" if ending.total_steps is not None else ""
        message = (
            f"ended with code 0 at step {ending.step}{of_total}, before its last step, and nobody asked it to stop"
        )
        return Verdict(Why.ENDED_EARLY, ErrorCode.KILLED, message)
    return Verdict(Why.FAILED, failure_code, failure_message)
