"""Sets OpenTelemetry's SDK up, where the environment asks for it by OpenTelemetry's own variables.

`OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`, or `OTEL_TRACES_EXPORTER=otlp`) turns traces on; they go out by
OTLP over HTTP. `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` and
the rest mean what they mean everywhere. The SDK comes with the extra `tracing`; without it, and for an exporter that is
not there, a line of the log says so and everything else goes on.
"""

import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from opentelemetry import trace

from daemon import __version__
from daemon.logs import get_log

log = get_log("tracing")

FLUSH_LIMIT_S = 3.0
"""How long the end of the process waits for spans to go out."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OURS = "http/protobuf"


def fault(environment: Mapping[str, str]) -> str | None:
    """What the environment asks for and can't have; None: nothing."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp")
    if exporter != "otlp":
        return f"OTEL_TRACES_EXPORTER is {exporter!r}; there are otlp and none"
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _OURS)
    if protocol != _OURS:
        return f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; there is {_OURS}"
    return None


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    return exporter != "none" and bool(exporter or any(environment.get(name) for name in _ENDPOINTS))


@contextmanager
def tracing(service: str, instance: str) -> Generator[None]:
    """Traces go out for as long as the body runs, where the environment asks for them."""
    environment = os.environ
    if not wanted(environment):
        yield
        return
    problem = fault(environment)
    if problem is not None:
        log.warning("tracing_off", f"no traces: {problem}")
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # an extra
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(
            "tracing_off",
            "no traces: OTEL_* variables ask for them; install them with: pip install 'swift-trainer[tracing]'",
        )
        yield
        return
    attributes = {"service.instance.id": instance, "service.version": __version__}
    if not environment.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = service
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    log.info("tracing_on", "traces go out by OTLP over HTTP")
    try:
        yield
    finally:
        ending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(FLUSH_LIMIT_S)
