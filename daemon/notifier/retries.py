"""What follows an attempt: it is told, tried again later, or given up. Pure; chance comes in as a number."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MOST_ATTEMPTS = 8
FIRST_PAUSE_S = 5.0
FACTOR = 3.0
LONGEST_PAUSE_S = 1800.0
JITTER = 0.2
LONGEST_RETRY_AFTER_S = 3600.0
AGAIN_STATUSES = frozenset({408, 425, 429})
"""Refusals that are about the moment, not about the message; all of 5xx are as well."""


@dataclass(frozen=True, slots=True)
class Told:
    """The target has it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The target did not take it."""

    reason: str
    """For the log; without anything secret."""
    final: bool = False
    """Another attempt would end the same way."""
    retry_after_s: float | None = None
    """The target's own wish."""


Outcome = Told | Failed


def of_status(status: int, retry_after: str | None, now: datetime) -> Outcome:
    """What an HTTP status means for a delivery."""
    if 200 <= status < 300:
        return Told()
    if 300 <= status < 400:
        return Failed(f"HTTP {status}: a redirect, and none is followed", final=True)
    if status in AGAIN_STATUSES or status >= 500:
        return Failed(f"HTTP {status}", retry_after_s=seconds_of(retry_after, now))
    return Failed(f"HTTP {status}", final=True)


def seconds_of(retry_after: str | None, now: datetime) -> float | None:
    """The header `Retry-After` (seconds, or a date) in seconds from now, at most an hour; None: it says nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(LONGEST_RETRY_AFTER_S, float(text[:9]))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(LONGEST_RETRY_AFTER_S, max(0.0, (moment - now).total_seconds()))


def pause_s(attempts: int, failed: Failed, chance: float) -> float | None:
    """Seconds until the next attempt after so many; None: it is given up.

    5 s, 15 s, 45 s ... at most 30 min, each by up to a fifth longer or shorter (`chance`, 0 to 1), so that targets that
    come back are not met by everybody at once. Eight attempts take about an hour.
    """
    if failed.final or attempts >= MOST_ATTEMPTS:
        return None
    planned = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * math.pow(FACTOR, attempts - 1))
    planned *= 1 + JITTER * (2 * chance - 1)
    return max(planned, failed.retry_after_s or 0.0)
