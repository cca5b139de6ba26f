"""Short ids are resolved through the bus: exact first, then a unique beginning, else the candidates are told."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from daemon.cli.ids import PAGE, full_id
from daemon.client import Client, RefusedError
from schemas.enums import ReplyErrorCode


class Bus:
    """Answers as the daemon does for jobs with these ids."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    async def call(self, command: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if command == "job.status":
            if body["job_id"] not in self.ids:
                raise RefusedError(ReplyErrorCode.NOT_FOUND, "there is no such job", ())
            return {"job_id": body["job_id"]}
        first = (body["page"] - 1) * body["size"]
        jobs = self.ids[first : first + body["size"]]
        return {"jobs": [{"id": job_id} for job_id in jobs], "total": len(self.ids)}


async def resolved(given: str, *ids: str) -> str:
    return await full_id(cast("Client", Bus(*ids)), given)


async def test_the_whole_id_wins_over_longer_ones() -> None:
    assert await resolved("ab", "abc", "ab") == "ab"


async def test_a_unique_beginning_is_enough_on_any_page() -> None:
    many = [f"x{number}" for number in range(PAGE + 5)]
    assert await resolved("old", *many, "older") == "older"


async def test_an_ambiguous_one_is_told_with_its_candidates() -> None:
    with pytest.raises(RefusedError, match="beginning of 2 jobs' ids, give more of it: a1, a2"):
        await resolved("a", "a1", "a2", "b")


async def test_none_is_told_as_the_daemon_does() -> None:
    with pytest.raises(RefusedError, match="not_found: there is no job z"):
        await resolved("z", "a")
