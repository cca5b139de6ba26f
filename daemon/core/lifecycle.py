"""The life of a job, as one table. Everything that moves a status is here; nothing else may.

A `Cause` is what happened; `MOVES` says where it leads. A pair that is not in the table is illegal: `next_status`
raises and nothing changes. `ENDED` are the statuses that only a resume leaves.
"""

from enum import StrEnum

from schemas.enums import ExportStatus, TrainingStatus


class Cause(StrEnum):
    """What can happen to a job."""

    START = "start"
    """A person asked for it to run."""
    CLAIM = "claim"
    """A node leased devices to it."""
    TRAIN = "train"
    """Its log told of the first training."""
    STOP = "stop"
    """A person asked for its end."""
    FINISH = "finish"
    """Its process ended with code 0 at its last step."""
    FAIL = "fail"
    """Its process ended otherwise, unasked."""
    GONE = "gone"
    """It was asked to stop and no process of it is left."""
    RETRY = "retry"
    """It failed and may try again."""
    LOSE = "lose"
    """Its node was lost, and with it the lease of its devices."""
    PREEMPT = "preempt"
    """It gave way to another, and no process of it is left."""
    RESUME = "resume"
    """A person asked for it to go on."""


S = TrainingStatus

MOVES: dict[tuple[TrainingStatus, Cause], TrainingStatus] = {
    (S.PENDING, Cause.START): S.QUEUED,
    (S.PENDING, Cause.STOP): S.CANCELLED,
    (S.QUEUED, Cause.CLAIM): S.STARTING,
    (S.QUEUED, Cause.STOP): S.CANCELLED,
    (S.QUEUED, Cause.FAIL): S.FAILED,
    (S.STARTING, Cause.TRAIN): S.RUNNING,
    (S.STARTING, Cause.STOP): S.STOPPING,
    (S.STARTING, Cause.FAIL): S.FAILED,
    (S.STARTING, Cause.RETRY): S.QUEUED,
    (S.STARTING, Cause.LOSE): S.QUEUED,
    (S.STARTING, Cause.PREEMPT): S.QUEUED,
    (S.RUNNING, Cause.STOP): S.STOPPING,
    (S.RUNNING, Cause.FINISH): S.COMPLETED,
    (S.RUNNING, Cause.FAIL): S.FAILED,
    (S.RUNNING, Cause.RETRY): S.QUEUED,
    (S.RUNNING, Cause.LOSE): S.QUEUED,
    (S.RUNNING, Cause.PREEMPT): S.QUEUED,
    (S.STOPPING, Cause.GONE): S.CANCELLED,
    (S.FAILED, Cause.RESUME): S.QUEUED,
    (S.CANCELLED, Cause.RESUME): S.QUEUED,
}

ENDED = frozenset({S.COMPLETED, S.FAILED, S.CANCELLED})
HOLDS_DEVICES = frozenset({S.STARTING, S.RUNNING, S.STOPPING})
WAITS_OR_RUNS = frozenset({S.QUEUED}) | HOLDS_DEVICES
EXPORT_UNDER_WAY = frozenset({ExportStatus.QUEUED, ExportStatus.RUNNING})


class IllegalMoveError(Exception):
    """The job's status forbids what was asked; nothing was changed."""

    def __init__(self, status: TrainingStatus, cause: Cause) -> None:
        super().__init__(f"a job that is {status} cannot {cause}")
        self.status = status
        self.cause = cause


def next_status(status: TrainingStatus, cause: Cause) -> TrainingStatus:
    """Where `cause` leads from `status`; raises `IllegalMoveError` where the table has no such move."""
    try:
        return MOVES[status, cause]
    except KeyError:
        raise IllegalMoveError(status, cause) from None
