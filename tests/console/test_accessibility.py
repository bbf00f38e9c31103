"""Every page by WCAG 2.2 AA, as axe finds it, dialogs and details open: whole in light at a desk, what differs in dark and on a phone.

The pages are shown one after the other in one document that has axe and every style sheet already: loading each anew would cost more than
looking at it. A zoom of 200 % on a window of 1280 px lays out 640 px, one of 400 % 320 px: nothing may have to be scrolled sideways.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import APIRequestContext

from tests.console.conftest import DESKTOP_PX, PHONE_PX, Served
from tests.console.test_browser import WIDER, pages

pytestmark = pytest.mark.asyncio(loop_scope="session")
EVERYTHING = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast"]
SIZES = ["target-size", "scrollable-region-focusable"]
FRAME = [[".top"], ["#help"]]  # the same on every page: looked at once
OWN = {"sec-fetch-site": "same-origin"}


@dataclass(frozen=True, slots=True)
class Look:
    """A window, the colours of the system, and by which rules pages are audited in it; none: whether they fit.

    `alike`: of rows that are made alike one is enough, since they have the same colours and sizes.
    """

    width: int
    scheme: str
    rules: list[str]
    alike: bool = False


LOOKS = (
    Look(DESKTOP_PX, "light", EVERYTHING),
    Look(DESKTOP_PX, "dark", COLOURS, alike=True),
    Look(PHONE_PX, "light", [*COLOURS, *SIZES], alike=True),
    Look(640, "dark", []),
    Look(320, "dark", []),
)
LATE = (Look(PHONE_PX, "dark", COLOURS, alike=True),)
STYLED = """async (addresses) => {
  const loaded = (address) => new Promise((done, failed) => {
    const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: address, onload: done, onerror: failed });
    document.head.append(sheet);
  });
  await Promise.all(addresses.map(loaded));
}"""
LOOKED = f"""async ([pages, rules, width, frame, alike]) => {{
  const wider = {WIDER};
  const found = [];
  const show = (page, html) => {{
    for (const one of document.querySelectorAll("link[rel=stylesheet]")) {{
      one.media = html.includes(one.getAttribute("href")) ? "all" : "not all";
    }}
    document.title = page.title;
    document.documentElement.style.background = page.querySelector("body.small-light") ? "Canvas" : "";
    document.body.replaceWith(document.adoptNode(page.body));
    for (const one of document.querySelectorAll("details")) one.open = true;
    const known = new Set();
    for (const row of document.querySelectorAll("tbody > tr, .tree > li, .needs > li")) {{
      const made = [row, ...row.querySelectorAll("*")].map((one) => one.tagName + (one.getAttribute("class") || "")).join();
      if (alike && known.has(made)) row.remove();
      known.add(made);
    }}
    if (rules.length) {{
      for (const one of document.querySelectorAll("dialog")) {{ one.setAttribute("open", ""); one.style.position = "static"; }}
    }}
  }};
  for (const [path, html] of Object.entries(pages)) {{
    const page = new DOMParser().parseFromString(html, "text/html");
    show(page, html);
    if (!rules.length) {{
      found.push(...wider(width).map((said) => `${{path}} at ${{width}} px: ${{said}}`));
      continue;
    }}
    const runOnly = document.querySelector("main") ? rules : rules.filter((one) => one !== "best-practice");
    const options = {{ resultTypes: ["violations"], runOnly, preload: false, iframes: false, selectors: false }};
    const {{ violations }} = await axe.run({{ exclude: path ? frame : [] }}, options);
    for (const one of violations) for (const node of one.nodes) {{
      found.push(`${{path}} at ${{width}} px: ${{one.id}}: ${{node.html.slice(0, 200)}} ${{node.failureSummary}}`);
    }}
  }}
  return found;
}}"""


async def every_page(served: Served, talk: APIRequestContext) -> Mapping[str, str]:
    """Path to HTML, as somebody who is signed in gets it: also what only a form opens."""

    async def sent(path: str, **fields: str) -> str:
        form = re.search(r'name="form" value="([^"]+)"', await read("audit"))
        assert form is not None
        answer = await talk.post(f"{served.url}/console/{path}", form={"form": form[1], **fields}, headers=OWN)
        assert answer.status == 200, path
        return await answer.text()

    async def read(path: str, status: int = 200) -> str:
        answer = await talk.get(f"{served.url}/console/{path}")
        assert answer.status == status, path
        return await answer.text()

    every = {path: await read(path) for path in (*pages(served), "sign-in", "light")}
    every["nowhere"] = await read("nowhere", 404)
    every["payload"] = await sent(f"events/{served.invented.dead[0]}/payload")
    every["plan"] = await sent("acts/plan", group=served.invented.group)
    assert "Its events, in their turns" in every["plan"]
    assert "Raw, as it was signed" in every["payload"]
    return every


@pytest.mark.parametrize("looks", [LOOKS, pytest.param(LATE, marks=pytest.mark.long)], ids=["telling looks", "the rest"])
async def test_axe_finds_nothing_on_any_page_and_a_zoom_needs_no_scrolling_sideways(served: Served, looks: Sequence[Look]) -> None:
    async with served.tab(bypass_csp=True) as tab:
        every = await every_page(served, tab.page.request)
        await tab.open("sign-in")
        sheets = {one for html in every.values() for one in re.findall(r'<link rel="stylesheet" href="([^"]+)"', html)}
        there = await tab.page.eval_on_selector_all("link[rel=stylesheet]", "(all) => all.map((one) => one.getAttribute('href'))")
        await tab.page.evaluate(STYLED, sorted(sheets - set(there)))
        await tab.page.evaluate(AXE_SCRIPT)
        found = list[str]()
        for look in looks:
            await tab.page.emulate_media(color_scheme="dark" if look.scheme == "dark" else "light")
            await tab.page.set_viewport_size({"width": look.width, "height": 740})
            found += await tab.page.evaluate(LOOKED, [every, look.rules, look.width, FRAME, look.alike])
    assert found == [], "\n".join(found)
