"""The REST API and its streams over real jobs: what an older client sees, and what a page needs."""

import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeModel, Served, Settings
from tests.e2e.harness import REPO, clean_environment, probe, running_daemon
from tests.e2e.http.gateway import LLM, followed, request, running_gateway, stream
from tests.waiting import until

pytestmark = pytest.mark.services

SEED = REPO / "tests" / "data" / "seed_client.md"


def without_bars(lines: list[str]) -> list[str]:
    """The lines but those of a progress bar, which may be told as it stood in between."""
    return [line for line in lines if "%|" not in line]


async def test_the_older_client_runs_as_it_stands(
    standin_settings: Settings, amqp_url: str, work: Path, tmp_path: Path
) -> None:
    first, second = re.findall(r"```python\n(.*?)```", SEED.read_text(), re.DOTALL)
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(standin_settings, tmp_path, port=8000),
    ):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-I", "-c", first + second],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.search(r"训练状态: (pending|running|failed|completed), 进度: [\d.]+%", done.stdout)
        assert await found.call("job.list") != {}


async def test_a_job_from_its_order_to_its_deletion(
    make_model: MakeModel, data: str, tmp_path: Path, served: Served
) -> None:
    found, gateway = served
    body = request(make_model(steps=6, hold_at=3), data, labels={"team": "a"})
    made = await gateway.post(LLM, body, headers={"Idempotency-Key": "one"})
    job = f"/training/jobs/{made['job_id']}"
    assert (made["status"], made["state"]) == ("pending", "pending")
    assert await gateway.post(LLM, body, headers={"Idempotency-Key": "one"}) == made
    assert (await gateway.get("/api/v1/training/all/jobs"))["total"] == 1
    started = await gateway.post(f"{job}/start")
    assert (started["status"], started["state"]) == ("running", "queued")
    following = asyncio.create_task(followed(gateway, f"{job}/stream?log_offset=0"))
    await found.until(lambda event: event["data"].get("step") == 3)
    assert (await gateway.get("/training/llm/jobs?status=running&label=team=a"))["total"] == 1
    assert (await gateway.get("/training/llm/jobs?status=pending"))["total"] == 0
    assert (await gateway.get("/training/jobs"))["total"] == 0
    standing = await gateway.get(f"{job}/status")
    assert (standing["status"], standing["state"], standing["attempt"]) == ("running", "running", 1)
    assert (await gateway.get(f"{job}"))["state"] == "running"
    gpus = await gateway.get("/training/gpus")
    assert sorted((gpu["status"], gpu["available"]) for gpu in gpus["gpus"]) == [("free", True), ("leased", False)]
    refused = await gateway.http.delete(job)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    (tmp_path / "model" / "go").touch()
    events = await asyncio.wait_for(following, 60)
    assert [number for _, number, _ in events if number is not None] == list(
        range(1, len(found.durable(made["job_id"])) + 1)
    )
    assert [data["data"]["step"] for name, _, data in events if name == "progress"][-1] == 6
    assert events[-1][0] == "end"
    logs = await gateway.get(f"{job}/logs?limit=1000")
    streamed = [line for name, _, data in events if name == "log" for line in data["data"]["lines"]]
    assert without_bars(streamed) == without_bars(logs["logs"])
    assert logs["total"] == len(logs["lines"])
    assert (await gateway.get(f"{job}/logs?limit=2"))["lines"] == logs["lines"][-2:]
    first = await gateway.get(f"{job}/logs?offset=0&limit=2")
    second = await gateway.get(f"{job}/logs?offset={first['next_offset']}&limit=1000")
    assert (first["lines"], first["eof"]) == (logs["lines"][:2], False)
    assert (second["lines"], second["eof"]) == (logs["lines"][2:], True)
    last = events[-1][2]["sequence"]
    (only,) = [
        event
        for event in await followed(gateway, f"{job}/stream?log=false", **{"Last-Event-ID": str(last - 1)})
        if event[1]
    ]
    assert only[1] == last
    history = await gateway.get(f"{job}/events?limit=2&after=1")
    assert [event["sequence"] for event in history["events"]] == [2, 3]
    assert [point["step"] for point in (await gateway.get(f"{job}/metrics"))["points"]] == [1, 2, 3, 4, 5, 6]
    assert (await gateway.get(job))["export_completed"] is True
    assert (await gateway.post(f"{job}/export", {"checkpoint": "nowhere"}, 409))["code"] == "conflict"
    assert (await gateway.post(f"{job}/export", {"checkpoint": "last"}))["status"] == "exporting"
    await found.until(lambda event: event["data"].get("export_status") == "completed", number=2)
    deleted = await gateway.http.delete(f"{job}?purge_output=true")
    assert (deleted.status_code, deleted.json()["status"]) == (200, "deleted")
    assert (await gateway.get(job, 404))["code"] == "not_found"
    assert (await gateway.get(f"{job}/stream", 404))["code"] == "not_found"


async def test_a_stop_a_resume_and_everything_at_once(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(standin_settings, tmp_path) as gateway,
        gateway.http.stream("GET", "/training/events") as response,
    ):
        events = stream(response.aiter_lines())
        assert (await anext(events))[0] == ""  # from here on nothing is missed
        body = request(make_model(steps=6, hold_at=3), data, start=True, auto_export=False)
        made = await gateway.post(LLM, body)
        job = f"/training/jobs/{made['job_id']}"
        await found.until(lambda event: event["data"].get("step") == 3)
        stopped = await gateway.post(f"{job}/stop", {"grace_seconds": 5})
        assert (stopped["status"], stopped["state"]) == ("cancelled", "stopping")
        await found.status(made["job_id"], "cancelled")
        (tmp_path / "model" / "go").touch()
        assert (await gateway.post(f"{job}/resume"))["state"] == "queued"
        await found.status(made["job_id"], "completed", attempt=2)
        seen: list[str] = []
        async for name, _, told in events:
            assert name != "log"
            if name == "status":
                seen.append(told["data"]["status"])
                if seen[-1] == "completed":
                    break
        assert seen == [
            "pending",
            "queued",
            "starting",
            "running",
            "stopping",
            "cancelled",
            "queued",
            "starting",
            "running",
            "completed",
        ]
    async with running_gateway(standin_settings, tmp_path) as gateway:  # without a daemon
        assert (await gateway.get("/health"))["status"] == "ok"


async def test_it_ends_at_once_though_somebody_listens(
    standin_settings: Settings, amqp_url: str, work: Path, tmp_path: Path
) -> None:
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(standin_settings, tmp_path) as gateway,
        gateway.http.stream("GET", "/training/events") as response,
    ):
        events = stream(response.aiter_lines())
        await anext(events)
        gateway.process.send_signal(signal.SIGTERM)
        assert [name async for name, _, _ in events] == ["lost"]
        assert await asyncio.wait_for(gateway.process.wait(), 30) == 0
        assert "Traceback" not in gateway.log_path.read_text()


async def test_while_the_broker_is_away_it_says_so_and_comes_back(
    standin_settings: Settings, amqp_url: str, work: Path, tmp_path: Path, services_dir: Path
) -> None:
    async def broker(verb: str) -> None:
        argv = [sys.executable, "deploy/services.py", "rabbitmq", verb, "--dir", str(services_dir)]
        await asyncio.to_thread(subprocess.run, argv, cwd=REPO, check=True, capture_output=True)

    async with running_gateway(standin_settings, tmp_path) as gateway:
        async with gateway.http.stream("GET", "/training/events") as response:
            events = stream(response.aiter_lines())
            await anext(events)
            try:
                await broker("down")
                assert [name async for name, _, _ in events] == ["lost"]
                assert (await gateway.get("/training/queue", 503))["code"] == "unavailable"
                assert (await gateway.get("/training/events", 503))["code"] == "unavailable"
                assert (await gateway.get("/health"))["status"] == "degraded"
                assert (await gateway.http.get("/readyz")).status_code == 503
                assert (await gateway.get("/healthz"))["status"] == "ok"
            finally:
                await broker("up")
        await until(gateway.ready)
        async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
            assert (await gateway.get("/training/queue"))["total"] == 0
