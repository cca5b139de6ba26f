"""What turns traces on, and which headers are a trace context."""

import pytest

from daemon.tracing import outgoing_headers
from daemon.tracing_sdk import fault, wanted
from schemas.tracing import trace_context

GOOD = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
    ],
)
def test_the_standard_variables_turn_it_on(environment: dict[str, str], on: bool) -> None:
    assert wanted(environment) is on


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
    ],
)
def test_what_is_not_there_is_named(environment: dict[str, str], named: str) -> None:
    assert named in (fault(environment) or "")
    assert fault({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}) is None


@pytest.mark.parametrize(
    "header",
    [None, 7, b"00", "", GOOD.upper(), GOOD + "-more", GOOD + "\n", "ff" + GOOD[2:], "00-" + "0" * 32 + GOOD[35:]],
)
def test_what_is_no_traceparent_is_dropped(header: object) -> None:
    assert trace_context(header, None) is None


@pytest.mark.parametrize("state", [None, 7, "a=1\r\nx: y", "a=" + "x" * 600, "A=1", "=", ","])
def test_a_bad_tracestate_is_dropped_alone(state: object) -> None:
    found = trace_context(GOOD, state)
    assert found is not None
    assert found.headers == {"traceparent": GOOD}


def test_a_good_tracestate_is_kept() -> None:
    found = trace_context(GOOD, "vendor=opaque, tenant@system=1")
    assert found is not None
    assert found.tracestate == "vendor=opaque, tenant@system=1"


def test_nothing_goes_out_where_nothing_is_traced() -> None:
    assert outgoing_headers() == {}
