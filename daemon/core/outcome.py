"""How an attempt ended, decided from evidence: exit code, the step it reached, and what was asked of it.

Exit code 0 alone is not completion: a run that saved on a stop ends with 0 as well. Completed is who reached the last
step. And code 0 before it is nobody's success: cancelled where a stop was asked for, else failed as `killed`.
"""

from dataclasses import dataclass
from enum import StrEnum

from schemas.enums import ErrorCode
from schemas.jobs import StoppedFor


class Why(StrEnum):
    """Why an attempt ended."""

    REACHED_LAST_STEP = "reached_last_step"
    STOP_ASKED = "stop_asked"
    WATCHDOG = "watchdog"
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
    stopped_for: StoppedFor | None = None
    """Why the daemon itself ended it: a deadline, silence, a loss that is no number."""
    rebooted: bool = False
    """The host has been started anew since the attempt began."""
    unread: str = ""
    """Why the end of its log could not be read; empty: it was."""


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
    if ending.exit_code == 0 and ending.total_steps is not None and ending.step >= ending.total_steps:
        return Verdict(Why.REACHED_LAST_STEP)
    if ending.stopped_for is not None:
        return Verdict(Why.WATCHDOG, ending.stopped_for.error_code, ending.stopped_for.message)
    if ending.exit_code is None:
        code = ErrorCode.NODE_LOST if ending.rebooted else ErrorCode.KILLED
        cause = "the host was started anew" if ending.rebooted else "its runner was killed"
        detail = f": {note}" if note else ""
        return Verdict(Why.LOST, code, f"lost at step {ending.step} without an exit status; {cause}{detail}")
    of_total = f" of {ending.total_steps}" if ending.total_steps is not None else ""
    if ending.unread:
        message = f"ended with code {ending.exit_code}; its log is read up to step {ending.step}{of_total}, and then "
        return Verdict(Why.FAILED, ErrorCode.UNKNOWN, message + ending.unread)
    if ending.exit_code == 0:
        message = (
            f"ended with code 0 at step {ending.step}{of_total}, before its last step, and nobody asked it to stop"
        )
        return Verdict(Why.ENDED_EARLY, ErrorCode.KILLED, message)
    return Verdict(Why.FAILED, failure_code, f"{failure_message} ({note})" if note else failure_message)
