"""The page in a real browser, over a real gateway, daemon, broker and store: what an operator does with it."""

import re
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, expect

from daemon.gateway.tokens import TokenFile
from tests.e2e.conftest import MakeModel, Served, Settings
from tests.e2e.harness import probe, running_daemon
from tests.e2e.http.gateway import LLM, request, running_gateway
from tests.e2e.page.browsing import opened

pytestmark = pytest.mark.services

WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def test_a_job_is_submitted_watched_to_its_end_and_deleted(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    model = make_model(steps=8, hold_at=4)
    found, gateway = served
    page = await opened(context, gateway.url)
    await expect(page.get_by_text("There are no jobs yet")).to_be_visible()
    await page.get_by_role("link", name="New job").last.click()
    await page.get_by_label("model_path").fill(model)
    await page.get_by_label("datasets", exact=False).first.fill(data)
    await page.get_by_label("output_dir").fill("out")
    await page.get_by_label("learning_rate").fill("fast")
    await page.get_by_role("button", name="Create").click()
    field = page.locator("#field-learning_rate")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("#about-learning_rate .fault")).to_contain_text("number")
    await field.fill("2e-4")
    await page.locator("summary", has_text="Logging").click()
    await page.get_by_label("logging_steps").fill("1")
    await page.get_by_role("button", name="Create").click()
    await expect(page).to_have_url(re.compile(r"#/jobs/[0-9a-f-]{36}$"))
    job_id = page.url.rpartition("/")[2]
    assert (await found.call("job.get", {"job_id": job_id}))["learning_rate"] == 2e-4
    head = page.locator(".head").first
    await expect(head.locator(".status")).to_have_text("running")
    await expect(page.get_by_text("4 / 8")).to_be_visible()
    await expect(page.locator(".chart canvas").first).to_be_visible()
    loss = page.locator(".chart", has_text="Loss").locator("[role=img]").first
    before = await loss.get_attribute("aria-label")
    (Path(model) / "go").touch()
    await expect(head.locator(".status")).to_have_text("completed")
    await expect(page.get_by_text("8 / 8")).to_be_visible()
    assert await loss.get_attribute("aria-label") != before
    await expect(page.locator(".events")).to_contain_text("reached its last step")
    await expect(page.locator(".events")).to_contain_text("Export: completed")
    logged = (await found.call("job.logs", {"job_id": job_id, "tail": 1000}))["lines"]
    log = page.locator(".log")
    await expect(log).to_contain_text(logged[-1])
    for line in logged:  # a bar that is drawn again may stand there as it was in between
        assert line in await log.inner_text() or "%|" in line
    await page.get_by_label("Search the log").fill("'8/8'")
    shown = (await page.locator(".log").inner_text()).splitlines()
    assert shown
    assert all("'8/8'" in line for line in shown)
    await expect(page.locator(".command")).to_contain_text("--learning_rate 0.0002")
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Back").click()
    assert (await found.call("job.get", {"job_id": job_id}))["status"] == "completed"
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("There are no jobs yet")).to_be_visible()


async def test_a_list_that_lives_a_stop_a_resume_and_a_comparison(
    context: BrowserContext, make_model: MakeModel, data: str, tmp_path: Path, served: Served
) -> None:
    found, gateway = served
    page = await opened(context, gateway.url)
    first = await gateway.post(LLM, request(make_model("a", steps=4), data, start=True, learning_rate=1e-3))
    second = await gateway.post(
        LLM, request(make_model("b", steps=6, hold_at=3), data, start=True, labels={"team": "<b>x</b>"})
    )
    line = page.locator("tbody tr", has=page.locator(f"a[href='#/jobs/{second['job_id']}']"))
    await expect(line.locator(".progress")).to_contain_text("3 / 6")  # without a reload
    await expect(line.locator(".label")).to_have_text("team=<b>x</b>")
    other = page.locator("tbody tr", has=page.locator(f"a[href='#/jobs/{first['job_id']}']"))
    await expect(other.locator(".status")).to_have_text("completed")
    for row in (line, other):
        await row.locator("input[type=checkbox]").check()
    await page.get_by_role("link", name="Compare 2").click()
    chart = page.locator(".chart", has_text="Loss").first
    await expect(chart.locator("canvas")).to_be_visible()
    await expect(chart.locator(".u-legend")).to_contain_text(first["job_id"][:8])
    await expect(chart.locator(".u-legend")).to_contain_text(second["job_id"][:8])
    await expect(page.locator("tr", has_text="learning_rate")).to_contain_text("0.001")
    await page.goto(f"{gateway.url}/ui/#/jobs/{second['job_id']}")
    await page.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Seconds until it is killed").fill("5")
    await dialog.get_by_role("button", name="Stop").click()
    status = page.locator(".head").first.locator(".status")
    await expect(status).to_have_text("cancelled")
    (tmp_path / "b" / "go").touch()
    await page.get_by_role("button", name="Resume").click()
    await page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    await expect(status).to_have_text("completed")
    assert (await found.call("job.get", {"job_id": second["job_id"]}))["attempt"] == 2


async def test_the_page_comes_back_when_the_gateway_does(
    context: BrowserContext,
    standin_settings: Settings,
    make_model: MakeModel,
    data: str,
    work: Path,
    amqp_url: str,
    tmp_path: Path,
) -> None:
    model = make_model(steps=8, hold_at=4)
    async with probe(amqp_url) as found, running_daemon(standin_settings, work, found):
        async with running_gateway(standin_settings, tmp_path) as gateway:
            made = await gateway.post(LLM, request(model, data, start=True, auto_export=False))
            page = await opened(context, gateway.url, f"#/jobs/{made['job_id']}")
            await expect(page.get_by_text("4 / 8")).to_be_visible()
            port = gateway.http.base_url.port
            assert await gateway.stop() == 0
        await expect(page.get_by_text("connecting again")).to_be_visible()
        (Path(model) / "go").touch()
        await found.status(made["job_id"], "completed")
        assert port is not None
        async with running_gateway(standin_settings, tmp_path, port=port):
            await expect(page.locator(".head").first.locator(".status")).to_have_text("completed")
            await expect(page.get_by_text("connecting again")).to_have_count(0)
            events = page.locator(".events li")
            await expect(events).to_have_count(len(found.durable(made["job_id"])))


async def test_queue_devices_and_system(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    page = await opened(context, gateway.url, "#/fleet")
    await page.get_by_role("button", name="Drain").click()
    await page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    await expect(page.locator(".status.drained").first).to_be_visible()
    made = await gateway.post(LLM, request(make_model(), data, start=True))
    await page.get_by_role("link", name="Queue").click()
    await expect(page.locator("tbody tr")).to_contain_text(made["job_id"][:8])
    await expect(page.locator("tbody tr")).to_contain_text("every node is drained")
    await page.get_by_role("link", name="GPUs and nodes").click()
    await page.get_by_role("button", name="Resume").click()
    await page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    await found.status(made["job_id"], "completed")
    await page.get_by_role("link", name="System").click()
    await expect(page.locator(".count", has_text="completed").locator("b")).to_have_text("1")
    await expect(page.locator(".facts").first).to_contain_text("RabbitMQ")


async def test_who_has_no_token_is_asked_for_one_and_sees_what_it_allows(
    context: BrowserContext, standin_settings: Settings, work: Path, amqp_url: str, tmp_path: Path
) -> None:
    token = TokenFile(tmp_path / "tokens.json").add("looker", "read", None)
    async with (
        probe(amqp_url) as found,
        running_daemon(standin_settings, work, found),
        running_gateway(standin_settings, tmp_path) as gateway,
    ):
        page = await opened(context, gateway.url)
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Token").fill("swt_wrong")
        await dialog.get_by_role("button", name="Use it").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("not known")
        await dialog.get_by_label("Token").fill(token)
        await dialog.get_by_role("button", name="Use it").click()
        await expect(page.get_by_text("There are no jobs yet")).to_be_visible()
        await expect(page.get_by_role("link", name="New job")).to_have_count(0)
        await page.reload()
        await expect(page.get_by_text("There are no jobs yet")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(dialog).to_be_visible()
        assert token not in page.url


async def test_by_keyboard_alone_in_chinese_in_the_dark_and_on_a_phone(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    made = await gateway.post(LLM, request(make_model(steps=3, hold_at=2), data, start=True))
    page = await opened(context, gateway.url)
    await expect(page.locator("tbody tr .progress")).to_contain_text("2 / 3")
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    link = page.locator(f"a[href='#/jobs/{made['job_id']}']")
    for _ in range(12):
        await page.keyboard.press("Tab")
        if await link.evaluate("node => node === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_contain_text(made["job_id"][:8])
    await page.get_by_role("button", name="Stop").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_role("button", name="Stop")).to_be_focused()
    await page.get_by_label("Language").select_option("zh")
    await expect(page.get_by_role("button", name="停止")).to_be_visible()
    await page.get_by_label("浅色或深色").select_option("dark")
    light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light == "rgb(17, 20, 27)"
    await page.reload()
    await expect(page.get_by_role("button", name="停止")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "zh"
    await page.set_viewport_size({"width": 360, "height": 740})
    for view in (
        "jobs",
        f"jobs/{made['job_id']}",
        "queue",
        "fleet",
        "submit",
        "system",
        f"compare?ids={made['job_id']}",
    ):
        await page.goto(f"{gateway.url}/ui/#/{view}")
        await expect(page.locator("h1")).to_be_visible()
        await page.wait_for_load_state("networkidle") if "jobs" not in view else None
        assert await page.evaluate(WIDE) <= 0, view
    await found.call("job.stop", {"job_id": made["job_id"]})
    await found.status(made["job_id"], "cancelled")
