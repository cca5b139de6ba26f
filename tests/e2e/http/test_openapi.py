"""The OpenAPI document against the running gateway, by schemathesis: nothing it can think of breaks the gateway, and
what comes back is what the document says."""

# schemathesis has no complete types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

import asyncio
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from daemon.gateway.tokens import TokenFile
from schemas.examples import REQUESTS
from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import probe, running_daemon
from tests.e2e.http.gateway import running_gateway

pytestmark = pytest.mark.services

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
"""A 503 or 504 would be a server's error: here nothing is away."""
EXAMPLES = 12


def attack(url: str, token: str, job_id: str) -> int:
    """Try every operation but the streams, which never end; how many requests were sent."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    sent = 0
    for found in schema.exclude(path_regex=r"/(stream|events)$").get_all_operations():
        operation = found.ok()  # pyright: ignore[reportAttributeAccessIssue]  # a broken document fails the test here

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
            nonlocal sent
            sent += 1
            if case.method == "GET" and "job_id" in case.path_parameters and sent % 2:
                case.path_parameters["job_id"] = job_id
            response = case.call(headers={"Authorization": f"Bearer {token}"})
            case.validate_response(response, checks=list(CHECKS))

        run()
    return sent


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
        body = {"model_path": make_model(steps=2), "datasets": [data], "output_dir": "out", "start": True}
        made = await found.call("job.create", {**body, "training_type": "llm"})
        await found.until(lambda event: event["data"].get("export_status") == "completed")
        sent = await asyncio.to_thread(attack, gateway.url, token, made["job_id"])
        assert sent > 150
        assert "Traceback" not in gateway.log_path.read_text()


async def test_the_document_has_every_path_with_examples(standin_settings: Settings, tmp_path: Path) -> None:
    async with running_gateway(standin_settings, tmp_path) as gateway:
        document = await gateway.get("/openapi.json")
    bodies = {
        path: item["post"]["requestBody"]
        for path, item in document["paths"].items()
        if "requestBody" in item.get("post", {})
    }
    create = bodies["/training/llm/jobs"]["content"]["application/json"]["schema"]
    assert create["properties"]["learning_rate"]["default"] == 1e-4
    assert create["examples"][0]["model_path"] == REQUESTS["job.create"][0]["model_path"]
    assert {"/training/jobs", "/training/jobs/{job_id}/stop", "/training/jobs/{job_id}/export"} <= set(bodies)
    for path, item in document["paths"].items():
        for operation in item.values():
            assert operation["summary"], path
            assert operation["description"], path
