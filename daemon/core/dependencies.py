"""Whether the jobs that another one comes after have ended as they must; in words, why it waits or can never start."""

from collections.abc import Mapping

from daemon.core.lifecycle import ENDED
from daemon.core.work import Work
from schemas.enums import TrainingStatus

MOST_NAMED = 3

Statuses = Mapping[str, TrainingStatus]
"""By job id; a job that is not there is gone."""


def hopeless(work: Work, statuses: Statuses) -> str | None:
    """Why the work can never start, because a job that must have completed has ended otherwise; None: it may."""
    if work.after_always:
        return None
    for job_id in work.after:
        status = statuses.get(job_id)
        if status is None:
            return f"job {job_id}, which must complete before, was deleted"
        if status in ENDED and status is not TrainingStatus.COMPLETED:
            return f"job {job_id}, which must complete before, is {status}"
    return None


def unmet(work: Work, statuses: Statuses) -> str | None:
    """Which jobs have to end before; None: all have."""
    under_way = [
        f"{job_id} ({status})" for job_id in work.after if (status := statuses.get(job_id)) and status not in ENDED
    ]
    if not under_way:
        return None
    more = f" and {len(under_way) - MOST_NAMED} more" if len(under_way) > MOST_NAMED else ""
    return f"waits for the end of job {', '.join(under_way[:MOST_NAMED])}{more}"
