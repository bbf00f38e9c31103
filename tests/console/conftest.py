"""A real browser for the console's pages: one for each test process, and one served console with an invented installation for a module.

Their tests and fixtures share one event loop, that of the session: `pytestmark` of a module is BROWSER.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, StorageState, async_playwright

from outbox import db
from outbox.broom import EMPTY
from outbox.testing import Postroom
from tests.console.invented import Invented, fill
from tests.console.serving import serving
from tests.receiver.running import OPERATOR_TOKEN, settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WITHOUT = "no Chromium is installed (Debian: apt-get install chromium), so no page was tried"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 20_000
PHONE_PX, DESKTOP_PX = 360, 1280


@dataclass(slots=True)
class Tab:
    """A page of the browser that is somebody's, and what the browser complained of in it."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        """Goes to a page of the console. Fails unless it is there."""
        answer = await self.page.goto(f"{self.url}/console/{path}")
        assert answer is not None
        assert answer.status == 200, path

    async def said(self, text: str) -> None:
        """Waits for words on the page."""
        await self.page.get_by_text(text).first.wait_for()

    async def press(self, name: str, *, within: str = "main") -> None:
        """The first button of that name."""
        await self.page.locator(within).get_by_role("button", name=name, exact=True).first.click()

    async def answer(self, name: str, **fields: str) -> None:
        """Fills the fields (by label) of the dialog that is open, and confirms."""
        for label, value in fields.items():
            await self.page.locator("dialog[open]").get_by_label(label).fill(value)
        await self.press(name, within="dialog[open]")

    def expected(self, status: str) -> None:
        """The browser says of an answer that is no success that it is none; here it was to be one."""
        assert any(status in text for text in self.complaints)
        self.complaints = [text for text in self.complaints if status not in text]

    def listen(self) -> None:
        """To errors, warnings and violations of the policy."""

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(message.text)

        self.page.on("console", heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))


@dataclass(frozen=True, slots=True)
class Served:
    """A console in a browser: where it is, what is in it."""

    url: str
    postroom: Postroom
    invented: Invented
    browser: Browser
    known: dict[str, StorageState] = field(default_factory=dict)  # the cookies of each token that signed in

    @asynccontextmanager
    async def tab(self, token: str | None = OPERATOR_TOKEN, *, width: int = DESKTOP_PX, bypass_csp: bool = False) -> AsyncIterator[Tab]:
        """Somebody's own tab, signed in unless `token` is None. The browser must not have complained by its end.

        `bypass_csp`: so that a test may put into the page what the policy forbids.
        """
        context = await self.browser.new_context(
            viewport={"width": width, "height": 740},
            timezone_id="America/New_York",
            storage_state=self.known.get(token or ""),
            bypass_csp=bypass_csp,
        )
        context.set_default_timeout(PATIENCE_MS)
        tab = Tab(await context.new_page(), self.url)
        tab.listen()
        if token is not None and token not in self.known:
            await sign_in(tab, token)
            self.known[token] = await context.storage_state()
        yield tab
        await context.close()
        assert tab.complaints == []


async def sign_in(tab: Tab, token: str, *, to: str = "audit") -> None:
    """By the form, as a person does."""
    await tab.open(to)
    await tab.page.fill("#token", token)
    await tab.page.press("#token", "Enter")
    await tab.page.wait_for_url(f"**/console/{to}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, once for each process of the test run."""
    if CHROMIUM is None:
        pytest.skip(WITHOUT)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(browser: Browser, postroom_database: str) -> AsyncIterator[Served]:
    """The invented installation, served. What a test changes stays changed for those after it."""
    async with db.pool(postroom_database, name="postroom:test", size=4, timeout_s=30) as pool:
        await pool.execute(EMPTY)
        postroom = Postroom(postroom_database, pool)
        invented = await fill(postroom)
        async with serving(postroom.dsn, settings(embed_origins="https://app.example.com")) as (url, _):
            yield Served(url, postroom, invented, browser)
