"""The OpenAPI document against the running gateway, by schemathesis: nothing it can think of breaks the gateway, and
what comes back, of orders that succeed too, is what the document says."""

# schemathesis has no complete types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from daemon.gateway.problems import MEDIA_TYPE, Problem
from daemon.gateway.tokens import TokenFile
from schemas.examples import REQUESTS
from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import Json, Probe, probe, running_daemon
from tests.e2e.http.gateway import running_gateway

pytestmark = pytest.mark.services

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
"""A 503 or 504 would be a server's error: here nothing is away."""
EXAMPLES = 12
STREAMS = r"(/stream|/training/events)$"
"""They never end; `/training/jobs/{job_id}/events` is none of them."""
JOB = "/training/jobs/{job_id}"
FAR = "2100-01-01T00:00:00Z"
READY = {
    f"POST {JOB}/start": "pending",
    f"POST {JOB}/stop": "pending",
    f"POST {JOB}/resume": "cancelled",
    f"DELETE {JOB}": "pending",
}
"""The orders that each job takes once, and what it must be for that."""


async def jobs_for_orders(found: Probe, body: Json) -> dict[str, Iterator[str]]:
    """Jobs that every order of `READY` succeeds on, as many as there are requests; none of them ever starts."""
    ready: dict[str, Iterator[str]] = {}
    for place, (label, state) in enumerate(READY.items()):
        ids: list[str] = []
        for number in range(2 * EXAMPLES):
            asked = {**body, "output_dir": f"out/{place}/{number}", "not_before": FAR}
            ids.append((await found.call("job.create", asked))["job_id"])
            if state == "cancelled":
                await found.call("job.stop", {"job_id": ids[-1]})
        ready[label] = iter(ids)
    return ready


class Attack:
    """Every operation but the streams: asked once as it should be, then as nobody should."""

    def __init__(self, url: str, token: str, done: str, ready: dict[str, Iterator[str]], good: Json) -> None:
        self._schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._done = done
        self._ready = ready
        self._good = good
        self.sent = 0
        self.answered: set[tuple[str, int]] = set()

    def run(self) -> set[str]:
        """The labels of all operations."""
        labels: set[str] = set()
        for found in self._schema.exclude(path_regex=STREAMS).get_all_operations():
            operation = found.ok()  # pyright: ignore[reportAttributeAccessIssue]  # a broken document fails the test here
            labels.add(operation.label)
            self._as_it_should_be(operation)
            self._as_nobody_should(operation)
        return labels

    def _job(self, label: str) -> str:
        return next(self._ready[label]) if label in self._ready else self._done

    def _as_it_should_be(self, operation: schemathesis.APIOperation) -> None:
        names = {"job_id": self._job(operation.label), "node_id": "node-1", "training_type": "llm"}
        kind = {"/training/llm/jobs": "llm", "/training/jobs": "vlm"}.get(operation.path)
        case = operation.Case(path_parameters={key: names[key] for key in names if f"{{{key}}}" in operation.path})
        if operation.body:
            case.body = {} if kind is None else {**self._good, "training_type": kind, "output_dir": kind}
            case.media_type = "application/json"
        self._send(case)

    def _as_nobody_should(self, operation: schemathesis.APIOperation) -> None:
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            phases=[Phase.explicit, Phase.generate],
        )
        @given(case=operation.as_strategy())
        def run(case: schemathesis.Case) -> None:
            if "job_id" in case.path_parameters and self.sent % 2:
                case.path_parameters["job_id"] = self._job(operation.label)
            self._send(case)

        run()

    def _send(self, case: schemathesis.Case) -> None:
        self.sent += 1
        response = case.call(headers=self._headers)
        self.answered.add((case.operation.label, response.status_code))
        case.validate_response(response, checks=list(CHECKS))


async def test_what_is_documented_is_what_is_answered(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    token = TokenFile(tmp_path / "tokens.json").add("tester", "operate", None)
    own = {**standin_settings, "SWIFT_TRAINER_GATEWAY_REQUESTS_PER_MINUTE": "100000"}
    async with (
        probe(amqp_url) as found,
        running_daemon(own, work, found),
        running_gateway(own, tmp_path) as gateway,
    ):
        body = {"training_type": "llm", "model_path": make_model(steps=2), "datasets": [data]}
        made = await found.call("job.create", {**body, "output_dir": "out", "start": True})
        await found.until(lambda event: event["data"].get("export_status") == "completed")
        ready = await jobs_for_orders(found, body)
        attack = Attack(gateway.url, token, made["job_id"], ready, body)
        labels = await asyncio.to_thread(attack.run)
        assert attack.sent > 300
        assert f"GET {JOB}/events" in labels
        assert {label for label, status in attack.answered if status == 200} == labels
        assert "Traceback" not in gateway.log_path.read_text()


async def document_of(settings: Settings, folder: Path) -> Json:
    async with running_gateway(settings, folder) as gateway:
        return await gateway.get("/openapi.json")


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Method, path and what is said of it."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


async def test_the_document_has_every_path_with_examples_that_are_true(
    standin_settings: Settings, tmp_path: Path
) -> None:
    document = await document_of(standin_settings, tmp_path)
    contents: list[tuple[str, Json]] = []
    bodies: dict[str, Json] = {}
    for method, path, operation in operations(document):
        label = f"{method.upper()} {path}"
        assert operation["summary"], label
        assert operation["description"], label
        contents += [
            (f"{label} {status}", content)
            for status, answer in operation["responses"].items()
            for content in answer["content"].values()
        ]
        if "requestBody" in operation:
            ((kind, content),) = operation["requestBody"]["content"].items()
            assert kind == "application/json"
            bodies[label] = content["schema"]
            contents += [(label, {**content, "example": each}) for each in content["schema"]["examples"]]
        named = [each for each in operation.get("parameters", []) if each["in"] == "path"]
        assert all("examples" in each["schema"] or "$ref" in each["schema"] for each in named), label
    for label, content in contents:
        schema = {**content["schema"], "components": document["components"]}
        faults = [error.message for error in Draft202012Validator(schema).iter_errors(content["example"])]
        assert faults == [], label
    create = bodies["POST /training/llm/jobs"]
    assert create["properties"]["learning_rate"]["default"] == 1e-4
    assert create["examples"][0]["model_path"] == REQUESTS["job.create"][0]["model_path"]
    assert {f"POST {JOB}/stop", f"POST {JOB}/export", "POST /training/nodes/{node_id}/drain"} <= bodies.keys()


async def test_the_document_has_the_problems_that_can_come_and_no_others(
    standin_settings: Settings, tmp_path: Path
) -> None:
    for method, path, operation in operations(await document_of(standin_settings, tmp_path)):
        problems = {status: answer for status, answer in operation["responses"].items() if status != "200"}
        label = f"{method.upper()} {path}"
        if path == "/readyz":
            assert problems.keys() == {"503"}
            continue
        for status, answer in problems.items():
            ((kind, content),) = answer["content"].items()
            assert (kind, content["schema"]) == (MEDIA_TYPE, {"$ref": "#/components/schemas/Problem"}), label
            assert Problem.model_validate(content["example"]).status == int(status), label
        reads, asks = "requestBody" in operation, "security" in operation
        assert ({"401", "403", "429", "503"} <= problems.keys()) == asks, label
        assert ("400" in problems) == (reads or "parameters" in operation), label
        assert ("404" in problems) == ("{job_id}" in path or "{node_id}" in path), label
        assert ("409" in problems) == (method != "get"), label
        assert ({"413", "415"} <= problems.keys()) == reads, label
        assert problems.keys().isdisjoint({"413", "415"}) == (not reads), label
        assert "422" not in problems, label
