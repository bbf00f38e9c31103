"""The console in a real browser: signing in, keys, dialogs, a phone's width. Skipped, with the reason, where there is no Chromium."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from outbox.testing import Postroom
from receiver.app import create_app
from tests.receiver.running import OPERATOR_TOKEN, sealer, settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium), so no page was tried"
)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PATIENCE_MS = 20_000


@asynccontextmanager
async def serving(postroom: Postroom) -> AsyncIterator[str]:
    """The receiver on a free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = create_app(postroom.dsn, settings(), sealer=sealer())
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on"))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def browsing(postroom: Postroom, *, width: int = 1280) -> AsyncIterator[tuple[Page, str, list[str]]]:
    """A page that is signed in, the server's address, and what the browser complained of."""
    async with serving(postroom) as url, async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": width, "height": 740}, timezone_id="America/New_York")
        page.set_default_timeout(PATIENCE_MS)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{url}/console/audit")
        await page.fill("#token", OPERATOR_TOKEN)
        await page.press("#token", "Enter")
        await page.wait_for_url("**/console/audit")
        yield page, url, complaints
        await browser.close()


async def test_keys_dialogs_and_acts_work_under_the_policy(postroom: Postroom) -> None:
    async with browsing(postroom) as (page, _, complaints):
        await page.keyboard.press("?")
        assert await page.locator("#help").is_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("g")
        await page.keyboard.press("c")
        await page.wait_for_url("**/console/connections")
        assert "America/New_York" in await page.inner_text(".zone")
        await page.locator("tr", has_text="notion").get_by_text("Pause…").first.click()
        dialog = page.locator("dialog[open]")
        assert await dialog.locator("button:focus").inner_text() == "Cancel"
        await page.keyboard.press("Escape")
        assert await page.locator("dialog[open]").count() == 0
        await page.locator("tr", has_text="notion").get_by_text("Pause…").first.click()
        await dialog.get_by_label("Reason").fill("schema change")
        await dialog.get_by_role("button", name="Pause notion").click()
        await page.get_by_text("Paused notion until somebody resumes it").wait_for()
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_text("Resumed notion.").wait_for()
        await page.get_by_role("button", name="Dismiss").click()
        await page.get_by_text("Resumed notion.").wait_for(state="detached")
        await page.click("[data-theme-switch]")
        theme = await page.get_attribute("html", "data-theme")
        await page.reload()
        assert await page.get_attribute("html", "data-theme") == theme
        assert complaints == []
    assert await postroom.value("select count(*) from outbox.audit where what in ('pause', 'resume')") == 2


async def test_no_page_is_wider_than_a_phone(postroom: Postroom) -> None:
    async with browsing(postroom, width=360) as (page, url, complaints):
        for path in ("", "syncs", "connections", "rejected", "audit"):
            await page.goto(f"{url}/console/{path}")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert complaints == []
