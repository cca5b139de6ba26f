"""The largest commands that are allowed, many at once, and larger ones: all answered, no document too large."""

import asyncio
import json
import time

import pytest

from tests.bounds.room import Json, RefusedError, Room, say

pytestmark = pytest.mark.services

MIB = 1024 * 1024
IN_FLIGHT = 64
"""As many as the daemon takes from the broker."""
MOST_MIB = 300
"""The bodies of them all, parsed, and what the client libraries keep of them."""
LIMIT_S = 60.0


def large(room: Room, request: Json, number: int) -> bytes:
    """A request of nearly 1 MiB."""
    body = json.dumps({**request, "output_dir": f"out/{number}", "datasets": [f"{number}/" + "d" * 4000] * 256})
    assert 0.95 * MIB < len(body) < MIB
    return body.encode()


async def test_as_many_of_the_largest_as_are_in_flight(room: Room) -> None:
    request = room.request(room.model({"steps": 3, "pause_s": 0}))
    bodies = [large(room, request, number) for number in range(IN_FLIGHT)]
    async with room.quiet_job() as quiet:
        async with room.watched(quiet) as watched:
            began = time.monotonic()
            replies = await asyncio.gather(*(room.probe.raw("job.create", body, LIMIT_S) for body in bodies))
            watched.answers["job.create"] = [time.monotonic() - began]
        say(f"{IN_FLIGHT} creations of 1 MiB: {watched}")
        watched.holds(MOST_MIB)
        assert all(reply["ok"] for reply in replies)
        async with room.watched(quiet) as watched:
            began = time.monotonic()
            refused = await asyncio.gather(
                *(room.probe.raw("job.create", b" " * int(1.1 * MIB), LIMIT_S) for _ in range(IN_FLIGHT))
            )
            watched.answers["job.create"] = [time.monotonic() - began]
        say(f"{IN_FLIGHT} of 1.1 MiB: {watched}")
        watched.holds(MOST_MIB)
        assert {reply["error"]["code"] for reply in refused} == {"invalid_request"}
        few = await room.probe.call("job.list", {"size": 10})
        assert len(json.dumps(few)) > 10 * 0.95 * MIB
        with pytest.raises(RefusedError, match="ask for less"):  # a broker would refuse to carry it
            await room.probe.call("job.list", {"size": 40})
        got = await room.probe.call("job.get", {"job_id": replies[0]["result"]["job_id"]})
        assert got["datasets"] == json.loads(bodies[0])["datasets"]


async def test_the_request_that_makes_the_largest_document(room: Room) -> None:
    """Small numbers grow thirteenfold in a document: each with its index, and once more in the command line."""
    request = room.request(room.model({"steps": 3, "pause_s": 0}), start=True)
    sizes = len(json.dumps(request)) + 100
    body = json.dumps(
        {**request, "extra_args": {"freeze_parameters": [1] * ((MIB - sizes) // 2)}}, separators=(",", ":")
    )
    assert 0.99 * MIB < len(body) <= MIB
    reply = await room.probe.raw("job.create", body.encode(), LIMIT_S)
    if reply["ok"]:
        job_id = reply["result"]["job_id"]
        await room.probe.until(lambda event: event["_key"] == f"job.{job_id}.status.failed", LIMIT_S)
        ended = await room.probe.call("job.status", {"job_id": job_id})
        assert (ended["error_code"], ended["attempt"]) == ("spawn_failed", 1)
        assert "Argument list too long" in ended["error_message"]
    else:
        assert reply["error"]["code"] == "invalid_request"
        assert reply["error"]["details"][0]["loc"][0] == "extra_args"
    many = {**request, "labels": {f"label-{number}": "x" for number in range(100)}}
    with pytest.raises(RefusedError, match="100 labels"):
        await room.probe.call("job.create", many)
    most = {**request, "labels": {f"{number:02}" + "n" * 61: "\N{GRINNING FACE}" * 256 for number in range(32)}}
    job_id = (await room.probe.call("job.create", most))["job_id"]
    await room.probe.status(job_id, "completed")
    assert [event["sequence"] for event in room.probe.durable(job_id)] == [1, 2, 3, 4, 5]
