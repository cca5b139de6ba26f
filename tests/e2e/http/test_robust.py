"""What must not bring the gateway down or open: readers that go at any moment, a new broker, a door without tokens."""

import asyncio
import json
import subprocess
from pathlib import Path

import aio_pika
import httpx
import pytest
from fastapi import FastAPI

from daemon.gateway.app import create_app
from daemon.gateway.link import Link
from daemon.gateway.settings import GatewaySettings
from daemon.gateway.tokens import TokenFile
from deploy import services as private
from tests.e2e.conftest import MakeModel, Served, Settings
from tests.e2e.harness import probe, running_daemon
from tests.e2e.http.gateway import running_gateway, stream
from tests.waiting import until

pytestmark = pytest.mark.services


EVENT = (
    b'{"specversion": "1.0", "id": "1", "source": "/swift-trainer/nodes/n", "type": "swift.node.v1", "subject": "n", '
    b'"time": "2026-01-01T00:00:00Z", "data": {}}'
)


def bindings(services_dir: Path) -> list[str]:
    """Routing keys that client queues are bound to `swift.events` with, as the broker tells."""
    env = private.rabbitmq_env(services_dir, private.load(services_dir, "rabbitmq"))
    program = str(private.RABBITMQ_SCRIPT.with_name("rabbitmqctl"))
    argv = [program, "-q", "--formatter", "json", "list_bindings", "source_name", "destination_name", "routing_key"]
    found = json.loads(subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout)
    return sorted(
        each["routing_key"]
        for each in found
        if each["source_name"] == "swift.events" and each["destination_name"].startswith("amq.gen")
    )


async def test_a_reader_that_goes_leaves_nothing_bound(
    standin_settings: Settings, amqp_url: str, work: Path, tmp_path: Path, services_dir: Path
) -> None:
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        pass  # the exchanges are there
    async with running_gateway(standin_settings, tmp_path) as gateway:
        idle = await asyncio.to_thread(bindings, services_dir)
        for _ in range(2):
            async with gateway.http.stream("GET", "/training/events") as response:
                events = stream(response.aiter_lines())
                await anext(events)
                assert len(await asyncio.to_thread(bindings, services_dir)) == len(idle) + 6

        async def as_before() -> bool:
            return await asyncio.to_thread(bindings, services_dir) == idle

        await until(as_before, limit_s=10, poll_s=0.5)


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz", "/metrics", "/training/health", "/ui/"])
async def test_who_watches_may_ask_for_the_head_alone(standin_settings: Settings, tmp_path: Path, path: str) -> None:
    async with running_gateway(standin_settings, tmp_path) as gateway:
        answer = await gateway.http.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == (await gateway.http.get(path)).headers["content-type"]


async def test_a_wrong_method_is_told_the_right_ones(tmp_path: Path) -> None:
    transport = httpx.ASGITransport(app_on("127.0.0.1", tmp_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for path, allowed in {
            "/training/jobs": "GET, POST",
            "/api/v1/training/llm/jobs": "GET, POST",
            "/training/jobs/a": "GET, DELETE",
            "/training/jobs/a/stop": "POST",
            "/training/queue": "GET",
            "/healthz": "GET, HEAD",
            "/ui/": "GET, HEAD",
        }.items():
            answer = await http.put(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path


async def test_a_key_of_any_length_that_is_taken_is_no_bug(make_model: MakeModel, data: str, served: Served) -> None:
    asked = {"model_path": make_model(), "datasets": [data], "output_dir": "out"}
    gateway = served.gateway
    headers = {"Idempotency-Key": "k" * 160}
    first = await gateway.post("/training/llm/jobs", asked, headers=headers)
    assert await gateway.post("/training/llm/jobs", asked, headers=headers) == first


async def test_a_waiting_job_that_is_deleted_ends_its_stream(make_model: MakeModel, data: str, served: Served) -> None:
    asked = {"model_path": make_model(), "datasets": [data], "output_dir": "out"}
    gateway = served.gateway
    job_id = (await gateway.post("/training/llm/jobs", asked))["job_id"]
    async with gateway.http.stream("GET", f"/training/jobs/{job_id}/stream") as response:
        events = stream(response.aiter_lines())
        assert [(await anext(events))[0] for _ in range(2)] == ["", "status"]
        assert (await gateway.http.delete(f"/training/jobs/{job_id}")).status_code == 200
        async with asyncio.timeout(40):
            assert [name async for name, _, _ in events if name][-1] in {"lost", "end"}


async def test_a_token_that_is_removed_closes_its_streams(
    standin_settings: Settings, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    headers = {name: {"Authorization": f"Bearer {tokens.add(name, 'read', None)}"} for name in ("goes", "stays")}
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(standin_settings, tmp_path) as gateway,
        gateway.http.stream("GET", "/training/events", headers=headers["goes"]) as closed,
        gateway.http.stream("GET", "/training/events", headers=headers["stays"]) as open_still,
    ):
        theirs, others = stream(closed.aiter_lines()), stream(open_still.aiter_lines())
        assert [(await anext(events))[0] for events in (theirs, others)] == ["", ""]
        tokens.remove("goes")
        await found.call("node.drain", {"node_id": standin_settings["SWIFT_TRAINER_NODE_ID"]})
        assert [name async for name, _, _ in theirs] == ["lost"]
        assert (await anext(others))[0] in {"gpu", "node"}
        assert (await gateway.http.get("/training/me", headers=headers["goes"])).status_code == 401


async def test_who_is_nobody_is_told_before_the_body_is_read(tmp_path: Path) -> None:
    app = app_on("127.0.0.1", tmp_path, "a")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        answer = await http.post("/training/llm/jobs", content=b"x" * 2_000_000)
    assert answer.status_code == 401


async def test_the_last_token_gone_opens_no_door(tmp_path: Path) -> None:
    app = app_on("0.0.0.0", tmp_path, "a")  # noqa: S104 - nothing listens
    (tmp_path / "tokens.json").unlink()
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/training/me")).status_code in {401, 403}


async def test_without_tokens_who_comes_through_a_proxy_is_a_stranger(tmp_path: Path) -> None:
    app = app_on("127.0.0.1", tmp_path)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        assert (await http.get("/training/me")).status_code == 200
        forwarded = {"X-Forwarded-For": "192.0.2.7"}
        assert (await http.get("/training/me", headers=forwarded)).status_code == 403


def app_on(host: str, folder: Path, *names: str) -> FastAPI:
    path = folder / "tokens.json"
    for name in names:
        TokenFile(path).add(name, "operate", None)
    settings = GatewaySettings(host=host, tokens=path)
    return create_app(settings, Link("amqp://127.0.0.1:1/", None, timeout_s=1))


async def test_a_broker_that_no_daemon_has_met_yet_is_no_dead_end(amqp_url: str) -> None:
    link = Link(amqp_url, None, timeout_s=5)
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        for name in ("swift.events", "swift.commands"):
            await channel.exchange_delete(name)
        task = asyncio.create_task(link.run())
        try:
            await until(lambda: "swift-trainerd" in link.trouble)
            for name in ("swift.events", "swift.commands"):
                await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
            await until(lambda: not link.trouble)
            async with link.listening(None):
                pass
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_reader_that_goes_while_it_is_let_in_takes_nobody_with_it(amqp_url: str) -> None:
    link = Link(amqp_url, None, timeout_s=5)
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        events = await channel.declare_exchange("swift.events", aio_pika.ExchangeType.TOPIC, durable=True)
        await channel.declare_exchange("swift.commands", aio_pika.ExchangeType.TOPIC, durable=True)
        task = asyncio.create_task(link.run())
        try:
            await until(lambda: not link.trouble)

            async def listen() -> None:
                async with link.listening(None):
                    await asyncio.Event().wait()

            for turns in range(12):
                going = asyncio.create_task(listen())
                for _ in range(turns):
                    await asyncio.sleep(0)
                going.cancel()
                await asyncio.wait([going])
            async with link.listening(None) as listener:
                for key in ("job.a.status.running", "job.a.progress", "gpu.n.0", "node.n.online"):
                    await events.publish(aio_pika.Message(EVENT), routing_key=key)
                    async with asyncio.timeout(10):
                        assert await listener.next() is not None
            assert not link.trouble
        finally:
            task.cancel()
            await asyncio.wait([task])
