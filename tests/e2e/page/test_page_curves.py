"""The curves of a job: of its evaluations, of its GPUs, and in the reader's language."""

from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.e2e.conftest import MakeModel, MakeSettings, Served
from tests.e2e.harness import probe, processes_of, running_daemon
from tests.e2e.http.gateway import LLM, request, running_gateway
from tests.e2e.page.browsing import opened
from tests.nvml.conftest import apart, library
from tests.nvml.standin import Driver

__all__ = ["apart", "library"]

pytestmark = pytest.mark.services

KEPT = "swift-trainer.gpus"
"""Where a tab keeps the GPU curves of the last four jobs that were looked at."""


def chart(page: Page, title: str) -> Locator:
    """A chart by its title."""
    return page.locator(".chart", has=page.locator("figcaption", has_text=title))


def said(chart: Locator) -> Locator:
    """What a chart says to who can't see it."""
    return chart.locator("[role=img]").first


async def test_evaluations_have_curves_and_legends_speak_the_language(
    context: BrowserContext, make_model: MakeModel, data: str, served: Served
) -> None:
    model = make_model(steps=6, hold_at=4)
    found, gateway = served
    asked = request(model, data, start=True, auto_export=False, val_datasets=[data], eval_steps=2)
    job_id = (await gateway.post(LLM, asked))["job_id"]
    page = await opened(context, gateway.url, f"#/jobs/{job_id}")
    evaluation = chart(page, "Evaluation: loss")
    await expect(evaluation.locator("canvas")).to_be_visible()
    await expect(chart(page, "Evaluation: token accuracy").locator("canvas")).to_be_visible()
    await expect(page.locator(".chart", has_text="runtime")).to_have_count(0)
    before = await said(evaluation).get_attribute("aria-label")
    (Path(model) / "go").touch()
    await found.status(job_id, "completed")
    points = (await found.call("job.metrics", {"job_id": job_id}))["points"]
    losses = [point["eval"]["eval_loss"] for point in points if "eval_loss" in point["eval"]]
    assert len(losses) == 3
    await expect(said(evaluation)).to_have_attribute("aria-label", f"Evaluation: loss: {losses[-1]:.4g}")
    assert before != await said(evaluation).get_attribute("aria-label")
    await expect(evaluation.locator(".u-legend")).to_contain_text("Step")
    await page.get_by_label("Language").select_option("zh")
    await expect(chart(page, "评估:损失").locator(".u-legend")).to_contain_text("评估:损失")
    legends = " ".join(await page.locator(".chart .u-legend").all_inner_texts())
    assert "步数" in legends
    for word in ("loss", "step", "learning_rate", "token_acc"):
        assert word not in legends.lower()


async def test_a_job_on_gpus_has_curves_of_their_use(
    context: BrowserContext,
    make_settings: MakeSettings,
    standin_command: str,
    make_model: MakeModel,
    data: str,
    work: Path,
    amqp_url: str,
    tmp_path: Path,
    apart: Driver,
) -> None:
    chosen = {"devices": "auto", "swift_version": "4.6.0", "gpu_interval_seconds": 0.5}
    settings = {**make_settings(standin_command, **chosen), **apart.environment}
    async with (
        probe(amqp_url) as found,
        running_daemon(settings, work, found),
        running_gateway(settings, tmp_path) as gateway,
    ):
        asked = request(make_model(steps=100_000, step_seconds=0.05), data, start=True, gpu_id="3,5")
        job_id = (await gateway.post(LLM, asked))["job_id"]
        await found.status(job_id, "running")
        page = await opened(context, gateway.url, f"#/jobs/{job_id}")
        use, memory = chart(page, "GPU use"), chart(page, "GPU memory")
        await expect(use.locator("canvas")).to_be_visible()
        await expect(use.locator(".u-legend")).to_contain_text("GPU 3")
        apart.use(5, processes_of(job_id)[-1].pid, 20 * 1024 - 4)
        apart.change(5, util=88)
        apart.change(3, util=61)
        await expect(said(use)).to_have_attribute("aria-label", "GPU use (%): GPU 3 61, GPU 5 88")
        await expect(said(memory)).to_have_attribute("aria-label", "GPU memory (GiB): GPU 3 0.003906, GPU 5 20")
        await expect(chart(page, "Loss").locator("canvas")).to_be_visible()
        apart.leave(5)
        await found.call("job.stop", {"job_id": job_id, "grace_seconds": 2})
        await found.status(job_id, "cancelled")
        await page.evaluate("key => sessionStorage.setItem(key, JSON.stringify({ a: [], b: [], c: [], d: [] }))", KEPT)
        told = [await said(each).get_attribute("aria-label") for each in (use, memory)]
        await page.reload()
        for each, before in zip((use, memory), told, strict=True):
            await expect(said(each)).to_have_attribute("aria-label", before or "")
        kept = await page.evaluate("key => Object.keys(JSON.parse(sessionStorage.getItem(key)))", KEPT)
        assert kept == ["b", "c", "d", job_id]
        await page.goto(f"{gateway.url}/ui/#/queue")
        await page.goto(f"{gateway.url}/ui/#/jobs/{job_id}")
        await expect(use.locator("canvas")).to_be_visible()
