"""Times as the store has them, and how far two clocks are apart, as far as the way between them lets it be told.

Every node measures its own clock against the store's, which all nodes see, and keeps that with its heartbeat; the
difference of two nodes' figures is how far they are apart. When a heartbeat is seen says nothing of that: heartbeats
and looks keep the same pace, so the time between the two stays the same and looks like a clock that is off.
"""

from datetime import datetime

LONGEST_WAY_S = 1.0
"""There and back; half of it is the most that a figure is wrong by."""


def whole_ms(at: datetime) -> datetime:
    """A time as the store keeps it: cut to milliseconds."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def behind_s(asked: datetime, there: datetime, answered: datetime) -> float | None:
    """How far a clock that was asked is behind ours; None where its answer took too long to tell."""
    way = answered - asked
    if not 0 <= way.total_seconds() <= LONGEST_WAY_S:
        return None
    return (asked + way / 2 - there).total_seconds()


def apart_s(ours: float | None, theirs: float | None) -> float | None:
    """How far their clock is behind ours, by how far one that both know is behind each."""
    return None if ours is None or theirs is None else ours - theirs
