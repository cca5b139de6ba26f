"""An app's requests are counted by route template, method and status; what a stranger makes up makes no series."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException

from daemon.http_metrics import add_metrics
from tests.observability.scrape import Scrape

P = "swift_trainer_http_"


@pytest.fixture
def app() -> FastAPI:
    """An app with a router under two prefixes."""
    router = APIRouter()

    @router.get("/jobs/{job_id}")
    async def get(job_id: str) -> str:  # pyright: ignore[reportUnusedFunction]
        if job_id == "gone":
            raise HTTPException(404)
        if job_id == "bug":
            raise ZeroDivisionError
        return job_id

    app = FastAPI()
    for prefix in ("/training", "/api/v1/training"):
        app.include_router(router, prefix=prefix)
    add_metrics(app)
    return app


async def test_what_was_asked_is_counted(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        for job_id in ("a", "b", "gone", "bug"):
            await client.get(f"/training/jobs/{job_id}")
        await client.get("/api/v1/training/jobs/a")
        for path in ("/wp-admin.php", "/training/jobs"):
            await client.request("MADEUP", path)
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        now = Scrape(answer.text)
    route = "/jobs/{job_id}"
    counted = {
        status: now.sum(P + "requests_total", method="GET", route=route, status=status)
        for status in ("200", "404", "500")
    }
    assert counted == {"200": 3, "404": 1, "500": 1}
    assert now.labels(P + "requests_total", "route") == {route, "other"}
    assert now.labels(P + "requests_total", "method") == {"GET", "other"}
    assert now.sum(P + "request_seconds_count", route=route) == 5
    assert now.sum(P + "requests_in_flight") == 1, "this one"
