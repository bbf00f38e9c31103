"""In a real browser: the app that is named frames the light, another app does not, and no app frames another page."""

import pytest
from playwright.async_api import Browser
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from simulators.serving import serve
from tests.console.conftest import PATIENCE_MS
from tests.console.serving import serving
from tests.receiver.running import UNUSED_DSN, settings, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


def app(frames: list[str]) -> Starlette:
    """An app whose page has these in frames; the list may still be filled."""

    async def page(_: object) -> HTMLResponse:
        return HTMLResponse("<nav>" + "".join(f'<iframe src="{one}" width="300" height="40"></iframe>' for one in frames) + "</nav>")

    return Starlette(routes=[Route("/", page)])


async def test_only_the_app_that_is_named_frames_the_light_and_only_the_light(browser: Browser) -> None:
    frames: list[str] = []
    async with (
        serve(app(frames)) as named,
        serve(app(frames)) as other,
        serving(UNUSED_DSN, settings(embed_origins=named.base_url)) as (url, _),
    ):
        frames += [f"{url}/console/light", f"{url}/console/sign-in"]
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text) if "frame-ancestors" in message.text else None)
        await page.goto(named.base_url)
        light = page.frame_locator("iframe").first
        await light.get_by_text("does not answer").wait_for()
        assert await light.locator("svg use").count() == 1
        assert await light.locator("a").evaluate("(a) => getComputedStyle(a).display") == "flex"
        await until(lambda: len(refused) == 1)  # the page to sign in
        refused.clear()
        await page.goto(other.base_url)
        await until(lambda: len(refused) == 2)
        await page.close()
