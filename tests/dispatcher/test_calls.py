"""Calls are counted by destination, by what the far side did, and told; what could not be told is kept."""

import pytest

from dispatcher.calls import CallCounts
from dispatcher.clients.http import Call
from dispatcher.config import DispatcherSettings
from dispatcher.services import services
from outbox import db
from outbox.errors import DatabaseUnavailable
from outbox.store import calls
from outbox.testing import Postroom
from simulators.notion import NotionSimulator
from simulators.samples import DEMO_NOTION_TOKEN
from simulators.serving import serve

AWAY = "postgresql://nobody@127.0.0.1:1/nowhere"


async def test_a_call_of_a_client_is_told_when_its_services_end_at_the_latest(postroom: Postroom) -> None:
    async with serve(NotionSimulator().app) as notion:
        settings = DispatcherSettings.read(notion_api_key=DEMO_NOTION_TOKEN, notion_api_base_url=notion.base_url)
        async with services(postroom.dsn, settings) as shared:
            assert shared.notion is not None
            await shared.notion.whoami()
    day = await calls.day(postroom.pool)
    assert {name: (of.made, of.failed) for name, of in day.items()} == {"notion": (1, 0)}


async def test_a_refusal_of_a_record_is_an_answer_and_what_has_none_failed(postroom: Postroom) -> None:
    counts = CallCounts(postroom.pool)
    for status in (200, 404, 422, None, 401, 429, 500):
        counts.made(Call("ghl", "GET", "/", status, 12))
    await counts.tell()
    day = (await calls.day(postroom.pool))["ghl"]
    assert (day.made, day.failed) == (7, 4)


async def test_the_calls_to_all_users_of_google_are_counted_as_one(postroom: Postroom) -> None:
    counts = CallCounts(postroom.pool)
    for destination in ("google:ana", "google:bea", "ghl:dublin", "ghl"):
        counts.made(Call(destination, "GET", "/", 200, 12))
    await counts.tell()
    assert {name: of.made for name, of in (await calls.day(postroom.pool)).items()} == {"google": 2, "ghl:dublin": 1, "ghl": 1}


async def test_what_could_not_be_told_is_told_the_next_time(postroom: Postroom) -> None:
    async with db.pool(AWAY, name="postroom:test", size=1, timeout_s=1) as away:
        counts = CallCounts(away)
        counts.made(Call("ghl", "GET", "/", 500, 3))
        with pytest.raises(DatabaseUnavailable):
            await counts.tell()
        counts.made(Call("ghl", "GET", "/", 200, 3))
        counts._pool = postroom.pool
        await counts.tell()
        await counts.tell()
    day = (await calls.day(postroom.pool))["ghl"]
    assert (day.made, day.failed) == (2, 1)
