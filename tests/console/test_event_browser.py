"""Pages of events, causes and lanes in a real browser, at the width of a phone. Skipped, with the reason, where there is no Chromium."""

from outbox import Event
from outbox.testing import Drain, Postroom
from tests.console.test_browser import browsing, pytestmark
from tests.outbox.engine import put, worker
from tests.receiver.test_api_dead_letters import DYING
from tests.receiver.test_api_events import stage_all

__all__ = ["pytestmark"]


async def test_a_dead_letter_is_looked_into_and_retried_by_a_thumb(postroom: Postroom, drain: Drain) -> None:
    [event_id] = await stage_all(postroom, Event("test.phone", {"name": "Ada Example", "n": 1.5}, lane="contact:" + "c" * 60))
    await drain(DYING)
    await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.retry(*await me.claim(), delay_s=3600, why="ghl answered 503")
    async with browsing(postroom, width=360) as (page, url, complaints):
        for path in ("events", "events/again", "dead", "lanes", "lanes/one?lane=chair%3A1", f"events/{event_id}"):
            await page.goto(f"{url}/console/{path}")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360, path
        await page.get_by_role("button", name="Show the values").click()
        await page.get_by_text('"Ada Example"').first.wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await page.get_by_role("link", name=f"‹ #{event_id}").click()
        await page.get_by_role("button", name="Retry", exact=True).click()
        await page.get_by_text(f"#{event_id} is retried.").wait_for()
        assert complaints == []
    assert (await postroom.totals())["dead"] == 0
