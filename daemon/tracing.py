"""Traces from a command to its completed job, on OpenTelemetry's API, which does nothing until an SDK is set up.

A command's span is made while it is carried out; its context is kept in the job's document, so what comes later belongs
to the same trace over any restart: the wait, each attempt and the export become spans at their end, with the times that
the document has.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, get_tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from daemon import __version__
from schemas.tracing import TRACEPARENT_HEADER, TRACESTATE_HEADER, TraceContext, trace_context

SCOPE = "swift-trainer"
Attributes = Mapping[str, str | int | tuple[int, ...]]

_PROPAGATOR = TraceContextTextMapPropagator()


def outgoing_headers() -> dict[str, str]:
    """The present context as headers for a message or a request; empty where there is none."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    return headers


def current_context() -> TraceContext | None:
    """The present context, to be kept."""
    headers = outgoing_headers()
    return trace_context(headers.get(TRACEPARENT_HEADER), headers.get(TRACESTATE_HEADER))


@contextmanager
def command_span(command: str, cause: TraceContext | None) -> Generator[Span]:
    """What happens inside belongs to this command's span, which belongs to its sender's."""
    attributes = {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.destination.name": "swift.commands",
        "messaging.rabbitmq.destination.routing_key": command,
    }
    with _tracer().start_as_current_span(
        command, context=_parent(cause), kind=SpanKind.CONSUMER, attributes=attributes
    ) as span:
        yield span


@contextmanager
def request_span(method: str, cause: TraceContext | None) -> Generator[Span]:
    """What happens inside belongs to this request's span, which belongs to its sender's."""
    attributes = {"http.request.method": method}
    with _tracer().start_as_current_span(
        method, context=_parent(cause), kind=SpanKind.SERVER, attributes=attributes
    ) as span:
        yield span


def record_span(
    name: str,
    cause: TraceContext | None,
    *,
    begin: datetime,
    end: datetime,
    attributes: Attributes,
    problem: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> None:
    """Tell of something that is over; `problem` says why it failed. Without a cause nothing is told."""
    if cause is None:
        return
    span = _tracer().start_span(
        name, context=_parent(cause), kind=kind, attributes=dict(attributes), start_time=_nanoseconds(begin)
    )
    if problem is not None:
        span.set_status(Status(StatusCode.ERROR, problem))
    span.end(_nanoseconds(end))


def _tracer() -> Tracer:
    return get_tracer(SCOPE, __version__)


def _parent(cause: TraceContext | None) -> Context:
    """An empty context where there is no cause: the span is then a root, whatever else is under way."""
    return _PROPAGATOR.extract(cause.headers if cause else {}, context=Context())


def _nanoseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000) * 1000
