"""A real headless Chromium; what the page says on its console fails the test."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.e2e.harness import REPO

ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
INSTALL_LIMIT_S = 600
WAIT_MS = 40_000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium, which is installed where there is none."""
    argv = ["bash", "deploy/chromium.sh"]
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
async def browser(chromium: str) -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS.split())
        yield browser
        await browser.close()
        await asyncio.sleep(0)


@pytest.fixture
async def context(browser: Browser) -> AsyncGenerator[BrowserContext]:
    """A new profile with nothing remembered."""
    said: list[str] = []
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    context.set_default_timeout(WAIT_MS)
    # what a request was answered with is no fault of the page
    context.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: said.append(str(error.error)))
    yield context
    await context.close()
    assert [line for line in said if "Failed to load resource" not in line and "net::ERR" not in line] == []
