"""The page when something goes wrong under it: lost answers, silent connections, jobs that others change or delete."""

import json
import signal
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.e2e.conftest import MakeModel, Served, Settings
from tests.e2e.http.gateway import LLM, request, running_gateway
from tests.e2e.page.browsing import opened

pytestmark = pytest.mark.services

NOBODY = "00000000-0000-0000-0000-000000000000"
SILENCE_MS = 46_000
"""A little more than the page waits for a word from a stream."""


async def filled(page: Page, model: str, data: str) -> None:
    """The new job's form with what it must have, not to be started."""
    await page.get_by_label("model_path").fill(model)
    await page.get_by_label("datasets", exact=False).first.fill(data)
    await page.get_by_label("output_dir").fill("out")
    await page.get_by_label("Start it when").uncheck()


async def test_a_form_makes_one_job_whatever_happens_to_the_answer(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    gateway = served.gateway
    page = await opened(context, gateway.url, "#/submit")
    await filled(page, make_model(), data)

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await page.route(f"**{LLM}", lose, times=1)
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("alert")).to_contain_text("can't be reached")
    await page.get_by_role("button", name="Create").click()
    await page.wait_for_url("**#/jobs/*")
    assert (await gateway.get("/training/all/jobs"))["total"] == 1


async def test_a_request_written_as_json_is_sent_as_it_was_written(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    page = await opened(context, gateway.url, "#/submit")
    await filled(page, make_model(), data)
    await page.get_by_role("button", name="JSON").click()
    area = page.locator("textarea.code")
    written = json.loads(await area.input_value())
    create = page.get_by_role("button", name="Create")
    alert = page.get_by_role("alert")
    await area.fill(json.dumps({**written, "learnin_rate": 1e-3}))
    await expect(alert).to_contain_text("learnin_rate")
    await create.click()
    await expect(create).to_be_enabled()
    await expect(alert).to_contain_text("learnin_rate")
    await area.fill(json.dumps(written)[:-1])
    await create.click()
    await expect(alert).to_contain_text("JSON")
    assert (await gateway.get("/training/all/jobs"))["total"] == 0
    await area.fill(json.dumps({**written, "learning_rate": 3e-4}))
    await create.click()
    await page.wait_for_url("**#/jobs/*")
    job_id = page.url.rpartition("/")[2]
    assert (await found.call("job.get", {"job_id": job_id}))["learning_rate"] == 3e-4


async def test_a_job_that_ended_and_goes_on_elsewhere_goes_on_here(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    model = make_model(steps=6, hold_at=3)
    found, gateway = served
    made = await gateway.post(LLM, request(model, data, start=True, auto_export=False))
    page = await opened(context, gateway.url, f"#/jobs/{made['job_id']}")
    status = page.locator(".head").first.locator(".status")
    await expect(page.get_by_text("3 / 6")).to_be_visible()
    await found.call("job.stop", {"job_id": made["job_id"]})
    await expect(status).to_have_text("cancelled")
    (Path(model) / "go").touch()
    await found.call("job.resume", {"job_id": made["job_id"]})
    await found.status(made["job_id"], "completed", attempt=2)
    await expect(status).to_have_text("completed")
    await expect(page.locator(".events li")).to_have_count(len(found.durable(made["job_id"])))


async def test_a_log_that_is_left_while_it_scrolls_is_left_in_peace(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    made = await gateway.post(LLM, request(make_model(steps=3), data, start=True, auto_export=False))
    await found.status(made["job_id"], "completed")
    page = await opened(context, gateway.url, f"#/jobs/{made['job_id']}")
    log = await page.locator("pre.log").element_handle()
    await page.goto(f"{gateway.url}/ui/#/queue")
    await expect(page.locator("pre.log")).to_have_count(0)
    await log.evaluate("node => node.dispatchEvent(new Event('scroll'))")  # browsers tell it a frame later


async def test_what_is_compared_keeps_its_colour_and_may_be_gone(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    ids: list[str] = []
    for name in "ab":
        made = await gateway.post(LLM, request(make_model(name, steps=3), data, start=True, auto_export=False))
        await found.status(made["job_id"], "completed")
        ids.append(made["job_id"])

    async def without_accuracy(route: Route) -> None:
        answer = await route.fetch()
        curve = await answer.json()
        points = [{**point, "token_acc": None} for point in curve["points"]]
        await route.fulfill(response=answer, json={**curve, "points": points})

    await context.route(f"**/jobs/{ids[0]}/metrics*", without_accuracy)
    page = await opened(context, gateway.url, f"#/compare?ids={ids[0]},{NOBODY},{ids[1]}")
    await expect(page.locator(".notice")).to_contain_text(NOBODY[:8])
    colours: set[str] = set()
    for title in ("Loss", "Token accuracy"):
        series = page.locator(".chart", has_text=title).locator(".u-series", has_text=ids[1][:8]).first
        colours.add(await series.locator(".u-marker").evaluate("node => node.style.borderColor"))
    assert len(colours) == 1


async def test_a_connection_that_is_gone_without_a_word_is_noticed(context: BrowserContext, served: Served) -> None:
    gateway = served.gateway
    page = await context.new_page()
    await page.clock.install()
    async with page.expect_response("**/events"):
        await page.goto(f"{gateway.url}/ui/")
    await expect(page.get_by_text("There are no jobs yet")).to_be_visible()
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        await page.clock.fast_forward(SILENCE_MS)
        await expect(page.get_by_text("connecting again")).to_be_visible()
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    await expect(page.get_by_text("connecting again")).to_have_count(0)


async def test_the_keyboard_goes_along_and_what_is_copied_needs_no_https(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    made = await gateway.post(LLM, request(make_model(steps=3), data, start=True, auto_export=False))
    await found.status(made["job_id"], "completed")
    await context.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page = await opened(context, gateway.url)
    await page.locator(f"a[href='#/jobs/{made['job_id']}']").press("Enter")
    await expect(page.get_by_role("button", name="Copy")).to_be_visible()
    await expect(page.locator("main")).to_be_focused()
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()


async def test_the_page_is_dark_from_the_first_moment_where_the_system_is(
    browser: Browser, standin_settings: Settings, tmp_path: Path
) -> None:
    async with running_gateway(standin_settings, tmp_path) as gateway:
        context = await browser.new_context(color_scheme="dark", java_script_enabled=False)
        page = await opened(context, gateway.url)
        colour = await page.locator("body").evaluate("node => getComputedStyle(node).backgroundColor")
        await context.close()
        assert colour == "rgb(17, 20, 27)"
