"""`make screenshots`: the README's pictures of the page and of the command line, from real trainings of a tiny model.

Broker, store, daemon and gateway are private ones below .screenshots, and are ended again.
"""

import asyncio
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import desk
import httpx
import services
from playwright.async_api import Page, ViewportSize, async_playwright
from rich.console import Console

from daemon.cli.board import Board, Wanted
from daemon.cli.drawing import BoardDrawing
from daemon.cli.watching import with_curve
from daemon.client import Client

FOLDER = Path(".screenshots")
PICTURES = desk.REPO / "docs" / "pictures"
LIMIT_S = 240
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 780}
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
Json = dict[str, object]


def main() -> None:
    """Entry point."""
    folder = FOLDER.absolute()
    gateway: Mapping[str, str] = {}
    shutil.rmtree(folder, ignore_errors=True)  # no jobs of the last time
    try:
        opened = desk.open_desk(folder, "swift_trainer_pictures", on_exit="stop")
        opened = desk.Desk(folder, {**opened.settings, "SWIFT_TRAINER_NODE_ID": "gpu-1"})
        # what is in the pictures names no folder of whoever takes them
        models = Path(tempfile.gettempdir()) / "models"
        tiny = desk.tiny_model(opened.settings["SWIFT_TRAINER_SWIFT_COMMAND"], models)
        desk.start_daemon(opened)
        port = services.free_port()
        program = str(Path(sys.executable).with_name("swift-trainer"))
        own = {"SWIFT_TRAINER_GATEWAY_TOKENS": str(folder / "tokens.json")}
        gateway = services.spawn(
            [program, "gateway", "--port", str(port)], {**os.environ, **opened.settings, **own}, folder / "gateway.log"
        )
        asyncio.run(take(a_browser(), f"http://127.0.0.1:{port}", opened.amqp_url, tiny))
    finally:
        services.end(gateway, signal.SIGTERM)
        desk.stop_daemon(folder)
        desk.stop_services(folder)


def a_browser() -> str:
    """Path of a Chromium."""
    argv = ["bash", "deploy/chromium.sh"]
    return subprocess.run(argv, cwd=desk.REPO, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


async def take(chromium: str, url: str, amqp_url: str, tiny: Mapping[str, str]) -> None:
    """Train, and take the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    async with (
        asyncio.timeout(LIMIT_S),
        httpx.AsyncClient(base_url=f"{url}/training", timeout=30) as http,
        async_playwright() as playwright,
    ):
        while not await answers(http):  # noqa: ASYNC110  # it is another process
            await asyncio.sleep(0.2)
        done = [await order(http, tiny, learning_rate=rate, labels={"team": "support"}) for rate in (1e-3, 3e-3)]
        for job_id in done:
            await until(http, job_id, "completed", 100)
        running = await order(http, tiny, num_epochs=9, labels={"team": "vision", "run": "night"}, priority=5)
        await order(http, tiny, num_epochs=2, gpu_count=2)
        await until(http, running, "running", 30)
        await watched(amqp_url)
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = await browser.new_context(viewport=DESKTOP, locale="en-US", color_scheme="light")
        page = await context.new_page()
        await picture(page, f"{url}/ui/#/jobs", "jobs.png")
        await page.emulate_media(color_scheme="dark")
        await picture(page, f"{url}/ui/#/jobs/{running}", "job.png")
        await picture(page, f"{url}/ui/#/compare?ids={','.join(done)}", "compare.png")
        await context.close()
        context = await browser.new_context(viewport=PHONE, locale="zh-CN", color_scheme="light")
        await picture(await context.new_page(), f"{url}/ui/#/jobs", "phone.png")
        await browser.close()


async def watched(amqp_url: str) -> None:
    """What `swift-trainer watch` draws now, as text in a picture."""
    async with Client(amqp_url) as client:
        jobs = (await client.jobs(size=10)).jobs
        views = [await with_curve(client, job) for job in jobs]
    board = Board(Wanted(job_ids=[view.job_id for view in views]))
    for view in views:
        board.put(view, 0.0)
    console = Console(record=True, width=132, force_terminal=True, file=io.StringIO())
    console.print("$ swift-trainer watch", highlight=False)
    console.print(BoardDrawing(board.shown(), board.tally()))
    drawn = console.export_svg(title="swift-trainer")
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # whoever looks has a font
    (PICTURES / "watch.svg").write_text(drawn)


async def answers(http: httpx.AsyncClient) -> bool:
    """Whether the gateway and a daemon are there."""
    try:
        return (await http.get("/queue")).status_code == 200
    except httpx.TransportError:
        return False


async def order(http: httpx.AsyncClient, tiny: Mapping[str, str], **more: object) -> str:
    """Start a job; its id."""
    body: Json = {
        "model_path": tiny["model"],
        "datasets": [tiny["train"]],
        "val_datasets": [tiny["val"]],
        "output_dir": "output/pictures",
        "model_type": "qwen2",
        "template": "qwen2_5",
        "max_length": 256,
        "gradient_accumulation_steps": 2,
        "logging_steps": 1,
        "eval_steps": 10,
        "auto_export": False,
        "extra_args": {"check_model": False},
        "start": True,
        **more,
    }
    answer = await http.post("/llm/jobs", json=body)
    answer.raise_for_status()
    return answer.json()["job_id"]


async def until(http: httpx.AsyncClient, job_id: str, state: str, percent: float) -> None:
    """Wait until a job is so far."""
    while True:
        found = (await http.get(f"/jobs/{job_id}/status")).json()
        if found["state"] == state and found["progress"] >= percent:
            return
        if found["state"] in {"failed", "cancelled"}:
            desk.fail(f"screenshots: job {job_id} {found['state']}: {found['error_message']}")
        await asyncio.sleep(0.3)


async def picture(page: Page, url: str, name: str) -> None:
    """A picture of what a person sees first."""
    await page.goto(url)
    await page.locator(".chart canvas, table.jobs").first.wait_for()
    await page.wait_for_timeout(6000)  # by then the page has read what was told before it listened
    await page.screenshot(path=str(PICTURES / name))


if __name__ == "__main__":
    main()
