"""What each test of the page begins with."""

from playwright.async_api import BrowserContext, Page


async def opened(context: BrowserContext, url: str, path: str = "") -> Page:
    """The page of a gateway, at one of its views."""
    page = await context.new_page()
    await page.goto(f"{url}/ui/{path}")
    return page
