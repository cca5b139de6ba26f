"""Whether a failed attempt is tried again, when, and where not.

What another attempt would meet again is never retried: a bad argument, a missing model, broken data. The wait doubles
from 10 s to 10 min. After a failure that a sick device may have caused, the next attempt avoids those devices.
"""

from dataclasses import dataclass

from schemas.enums import ErrorCode

FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 600.0

_WORTH_IT: dict[ErrorCode, bool] = {
    ErrorCode.OUT_OF_MEMORY: False,
    ErrorCode.MODEL_NOT_FOUND: False,
    ErrorCode.DATASET_ERROR: False,
    ErrorCode.BAD_ARGUMENT: False,
    ErrorCode.NCCL_ERROR: True,
    ErrorCode.HARDWARE_ERROR: True,
    ErrorCode.DISK_FULL: False,
    ErrorCode.NAN_LOSS: False,
    ErrorCode.STALLED: True,
    ErrorCode.TIMEOUT: False,
    ErrorCode.KILLED: True,
    ErrorCode.NODE_LOST: True,
    ErrorCode.SPAWN_FAILED: True,
    ErrorCode.DEPENDENCY_FAILED: False,
    ErrorCode.UNKNOWN: True,
}
_ELSEWHERE = frozenset({ErrorCode.NCCL_ERROR, ErrorCode.HARDWARE_ERROR, ErrorCode.STALLED})


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Try again after `wait_s`, leaving `avoid` alone where other devices will do."""

    wait_s: float
    avoid: tuple[int, ...] = ()


def decide(code: ErrorCode, *, used: int, allowed: int, devices: tuple[int, ...]) -> RetryDecision | None:
    """The decision for a failure of this class after `used` of `allowed` retries; None: it stays failed."""
    if used >= allowed or not _WORTH_IT[code]:
        return None
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**used)
    return RetryDecision(wait_s=wait_s, avoid=devices if code in _ELSEWHERE else ())
