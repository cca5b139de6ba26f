"""The forms of the page: a new vision-language job, and what is exported of an ended one."""

import json

import pytest
from playwright.async_api import BrowserContext, Page, expect

from schemas.commands import COMMANDS
from tests.e2e.conftest import MakeModel, Served
from tests.e2e.http.gateway import LLM, Json, request
from tests.e2e.page.browsing import opened

pytestmark = pytest.mark.services


async def test_a_vision_language_job_has_a_form_of_its_own(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    model = make_model()
    page = await opened(context, gateway.url, "#/submit")
    await page.get_by_label("model_path").fill(model)
    await expect(page.locator("#field-vit_lr")).to_have_count(0)
    await page.get_by_role("button", name="VLM").click()
    await expect(page.get_by_label("model_path")).to_have_value(model)
    await page.get_by_label("output_dir").fill("out")
    await page.get_by_label("Start it when").uncheck()
    create = page.get_by_role("button", name="Create")
    await create.click()
    await expect(page.get_by_role("alert")).to_contain_text("data_path")
    assert (await gateway.get("/training/jobs"))["total"] == 0
    await page.locator("#field-data_path").fill(data)
    await page.locator("#field-vit_lr").fill("2e-5")
    await page.locator("#field-freeze_vit").select_option("false")
    await page.locator("summary", has_text="Logging").click()
    await page.locator("#field-save_only_model").select_option("true")
    await create.click()
    await page.wait_for_url("**#/jobs/*")
    await expect(page.locator("h1 .kind")).to_have_text("VLM")
    job = await found.call("job.get", {"job_id": page.url.rpartition("/")[2]})
    told = {"training_type": "vlm", "model_path": model, "data_path": data, "vit_lr": 2e-5, "freeze_vit": False}
    assert told.items() <= job.items()
    assert (job["save_only_model"], job["status"], job["lora_rank"]) == (True, "pending", 16)
    await page.get_by_role("link", name="New job like this").click()
    await expect(page.locator("#field-vit_lr")).to_have_value("0.00002")
    await expect(page.locator("#field-freeze_vit")).to_have_value("false")


async def exported(page: Page, **choices: str) -> Json:
    """Choose in the dialog, and order it; what was sent."""
    dialog = page.get_by_role("dialog")
    for label, value in choices.items():
        field = dialog.locator(f"[name={label}]")
        if label == "path":
            await field.fill(value)
        elif label == "merge":
            await field.set_checked(value == "yes")
        else:
            await field.select_option(value)
    async with page.expect_request(lambda sent: sent.url.endswith("/export")) as sent:
        await dialog.get_by_role("button", name="Export").click()
    body: Json = json.loads((await sent.value).post_data or "")
    return body


async def test_a_checkpoint_is_exported_as_the_dialog_says(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    found, gateway = served
    asked = request(make_model(steps=4), data, start=True, auto_export=False, save_steps=2)
    job_id = (await gateway.post(LLM, asked))["job_id"]
    await found.status(job_id, "completed")
    page = await opened(context, gateway.url, f"#/jobs/{job_id}")
    await page.get_by_role("button", name="Export").click()
    dialog = page.get_by_role("dialog")
    methods = await dialog.locator("[name=method] option").all_inner_texts()
    known = COMMANDS["job.export"].json_schema()["properties"]["quant_method"]["anyOf"][0]["enum"]
    assert methods[1:] == known
    assert await exported(page, path="nowhere") == {"checkpoint": "nowhere", "merge_lora": True}
    await expect(dialog.get_by_role("alert")).to_contain_text("there: checkpoint-2, checkpoint-4")
    assert await exported(page, path="checkpoint-2", merge="no") == {"checkpoint": "checkpoint-2", "merge_lora": False}
    await expect(dialog.get_by_role("alert")).to_be_visible()
    merged = {"checkpoint": "checkpoint-2", "merge_lora": True}
    assert await exported(page, path="checkpoint-2", merge="yes") == merged
    await expect(dialog).to_have_count(0)
    files = page.locator(".facts").last
    await expect(files).to_contain_text("checkpoint-2-merged")
    await expect(page.locator(".events")).to_contain_text("Export: completed")
    await page.get_by_role("button", name="Export").click()
    quantized = {"checkpoint": "last", "merge_lora": True, "quant_method": "bnb", "quant_bits": 4}
    assert await exported(page, which="last", method="bnb", bits="4") == quantized
    await found.until(lambda event: event["data"].get("export_status") == "completed", number=2)
    path = (await found.call("job.get", {"job_id": job_id}))["export_path"]
    assert "checkpoint-4" in path
    await expect(files).to_contain_text(path)
