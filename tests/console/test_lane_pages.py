"""The pages of lanes: what they show, and that each act does what it says."""

import re

import pytest

from outbox.testing import Postroom
from tests.console.visiting import looking, operating
from tests.outbox.engine import put, worker


async def test_a_held_lane_is_shown_and_its_head_acted_on(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        (over,) = await put(postroom, "chair:1", kind="test.one")
        await me.done(*await me.claim())
        head, behind = await put(postroom, "chair:1", 2, kind="test.one")
        await me.retry(*await me.claim(), delay_s=3600, why="ghl answered 503")
    async with operating(postroom) as visitor:
        page = await visitor.page("/console/lanes")
        assert "chair:1" in page
        assert "1 waiting" in page
        lane = await visitor.page("/console/lanes/one?lane=chair%3A1")
        assert f"held by #{head}, 1 behind it" in lane
        in_order = lane.partition("In the order in which they run")[2].partition("Over, or not due yet")
        assert re.findall(r"#(\d+) test", in_order[0]) == [str(head), str(behind)]
        assert re.findall(r"#(\d+) test", in_order[2]) == [str(over)]
        await visitor.act("/console/acts/bury", event=str(head), reason="stuck")
        assert "free" in await visitor.page("/console/lanes/one?lane=chair%3A1")
        assert "No lane is held." in await visitor.page("/console/lanes")
    assert (await postroom.totals())["dead"] == 1


async def test_a_lane_is_held_since_its_heads_first_run_and_filters_reach_beyond_a_page(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.console.pages.lanes.MOST_LANES", 2)
    async with worker(postroom) as me:
        for n in range(3):
            await put(postroom, f"page:{n}")
            await me.hold(*await me.claim(), destination="notion")
        (tried,) = await put(postroom, "chair:1")
        await me.retry(*await me.claim(), delay_s=3600, why="ghl answered 503")
    await postroom.pool.execute(
        """insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome)
           values ($1, now() - interval '3 hours', 1, 0, 5, 'r')""",
        tried,
    )
    async with operating(postroom) as visitor:
        first = await visitor.page("/console/lanes")
        page = await visitor.page("/console/lanes?why=retry&why=snoozed")
    assert "chair:1" not in first
    assert "chair:1 3 h 0 m 0 waiting" in page


async def test_what_a_destination_holds_says_who_stopped_it(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1", kind="test.one")
    async with worker(postroom) as me:
        await me.hold(*await me.claim(), destination="ghl")
    await postroom.pool.execute(
        """insert into outbox.routes (kind, handler, destination, deadline_s, retries, schedule_s)
           values ('test.one', 'one', 'ghl', 5, '', '{1}')"""
    )
    await postroom.pool.execute(
        """insert into outbox.destinations (name, state, why, by_whom, until)
           values ('ghl', 'paused', 'schema change', 'ben', now() + interval '59 minutes 45 seconds')"""
    )
    async with looking(postroom) as visitor:
        lanes = await visitor.page("/console/lanes")
        event = await visitor.page(f"/console/events/{event_id}")
        nothing = await visitor.page("/console/lanes?why=retry")
        unnamed = await visitor.get("/console/lanes/one")
    assert "paused by ben: schema change, 59 m" in lanes
    assert "by ben : schema change; 59 m" in event or "by ben: schema change; 59 m" in event
    assert "No lane is held like this." in nothing
    assert unnamed.status_code == 404
