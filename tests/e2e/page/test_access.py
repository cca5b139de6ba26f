"""Who reads the page by ear, or with little contrast: axe-core finds nothing to say of any view, light and dark."""

import json

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import BrowserContext, Page, expect

from tests.e2e.conftest import MakeModel, Served
from tests.e2e.http.gateway import LLM, request
from tests.e2e.page.browsing import opened

pytestmark = pytest.mark.services


async def faults(page: Page) -> list[str]:
    """What axe-core finds: each rule, what it asks for and the elements that break it."""
    await page.evaluate(AXE_SCRIPT)
    found = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{fault['id']}: {fault['help']}: {json.dumps([node['target'] for node in fault['nodes']])}"
        for fault in found["violations"]
    ]


async def test_no_view_has_a_fault_that_axe_knows(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    made = await gateway.post(LLM, request(make_model(steps=6, hold_at=3), data, start=True, labels={"team": "a"}))
    job_id = made["job_id"]
    waits = await gateway.post(LLM, request(make_model("b"), data, start=True, gpu_count=64, labels={"team": "b"}))
    shown = {
        "jobs": "tbody tr .progress",
        f"jobs/{job_id}": ".chart canvas",
        f"compare?ids={job_id},{waits['job_id']}": ".chart canvas",
        "queue": "tbody tr",
        "fleet": ".status",
        "submit": "#field-learning_rate",
        "system": ".count",
    }
    page = await opened(context, gateway.url)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        for view, part in shown.items():
            await page.goto(f"{gateway.url}/ui/#/{view}")
            await expect(page.locator(part).first).to_be_visible()
            assert await faults(page) == [], (scheme, view)
        await page.goto(f"{gateway.url}/ui/#/jobs/{job_id}")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await faults(page) == [], (scheme, "the dialog")
        await page.keyboard.press("Escape")
    await found.call("job.stop", {"job_id": job_id})
    await found.status(job_id, "cancelled")
