"""Who gets in: each role on each path, strangers' pages, and limits."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from daemon.gateway import fleet, jobs, streams
from daemon.gateway.tokens import Role, TokenFile
from tests.e2e.conftest import MakeModel, Settings
from tests.e2e.harness import probe, running_daemon
from tests.e2e.http.gateway import checked, running_gateway, stream
from tests.e2e.test_cli import trainer

pytestmark = pytest.mark.services

OPEN = {"/health"}
ACTS = {"start", "stop", "resume", "export"}


def needed(route: APIRoute) -> Role | None:
    """The role that a path should need, told apart from how the gateway decides it."""
    if route.path in OPEN:
        return None
    if route.methods == {"GET"}:
        return Role.READ
    return Role.OPERATE if route.path.startswith("/nodes/") else Role.SUBMIT


ROUTES = [
    (method, route)
    for part in (jobs, streams, fleet)
    for route in part.router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]


async def test_each_role_on_each_path(standin_settings: Settings, work: Path, amqp_url: str, tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    given = {role: tokens.add(role.name.lower(), role.name.lower(), "guest") for role in Role}
    assert len(ROUTES) > 25
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(standin_settings, tmp_path) as gateway,
    ):
        for prefix in ("/training", "/api/v1/training"):
            for method, route in ROUTES:
                path = prefix + re.sub(r"\{training_type\}", "llm", re.sub(r"\{\w+_id\}", "nobody", route.path))
                least = needed(route)
                for token in (None, "swt_wrong", *given.values()):
                    role = next((role for role, known in given.items() if known == token), None)
                    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                    async with gateway.http.stream(method, path, headers=headers) as response:
                        status = response.status_code
                    if least is None:
                        assert status == 200, (method, path, role)
                    elif role is None:
                        assert status == 401, (method, path, token)
                        assert response.headers["www-authenticate"].startswith("Bearer")
                    elif role < least:
                        assert status == 403, (method, path, role)
                    else:
                        assert status in {200, 400, 404}, (method, path, role, status)
        log = gateway.log_path.read_text()
        assert not any(token in log for token in given.values())


async def test_a_submitter_acts_on_jobs_of_its_owner_alone(
    standin_settings: Settings, make_model: MakeModel, data: str, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.json"
    mine = {"Authorization": f"Bearer {TokenFile(file).add('mine', 'submit', 'guest')}"}
    code, printed, _ = await trainer("token", "add", "boss", "--role", "operate", "--file", str(file))
    assert code == 0
    boss = {"Authorization": f"Bearer {printed.strip()}"}
    body = {"model_path": make_model(steps=2), "datasets": [data], "output_dir": "out"}
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(standin_settings, tmp_path) as gateway,
    ):
        assert await gateway.get("/training/me", headers=mine) == {"name": "mine", "role": "submit", "owner": "guest"}
        own = await gateway.post("/training/llm/jobs", body, headers=mine)
        other = await found.call("job.create", {**body, "training_type": "llm"})
        assert (await gateway.get(f"/training/jobs/{own['job_id']}", headers=mine))["owner"] == "guest"
        for act in sorted(ACTS):
            refused = await gateway.post(f"/training/jobs/{other['job_id']}/{act}", status=403, headers=mine)
            assert refused["code"] == "forbidden"
        assert (await gateway.http.delete(f"/training/jobs/{other['job_id']}", headers=mine)).status_code == 403
        await gateway.post(f"/training/jobs/{own['job_id']}/stop", headers=mine)
        await gateway.post(f"/training/jobs/{other['job_id']}/stop", headers=boss)
        # the broker's user of this gateway has no tag that lets it act for somebody else
        stranger = {"Authorization": f"Bearer {TokenFile(file).add('stranger', 'submit', 'alice')}"}
        answer = await gateway.http.post("/training/llm/jobs", json=body, headers=stranger)
        said = checked(answer, 500)
        assert "set_user_tags guest impersonator" in said["detail"]
        assert said["code"] == "misconfigured"
        assert "retry-after" not in answer.headers
        code, _, _ = await trainer("token", "remove", "mine", "--file", str(file))
        assert code == 0
        await gateway.get("/training/me", 401, headers=mine)
        code, out, _ = await trainer("token", "list", "--json", "--file", str(file))
        assert code == 0
        assert "boss" in out
        assert "sha256" not in out


async def test_what_a_page_of_another_site_could_send_is_refused(standin_settings: Settings, tmp_path: Path) -> None:
    async with running_gateway(standin_settings, tmp_path) as gateway:
        port = gateway.http.base_url.port
        for headers in (
            {"Host": "evil.example"},
            {"Host": f"evil.example:{port}"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert (await gateway.get("/training/me", 403, headers=headers))["code"] == "forbidden"
        await gateway.get("/training/me", headers={"Origin": gateway.url, "Sec-Fetch-Site": "same-origin"})
        form = await gateway.http.post("/training/llm/jobs", data={"model_path": "x"})
        assert checked(form, 415)["code"] == "unsupported_media_type"
        answer = await gateway.http.options(
            "/training/llm/jobs", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        )
        assert "access-control-allow-origin" not in answer.headers
        page = await gateway.http.get("/ui/")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"


async def test_sites_that_are_named_may_call(standin_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token = TokenFile(file).add("page", "read", None)
    settings = {**standin_settings, "SWIFT_TRAINER_GATEWAY_CORS_ORIGINS": "https://ml.example https://x.example"}
    async with running_gateway(settings, tmp_path) as gateway:
        headers = {"Origin": "https://ml.example", "Authorization": f"Bearer {token}"}
        answer = await gateway.http.get("/training/me", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://ml.example"
        answer = await gateway.http.get("/training/me", headers={**headers, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers


async def test_limits(standin_settings: Settings, work: Path, amqp_url: str, tmp_path: Path) -> None:
    limits = {"REQUESTS_PER_MINUTE": 12, "MAX_BODY_KIB": 4, "MAX_STREAMS": 2}
    settings = {**standin_settings, **{f"SWIFT_TRAINER_GATEWAY_{name}": str(value) for name, value in limits.items()}}
    path = "/training/llm/jobs"
    json_type = {"Content-Type": "application/json"}
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(settings, tmp_path) as gateway,
    ):
        http = gateway.http
        assert checked(await http.post(path, content=b"x" * 5000, headers=json_type), 413)["code"] == "too_large"
        assert checked(await http.post(path, content=b"{", headers=json_type), 400)["code"] == "invalid_json"
        assert checked(await http.post(path, content=b"[]", headers=json_type), 400)["code"] == "invalid_json"
        faults = checked(await http.post(path, json={"gpu_count": 0, "nonsense": 1}), 400)["errors"]
        assert {fault["loc"][0] for fault in faults} >= {
            "model_path",
            "datasets",
            "output_dir",
            "gpu_count",
            "nonsense",
        }
        said = checked(await http.post(path, json={"training_type": "vlm"}), 400)["detail"]
        assert "this path takes llm jobs" in said
        async with http.stream("GET", "/training/events") as first, http.stream("GET", "/training/events") as second:
            ears = [stream(response.aiter_lines()) for response in (first, second)]
            for ear in ears:
                await anext(ear)
            assert checked(await http.get("/training/events"), 429)["code"] == "too_many_streams"
        while (answer := await http.get("/training/me")).status_code == 200:
            assert answer.json()["name"] == "local"
        assert checked(answer, 429)["code"] == "too_many_requests"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
async def test_without_a_token_it_listens_on_loopback_alone(tmp_path: Path, host: str) -> None:
    settings = {"SWIFT_TRAINER_GATEWAY_TOKENS": str(tmp_path / "none.json")}
    code, _, err = await trainer("gateway", "--host", host, settings=settings)
    assert code == 2
    assert "swift-trainer token add" in err
    assert "Traceback" not in err


async def test_a_port_that_is_taken_is_said(standin_settings: Settings, tmp_path: Path) -> None:
    async with running_gateway(standin_settings, tmp_path) as gateway:
        code, _, err = await trainer("gateway", "--port", str(gateway.http.base_url.port), settings=standin_settings)
        assert code == 2
        assert "can't listen on 127.0.0.1 port" in err


async def test_tokens_that_can_not_be_read_let_nobody_in(standin_settings: Settings, tmp_path: Path) -> None:
    async with running_gateway(standin_settings, tmp_path) as gateway:
        await gateway.get("/training/me")
        (tmp_path / "tokens.json").write_text("{broken")
        assert "tokens.json" in (await gateway.get("/training/me", 503))["detail"]
        with pytest.raises(httpx.HTTPStatusError):
            (await gateway.http.get("/training/gpus")).raise_for_status()
        await asyncio.to_thread((tmp_path / "tokens.json").unlink)
        await gateway.get("/training/me")
