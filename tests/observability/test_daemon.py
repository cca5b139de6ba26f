"""The daemon's metrics against what was really done: counts are equal, series of ended jobs are gone."""

import json
import re
import socket
from pathlib import Path

import pytest

from daemon.metrics import DAEMON, Kind
from tests.e2e.conftest import Settings
from tests.e2e.harness import Daemon, RefusedError, probe, running_daemon
from tests.nvml.standin import GPUS, Driver
from tests.observability.conftest import MakeRequest
from tests.observability.scrape import get, scrape
from tests.waiting import until

pytestmark = pytest.mark.services
P = "swift_trainer_"


async def test_the_counts_are_those_of_what_was_done(
    settings: Settings, work: Path, amqp_url: str, port: int, make_request: MakeRequest
) -> None:
    async with probe(amqp_url) as found, running_daemon(settings, work, found):
        before = await scrape(port)
        done = [(await found.call("job.create", make_request(f"good{number}")))["job_id"] for number in range(2)]
        failing = make_request("bad", {"fail": "out_of_memory"}, max_retries=0)
        failed = (await found.call("job.create", failing))["job_id"]
        held = (await found.call("job.create", make_request("held", {"hold_at": 2})))["job_id"]
        for job_id, status in [*((job_id, "completed") for job_id in done), (failed, "failed"), (held, "running")]:
            await found.status(job_id, status)
        await found.call("job.stop", {"job_id": held, "grace_seconds": 5})
        await found.status(held, "cancelled")
        await found.call("job.export", {"job_id": done[0]})
        await found.until(lambda event: event["_key"] == f"job.{done[0]}.export.completed")
        with pytest.raises(RefusedError, match="not_found"):
            await found.call("job.get", {"job_id": "nobody"})
        with pytest.raises(RefusedError, match="invalid_request"):
            await found.call("job.create", {"training_type": "llm"})
        with pytest.raises(RefusedError, match="unknown_command"):
            await found.call("job.explode\x07" + "x" * 100)

        async def settled() -> bool:
            now = await scrape(port)
            return now.sum(P + "jobs", status="completed") == 2 and now.sum(P + "outbox_documents") == 0

        await until(settled)
        now = await scrape(port)
        ended = P + "jobs_ended_total"
        assert now.sum(P + "jobs_created_total", training_type="llm") == 4
        assert now.sum(ended, status="completed", error_code="") == 2
        assert now.sum(ended, status="failed", error_code="out_of_memory") == 1
        assert now.sum(ended, status="cancelled") == 1
        assert now.sum(ended) == 4
        assert (now.sum(P + "jobs", status="failed"), now.sum(P + "jobs", status="cancelled")) == (1, 1)
        assert now.sum(P + "exports_ended_total", status="completed") == 1
        assert now.sum(P + "queue_wait_seconds_count", training_type="llm") == 4
        assert now.sum(P + "spawn_seconds_count", kind="train") == 4
        assert now.sum(P + "stop_seconds_count") == 1
        assert now.sum(P + "commands_total", command="job.create", outcome="ok") == 4
        assert now.sum(P + "commands_total", command="job.create", outcome="invalid_request") == 1
        assert now.sum(P + "commands_total", command="job.get", outcome="not_found") == 1
        assert now.sum(P + "commands_total", command="unknown", outcome="unknown_command") == 1
        assert now.sum(P + "command_seconds_count", command="job.stop") == 1
        events = [event for job_id in [*done, failed, held] for event in found.durable(job_id)]
        jobs = now.sum(P + "events_published_total") - now.sum(P + "events_published_total", type="swift.node.v1")
        assert jobs == len(events)
        assert now.sum(P + "event_lag_seconds_count") == now.sum(P + "events_published_total")
        told = sum(len(found.progress(job_id)) for job_id in [*done, failed, held])
        assert now.sum(P + "progress_events_total") == told
        assert now.sum(P + "log_read_bytes_total") >= sum(
            path.stat().st_size for path in work.parent.rglob("llm_training_*.log")
        )
        assert now.sum(P + "schedule_seconds_count") > before.sum(P + "schedule_seconds_count")
        assert (now.sum(P + "broker_up"), now.sum(P + "store_up"), now.sum(P + "node_up", node_id="node-1")) == (
            1,
            1,
            1,
        )
        assert now.labels(P + "build_info", "ms_swift") == {"4.6.0"}


async def test_a_retry_and_a_resume_are_told_apart(
    settings: Settings, work: Path, amqp_url: str, port: int, make_request: MakeRequest
) -> None:
    steering: dict[str, object] = {"attempts": {"1": {"fail": "killed"}, "2": {"hold_at": 1}}}
    async with probe(amqp_url) as found, running_daemon(settings, work, found):
        job_id = (await found.call("job.create", make_request("again", steering, max_retries=1)))["job_id"]
        await found.status(job_id, "running", attempt=2)
        await found.call("job.stop", {"job_id": job_id, "grace_seconds": 1})
        await found.status(job_id, "cancelled")
        await found.call("job.resume", {"job_id": job_id})
        await found.until(lambda event: event["_key"] == f"job.{job_id}.status.completed")
        now = await scrape(port)
        requeues = {cause: now.sum(P + "job_requeues_total", cause=cause) for cause in ("retry", "resume", "node_lost")}
        assert requeues == {"retry": 1, "resume": 1, "node_lost": 0}


async def test_a_device_says_whose_it_is_for_as_long_as_the_job_runs(
    gpu_settings: Settings, work: Path, amqp_url: str, port: int, make_request: MakeRequest, apart: Driver
) -> None:
    async with probe(amqp_url) as found, running_daemon(gpu_settings, work, found):
        apart.change(3, util=88, temp=64, power=400_000)
        request = make_request("held", {"hold_at": 2}, gpu_id="3")
        job_id = (await found.call("job.create", request))["job_id"]
        await found.status(job_id, "running")

        async def used() -> bool:
            now = await scrape(port)
            return now.sum(P + "device_utilization_ratio", device="3", job_id=job_id) == pytest.approx(0.88)

        await until(used)
        now = await scrape(port)
        assert now.sum(P + "device_temperature_celsius", device="3", job_id=job_id) == 64
        assert now.sum(P + "device_power_watts", device="3", job_id=job_id) == 400
        assert now.sum(P + "device_memory_total_bytes", device="3") == 81_559 * 1024**2
        assert now.sum(P + "device_state", device="3", state="leased") == 1
        assert now.sum(P + "device_state") == GPUS, "each device is in one state"
        await found.call("job.stop", {"job_id": job_id, "grace_seconds": 1})
        await found.status(job_id, "cancelled")

        async def gone() -> bool:
            return job_id not in (await scrape(port)).labels(P + "device_utilization_ratio", "job_id")

        await until(gone)


async def test_names_and_labels_are_as_prometheus_wants_them(
    settings: Settings, work: Path, amqp_url: str, port: int
) -> None:
    async with probe(amqp_url) as found, running_daemon(settings, work, found):
        now = await scrape(port)
    shown = {name: family for name, family in now.families.items() if name.startswith(P)}
    listed = {metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name for metric in DAEMON}
    assert set(shown) == listed, "what the table lists is what a scrape shows"
    for name, family in shown.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        assert not re.search(r"_(ms|milliseconds|minutes|mib|kb|percent|gauge|counter|histogram)(_|$)", name), name
        if family.type == "histogram":
            assert name.endswith(("_seconds", "_bytes")), "a histogram names its unit"
        if family.type == "gauge":
            assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
    assert "owner" not in {label for sample in now.samples for label in sample.labels}


async def test_what_the_dashboard_and_the_alerts_name_is_there(
    settings: Settings, work: Path, amqp_url: str, port: int
) -> None:
    async with probe(amqp_url) as found, running_daemon(settings, work, found):
        now = await scrape(port)
    names = now.names
    deploy = Path(__file__).resolve().parents[2] / "deploy"
    asked = re.findall(r"\b(swift_trainer_[a-z0-9_]+)\b", (deploy / "prometheus" / "alerts.yaml").read_text())
    assert set(asked) <= {sample.name for sample in now.samples}, "an alert asks for what is there from the start"
    gateway = {"http_requests_total", "http_request_seconds_bucket", "http_requests_in_flight"}
    for path in (deploy / "grafana" / "swift-trainer.json", deploy / "prometheus" / "alerts.yaml"):
        named = set(re.findall(r"\b(?:swift_trainer|process)_[a-z0-9_]+", path.read_text()))
        assert named, path
        assert named <= names | {P + name for name in gateway}, path.name
    panels = json.loads((deploy / "grafana" / "swift-trainer.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


async def test_a_port_that_is_taken_is_said_at_the_start(settings: Settings, work: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        daemon = Daemon(settings, work)
        await daemon.start()
        assert await daemon._process.wait() == 2  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess]
        assert f"SWIFT_TRAINER_HTTP_PORT: can't listen on 127.0.0.1:{port}" in daemon.log()
        assert "Traceback" not in daemon.log()


async def test_other_paths_and_methods_are_refused(settings: Settings, work: Path, amqp_url: str, port: int) -> None:
    async with probe(amqp_url) as found, running_daemon(settings, work, found):
        assert (await get(port, "/healthz"))[0] == 200
        assert (await get(port, "/readyz")) == (200, "ready\n")
        assert (await get(port, "/metrics/../etc/passwd"))[0] == 404
