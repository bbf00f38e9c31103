"""Every page by WCAG 2.2 AA, as axe finds it, with dialogs and details open: whole in light on a desk, and what differs in dark on a phone.

A zoom of 200 % on a window of 1280 px lays out 640 px, one of 400 % 320 px: nothing may have to be scrolled sideways.
"""

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tests.console.conftest import DESKTOP_PX, PHONE_PX, Served, Tab
from tests.console.test_browser import WIDER, pages

pytestmark = pytest.mark.asyncio(loop_scope="session")
ZOOMED_PX = (640, 320)
EVERYTHING = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OF_THE_LOOK = ["color-contrast", "target-size", "scrollable-region-focusable"]
FRAME = [[".top"], ["#help"]]  # the same on every page: looked at once
OPEN_ALL = """() => {
  for (const one of document.querySelectorAll("dialog, details")) { one.setAttribute("open", ""); one.style.position = "static"; }
}"""
CLOSE_DIALOGS = """() => { for (const one of document.querySelectorAll("dialog")) one.removeAttribute("open"); }"""
AUDIT = """async ([only, exclude]) => {
  const found = await axe.run({ exclude }, { resultTypes: ["violations"], runOnly: only, preload: false, iframes: false });
  return found.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
}"""


async def look(tab: Tab, width: int, scheme: str) -> None:
    await tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await tab.page.set_viewport_size({"width": width, "height": 740})


async def test_axe_finds_nothing_on_any_page_and_a_zoom_needs_no_scrolling_sideways(served: Served) -> None:
    async with served.tab() as tab:
        for path in pages(served):
            known, found = FRAME if path else [], list[str]()
            await look(tab, DESKTOP_PX, "light")
            await tab.open(path)
            await tab.page.evaluate(OPEN_ALL)
            await tab.page.evaluate(AXE_SCRIPT)
            found += await tab.page.evaluate(AUDIT, [EVERYTHING, known])
            await look(tab, PHONE_PX, "dark")
            found += await tab.page.evaluate(AUDIT, [OF_THE_LOOK, known])
            await tab.page.evaluate(CLOSE_DIALOGS)
            for width in ZOOMED_PX:
                await look(tab, width, "dark")
                found += await tab.page.evaluate(WIDER, width)
            assert found == [], "\n".join((path, *found))
