"""One trace from a client's span over the command to the completed job, also over a killed daemon."""

import signal
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span

from daemon.client import Client
from tests.e2e.conftest import Settings
from tests.e2e.harness import Daemon, probe, running_daemon
from tests.observability.conftest import MakeRequest
from tests.observability.receiver import Receiver, receiving
from tests.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of spans."""
    with receiving() as found:
        yield found


@pytest.fixture
def traced(settings: Settings, receiver: Receiver) -> Settings:
    """A daemon that sends its spans there, soon."""
    return {**settings, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}


async def test_one_trace_from_the_client_to_the_completed_job_over_a_killed_daemon(
    traced: Settings, work: Path, amqp_url: str, receiver: Receiver, make_request: MakeRequest
) -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("a client's work")
    trace_id, span_id = f"{span.get_span_context().trace_id:032x}", f"{span.get_span_context().span_id:016x}"
    request = make_request("held", {"hold_at": 2}, auto_export=True)
    async with probe(amqp_url) as found, await aio_pika.connect(amqp_url) as listening:
        channel = await listening.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("swift.events", "job.*.status.completed")
        daemon = Daemon(traced, work)
        await daemon.start()
        await daemon.ready(found)
        async with Client(amqp_url) as client:
            with use_span(span, end_on_exit=True):
                job_id = (await client.call("job.create", request))["job_id"]
        await found.status(job_id, "running")
        await until(lambda: {"job.create", "wait for devices"} <= set(receiver.of(trace_id)))
        await daemon.stop(signal.SIGKILL)
        (work.parent / "held" / "go").touch()
        async with running_daemon(traced, work, found):
            await found.status(job_id, "completed")
            await found.until(lambda event: event["_key"] == f"job.{job_id}.export.completed")
            await until(lambda: "export" in receiver.of(trace_id))
        message = await queue.get(timeout=10)
    spans = receiver.of(trace_id)
    [command] = spans["job.create"]
    assert (command.parent_id, command.service) == (span_id, "swift-trainerd")
    [waited], [attempt], [export] = spans["wait for devices"], spans["training attempt"], spans["export"]
    assert {each.parent_id for each in (waited, attempt, export, *spans["publish event"])} == {command.span_id}
    assert waited.end_ns <= attempt.begin_ns + 10**9
    assert waited.begin_ns <= waited.end_ns < attempt.end_ns <= export.end_ns
    assert attempt.begin_ns <= command.end_ns + 60 * 10**9
    expected = {
        "swift_trainer.job_id": job_id,
        "swift_trainer.status": "completed",
        "swift_trainer.node_id": "node-1",
        "swift_trainer.attempt": 1,
    }
    assert expected.items() <= attempt.attributes.items()
    assert not attempt.failed
    assert len(spans["publish event"]) >= len(found.durable(job_id))
    assert str(message.headers["traceparent"]).split("-")[1:3] == [trace_id, command.span_id]


async def test_a_failed_attempt_says_why_and_headers_are_not_believed(
    traced: Settings, work: Path, amqp_url: str, receiver: Receiver, make_request: MakeRequest
) -> None:
    forged: list[dict[str, object]] = [
        {"traceparent": "00-" + "f" * 5000},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": bytearray(b"\xff\xfe"), "tracestate": 7},
        {"traceparent": {"a": ["table"]}, "tracestate": "x" * 100_000},
    ]
    good = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    async with probe(amqp_url) as found, running_daemon(traced, work, found):
        for number, headers in enumerate(forged):
            await found.call("job.create", make_request(f"m{number}", start=False), headers=headers)
        failing = make_request("failing", {"fail": "out_of_memory"}, max_retries=0)
        job_id = (await found.call("job.create", failing, headers={"traceparent": good, "tracestate": "not a list"}))[
            "job_id"
        ]
        await found.status(job_id, "failed")
        await until(lambda: "training attempt" in receiver.of("ab" * 16))
    [attempt] = receiver.of("ab" * 16)["training attempt"]
    assert attempt.failed
    assert attempt.attributes["swift_trainer.error_code"] == "out_of_memory"
    assert receiver.of("ab" * 16)["job.create"][0].parent_id == "cd" * 8
    roots = [span for span in receiver.spans if span.name == "job.create" and span.trace_id != "ab" * 16]
    assert len(roots) == len(forged)
    assert {span.parent_id for span in roots} == {""}


async def test_without_the_extra_a_line_says_so_and_everything_goes_on(
    traced: Settings, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden" / "opentelemetry_hidden"
    hidden.mkdir(parents=True)
    (hidden.parent / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk.trace'] = None\n")
    path = f"{hidden.parent}:{Path(__file__).resolve().parents[2]}"
    async with probe(amqp_url) as found, running_daemon({**traced, "PYTHONPATH": path}, work, found) as daemon:
        assert "swift-trainer[tracing]" in daemon.log()
        assert (await found.call("job.list"))["total"] == 0
