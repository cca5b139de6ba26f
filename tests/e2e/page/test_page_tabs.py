"""Many tabs of the page: a browser has six connections for a host, so only one that is seen may hold a stream."""

import re
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, Request, expect

from tests.e2e.conftest import MakeModel, Served
from tests.e2e.http.gateway import LLM, Gateway, request
from tests.e2e.page.browsing import opened
from tests.waiting import until

pytestmark = pytest.mark.services

TABS = 8
LEAVES_MS = 2_100
"""A little more than the page keeps a stream that nobody sees."""
LOOKS = """
(() => {
  let seen = true;
  Object.defineProperty(document, "hidden", { get: () => !seen });
  Object.defineProperty(document, "visibilityState", { get: () => (seen ? "visible" : "hidden") });
  window.look = (is) => ((seen = is), document.dispatchEvent(new Event("visibilitychange")));
})();
"""
"""Without a screen every tab is seen, so a tab is told what a browser would tell it."""
IN_FLIGHT = re.compile(r"^swift_trainer_http_requests_in_flight (\d+)", re.MULTILINE)


async def look(page: Page, *, seen: bool) -> None:
    """Bring a tab to the front, or leave it for another."""
    await page.evaluate("seen => look(seen)", seen)


async def open_requests(gateway: Gateway) -> int:
    """What the gateway has not answered to the end; this question is not counted."""
    found = IN_FLIGHT.search((await gateway.http.get("/metrics")).text)
    assert found is not None
    return int(found[1]) - 1


async def test_eight_tabs_work_and_each_knows_what_happened_while_it_was_hidden(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    model = make_model(steps=8, hold_at=4)
    found, gateway = served
    made = await gateway.post(LLM, request(model, data, start=True, auto_export=False))
    job_id = made["job_id"]
    await context.add_init_script(LOOKS)
    tabs: list[Page] = []
    for number in range(TABS):
        if tabs:
            await look(tabs[-1], seen=False)
        tabs.append(await opened(context, gateway.url, f"#/jobs/{job_id}" if number % 2 else ""))
        await expect(tabs[-1].get_by_text("4 / 8")).to_be_visible()

    async def one_stream() -> bool:
        return await open_requests(gateway) == 1

    await until(one_stream)
    await tabs[-1].get_by_role("button", name="Stop").click()
    await tabs[-1].get_by_role("dialog").get_by_role("button", name="Back").click()
    (Path(model) / "go").touch()
    await found.status(job_id, "completed")
    last = (await found.call("job.logs", {"job_id": job_id, "tail": 1}))["lines"][-1]
    for number, tab in enumerate(tabs):
        await look(tab, seen=True)
        await expect(tab.locator("main .status").first).to_have_text("completed")
        if number % 2:
            await expect(tab.locator(".events li")).to_have_count(len(found.durable(job_id)))
            await expect(tab.locator(".log")).to_contain_text(last)
            await expect(tab.locator(".notice")).to_have_count(0)
        await look(tab, seen=False)


async def test_who_leafs_through_tabs_keeps_the_stream_and_who_stays_away_comes_back_where_it_was(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    model = make_model(steps=8, hold_at=4)
    found, gateway = served
    made = await gateway.post(LLM, request(model, data, start=True, auto_export=False))
    asked: list[str] = []

    def note(sent: Request) -> None:
        if "/stream?" in sent.url:
            asked.append(sent.url)

    await context.add_init_script(LOOKS)
    page = await context.new_page()
    await page.clock.install()
    page.on("request", note)
    await page.goto(f"{gateway.url}/ui/#/jobs/{made['job_id']}")
    await expect(page.get_by_text("4 / 8")).to_be_visible()
    await look(page, seen=False)
    await look(page, seen=True)
    await page.clock.fast_forward(LEAVES_MS)
    await look(page, seen=False)
    await page.clock.fast_forward(LEAVES_MS)

    async def none_is_open() -> bool:
        return await open_requests(gateway) == 0

    await until(none_is_open)
    assert len(asked) == 1
    await expect(page.get_by_text("connecting again")).to_have_count(0)
    (Path(model) / "go").touch()
    await found.status(made["job_id"], "completed")
    before = await page.locator(".events li").count()
    await look(page, seen=True)
    await expect(page.locator(".events li")).to_have_count(len(found.durable(made["job_id"])))
    assert len(asked) == 2
    assert f"after={before}&" in asked[1]
