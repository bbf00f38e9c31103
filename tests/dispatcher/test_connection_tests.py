"""A test of a connection: one read call whose answer is the event's outcome; what fails is told and is no dead letter."""

from functools import partial

import pytest

from dispatcher.config import DispatcherSettings
from outbox import operators
from outbox.errors import NotNow
from outbox.operators import Actor
from outbox.store import destinations
from outbox.testing import Postroom
from simulators.notion import NotionSimulator
from simulators.samples import DEMO_NOTION_TOKEN
from simulators.serving import serve
from tests.dispatcher import googling
from tests.dispatcher.handling import fate
from tests.dispatcher.running import dispatching, eventually

OTTO = Actor("otto", "console")


async def outcome(postroom: Postroom, event: int, at: str) -> dict[str, str]:
    """What became of the test of a Notion at that address."""
    settings = DispatcherSettings.read(notion_api_key=DEMO_NOTION_TOKEN, notion_api_base_url=at)

    async def is_over() -> bool:
        return bool(await postroom.rows("select from outbox.attempts where event_id = $1 and outcome in ('d', 's')", event))

    async with dispatching(postroom.dsn, settings=settings):
        await eventually(is_over)
    return (await postroom.rows("select outcome::text, note from outbox.attempts where event_id = $1", event))[0]


async def is_settled(postroom: Postroom, event: int) -> bool:
    return (await fate(postroom, event)).state != "pending"


async def test_a_test_says_that_it_works_and_how_long_it_took(postroom: Postroom) -> None:
    event = await operators.test(postroom.pool, OTTO, "notion")
    async with serve(NotionSimulator().app) as notion:
        became = await outcome(postroom, event, notion.base_url)
    assert became["outcome"] == "d"
    assert '"works": true' in became["note"]
    assert "took_ms" in became["note"]
    calls = await postroom.rows("select name, entry from outbox.steps where event_id = $1", event)
    assert {row["name"] for row in calls} == {"read"}


async def test_a_destination_that_is_not_there_is_the_result_of_the_test_and_no_dead_letter(postroom: Postroom) -> None:
    event = await operators.test(postroom.pool, OTTO, "notion")
    became = await outcome(postroom, event, "http://127.0.0.1:1")
    assert became["outcome"] == "s"
    assert "the test failed: notion" in became["note"]
    assert await postroom.rows("select from outbox.dead") == []


async def test_a_users_google_is_tested_by_their_own_consent(postroom: Postroom) -> None:
    async with googling.world(postroom) as google:
        await google.connect("ada")
        for user, state in (("ada", "done"), ("nobody", "skipped")):
            event = await operators.test(postroom.pool, OTTO, f"google:{user}")
            async with google.dispatching():
                await google.until(partial(is_settled, postroom, event))
            assert (await fate(postroom, event)).state == state
        assert google.google.requests.count("GET", googling.LIST) == 1


async def test_what_stands_is_not_tested_nor_what_there_is_no_test_of(postroom: Postroom) -> None:
    await destinations.pause(postroom.pool, "notion", why="schema change", by="ben")
    for name in ("notion", "google", "mailer", "alert:room", "notion:x"):
        with pytest.raises(NotNow):
            await operators.test(postroom.pool, OTTO, name)
    assert await postroom.rows("select from outbox.events") == []
    assert await postroom.rows("select from outbox.audit") == []
