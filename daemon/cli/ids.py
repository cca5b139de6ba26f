"""Short ids: the beginning of a job's id names the job, where it is unique."""

from daemon.client import Client, RefusedError
from schemas.enums import ReplyErrorCode

PAGE = 100
MAX_PAGES = 200
"""20,000 jobs are searched; whoever has more gives the whole id of an old one."""
CANDIDATES_SHOWN = 8


async def full_id(client: Client, given: str) -> str:
    """The id of the one job that is meant. Raises `RefusedError` where there is none, or more than one."""
    try:
        await client.call("job.status", {"job_id": given})
    except RefusedError as error:
        if error.code is not ReplyErrorCode.NOT_FOUND:
            raise
    else:
        return given
    found = {job_id for job_id in await _all_ids(client) if job_id.startswith(given)}
    if not found:
        raise RefusedError(ReplyErrorCode.NOT_FOUND, f"there is no job {given}", ())
    if len(found) > 1:
        raise RefusedError(ReplyErrorCode.NOT_FOUND, _ambiguous(given, sorted(found)), ())
    return found.pop()


def _ambiguous(given: str, found: list[str]) -> str:
    shown = ", ".join(found[:CANDIDATES_SHOWN]) + (", …" if len(found) > CANDIDATES_SHOWN else "")
    return f"{given} is the beginning of {len(found)} jobs' ids, give more of it: {shown}"


async def _all_ids(client: Client) -> set[str]:
    """The ids of all jobs, newest pages first."""
    found: set[str] = set()
    for page in range(1, MAX_PAGES + 1):
        answer = await client.call("job.list", {"page": page, "size": PAGE})
        found |= {str(job["id"]) for job in answer["jobs"]}
        if page * PAGE >= answer["total"]:
            break
    return found
