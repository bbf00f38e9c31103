"""The overview: one sentence, what needs a person, numbers that lead to what they count, and the way to a first event."""

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape

import pytest

from outbox.store import budgets, calls, destinations
from outbox.store.days import Ahead, Day, Kept
from outbox.testing import Postroom
from receiver.console.pages.days import Stored
from receiver.console.pages.overview import LONG_HELD, spikes
from receiver.console.verdict import waits_for
from tests.console.visiting import looking, operating, words
from tests.outbox.engine import put, worker


async def test_an_empty_installation_says_how_to_get_a_first_event(postroom: Postroom) -> None:
    async with looking(postroom) as visitor:
        page, html = await visitor.page("/console/"), (await visitor.get("/console/")).text
        address = f"{visitor.talk.client.base_url}/api/webhooks/ghl"
        assert f'data-copy="{address}"' in (await visitor.get("/console/connections")).text
    assert "To a first event" in page
    assert f"ghl: {address} Copy" in page
    assert f'data-copy="{address}"' in html
    assert "No dispatcher is at work" in page


async def test_what_does_not_flow_and_what_died_needs_a_person(postroom: Postroom) -> None:
    event = await postroom.value("select outbox.stage('thing.done', '{}')")
    await postroom.pool.execute("delete from outbox.pending")
    await postroom.pool.execute(
        "insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason) values ($1, $1, 0, 3, 'cafe', $2)",
        event,
        "field <b> is wrong",
    )
    await destinations.pause(postroom.pool, "notion", why="schema change", by="ben")
    async with operating(postroom) as visitor:
        page = await visitor.page("/console")
        html = (await visitor.get("/console/")).text
        await postroom.pool.execute(
            """insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason)
               select outbox.stage('thing.done', '{}'), n, 0, 1, n, 'refused' from generate_series(1, 6) n"""
        )
        await postroom.pool.execute("insert into outbox.destinations (name, state, why) values ('ghl', 'unauthorised', 'it says 401')")
        await visitor.act("/console/dismiss")  # an act makes the counts anew
        many = await visitor.page("/console/")
    assert "3 things need you. 1 event dead, 0 at work; 0 wait." in page
    assert "1 dead: thing.done: field <b> is wrong" in page
    assert "field <b>" not in html
    assert "notion paused by ben “schema change”, 0 waiting" in page
    assert "To a first event" not in page
    assert "10 things need you. 7 events dead" in many
    assert "2 further causes of dead letters Look" in many
    assert many.index("No dispatcher is at work") < many.index("ghl does not accept") < many.index("1 dead:") < many.index("notion paused")


async def test_a_day_stands_beside_the_same_hours_of_yesterday(postroom: Postroom) -> None:
    await postroom.value("select outbox.stage('thing.done', '{}')")
    await postroom.pool.execute(
        "insert into outbox.minutes (minute, kind, done, skipped, dead) values (now() - interval '1 h', 'a', 104, 6, 1),"
        " (now() - interval '30 h', 'a', 100, 6, 2)"
    )
    await postroom.pool.execute(
        "insert into outbox.arrivals values (now() - interval '1 h', 'ghl', 110), (now() - interval '49 h', 'ghl', 5)"
    )
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/")
    assert "Accepted 111 none yesterday = Done 104 +4 % to yesterday + Skipped 6 as yesterday + Pending 1 + Dead 0" in page


async def _everywhere(postroom: Postroom) -> int:
    """Something in each place where an event can be. Returns the oldest that waits."""
    async with worker(postroom) as me:
        for name, count in (("done", 3), ("skip", 2), ("bury", 4)):
            await put(postroom, None, count)
            await getattr(me, name)(*await me.claim())
        for lane in ("held:1", "held:2"):
            await put(postroom, lane)
            await me.hold(*await me.claim(), destination="notion")
        await put(postroom, "retry:1", 3)
        await me.retry(*await me.claim(), delay_s=3600, why="ghl answered 503")
        await put(postroom, None, 2)
        await me.claim()
        await put(postroom, None)
    await postroom.pool.execute("select outbox.stage('a', '{}', due_at => now() + interval '1 h') from generate_series(1, 5)")
    await postroom.pool.execute("insert into outbox.minutes (minute, kind, done, skipped, dead) values (now(), 'a', 3, 2, 4)")
    return int(await postroom.value("select min(event_id) from outbox.busy where owner is null"))


async def test_each_number_leads_to_the_list_that_counts_to_it_and_the_day_adds_up(postroom: Postroom) -> None:
    oldest = await _everywhere(postroom)
    await destinations.pause(postroom.pool, "notion", why="schema change", by="ben")
    await postroom.pool.execute("update outbox.events set staged_at = now() - interval '52 min' where id = $1", oldest)
    tile = r'<a class="tile" href="([^"]+)"><span class="label">([^<]+)</span><span class="figure"[^>]*>([\d,]+)<'
    async with looking(postroom) as visitor:
        html = (await visitor.get("/console/")).text
        tiles = [(unescape(path), name, int(number)) for path, name, number in re.findall(tile, html)]
        for path, name, number in tiles:
            page = (await visitor.get(path)).text
            listed = re.search(r"([\d,]+) in \d+ group", page) if path == "/console/dead" else None
            assert number == (len(re.findall("<tr data-row", page)) if listed is None else int(listed[1])), (name, path)
        assert f"the oldest, #{oldest} , for 52 m because notion is paused by ben." in words(html)
    assert [(name, number) for _, name, number in tiles] == [
        *(("Waiting their turn", 3), ("Running", 2), ("Waiting for a retry", 1), ("Held by a destination", 2), ("Not due yet", 5)),
        *(("Lanes held", 3), ("Dead", 4), ("Accepted", 22), ("Done", 3), ("Skipped", 2), ("Pending", 13), ("Dead", 4)),
    ]


NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("mark", "why", "state", "workers", "said"),
    [
        ("ready", "ready", None, 1, "no dispatcher has taken it yet"),
        ("ready", "ready", None, 0, "no dispatcher is at work"),
        ("behind", "behind #7 in its lane", None, 1, "it is behind #7 in its lane"),
        ("held", "held for ghl", "unauthorised", 1, "ghl does not accept our credential"),
        ("held", "held for ghl", "open", 1, "ghl is held back by its breaker"),
        ("held", "held for ghl", None, 1, "it is held for ghl"),
        ("retry", "ghl answered 503. It goes on by itself.", None, 0, "it is tried again in 48 s: ghl answered 503"),
        ("snoozed", "waiting", None, 1, "it asked to be run again in 48 s"),
        ("delayed", "delayed", None, 1, "it is due in 48 s"),
        ("done", None, None, 1, None),
    ],
)
def test_why_the_oldest_waits_is_said_in_words(mark: str, why: str | None, state: str | None, workers: int, said: str | None) -> None:
    until = NOW + timedelta(seconds=48) if mark in ("retry", "snoozed", "delayed") else None
    event = {"mark": mark, "why": why, "until": until, "destination": "ghl", "state": state, "by_whom": None}
    assert waits_for(event, workers=workers, now=NOW) == said


async def test_dispatchers_are_shown_with_version_and_heartbeat_and_budgets_with_their_share(postroom: Postroom) -> None:
    await postroom.pool.execute(
        "insert into outbox.workers (name, until, version, keep_days) values ('worker-a', now() + interval '1 h', '9.8.7', 90)"
    )
    await budgets.learn(postroom.pool, "ghl:loc_1", pause_s=0.0, daily_left=150_000)
    await postroom.pool.execute("update outbox.budgets set used = 50000")
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/")
        of_days = await visitor.page("/console/days")
    assert "Upkeep drops a day whole when it is over 90 days old" in of_days
    assert re.search(r" today [\d.]+ \S+ [\d.]+ KiB events [\d.]+ KiB attempts [\d.]+ KiB steps dropped on 20", of_days)
    assert "worker-a 9.8.7 0 running" in page
    assert "ghl:loc_1 50,000 of 200,000 calls today, 25.0 %" in page


async def test_calls_of_the_day_are_shown_by_destination(postroom: Postroom) -> None:
    await calls.add(postroom.pool, [("ghl", 16, 990, 1), ("ghl", 20, 10, 5), ("notion", 4, 3, 3)])
    async with looking(postroom) as visitor:
        overview, connections = await visitor.page("/console/"), await visitor.page("/console/connections")
    assert "ghl 1,000 calls in 24 h 99.4 % well" in overview
    assert "notion 3 calls in 24 h 0.0 % well" in overview
    assert "99.4 % of calls well" in connections


async def test_when_the_last_dispatcher_was_there_is_said(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('worker-a', now() - interval '7 min')")
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/")
    assert "No dispatcher is at work: nothing is consumed until one is started worker-a was last seen 7 m ago" in page


async def test_rejections_far_above_the_usual_and_lanes_that_wait_for_long_need_a_person(postroom: Postroom) -> None:
    await postroom.pool.execute(
        "insert into outbox.source_counts values (now(), 'ghl', 'bad_signature', 40), (now(), 'ghl', 'accepted', 900)"
    )
    event = await postroom.value("select outbox.stage('thing.done', '{}', lane => 'l')")
    await postroom.pool.execute("delete from outbox.pending")
    await postroom.pool.execute("update outbox.events set staged_at = now() - interval '16 min'")
    await postroom.pool.execute(
        "insert into outbox.busy (lane, event_id, urgency, due_at, why) values (1, $1, 0, now() + interval '1 h', 'retry')", event
    )
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/")
        html = (await visitor.get("/console/")).text
        lanes = (await visitor.get(LONG_HELD)).text
    assert "ghl: 40 webhooks rejected in the last hour, mostly bad signature; usual are 0" in page
    assert 'href="/console/rejected?source=ghl"' in html
    assert f'href="{LONG_HELD}"'.replace("&", "&amp;") in html
    assert lanes.count("<tr data-row") == 1
    assert "1 lane has waited for over 15 minutes" in page


def test_upkeep_drops_next_the_oldest_day_that_nothing_undone_keeps() -> None:
    first, second, third = (Day(date(2026, 8, day), 70, 20, 10) for day in (1, 2, 3))
    kept = Kept(first.day, events=3, oldest=77, place="dead")
    of = Stored([third, second, first], Ahead(None, first.day, date(2026, 11, 30)), keep_days=90, kept={first.day: kept})
    assert (of.next, of.bytes, second.dropped_on(90)) == (second, 300, date(2026, 11, 1))
    assert Stored([], of.ahead, keep_days=None, kept={}).next is None


def test_a_spike_is_many_and_far_above_the_usual() -> None:
    def day(last_hour: int, before: int) -> list[dict[str, object]]:
        return [{"source": "ghl", "outcome": "stale", "seen": before + last_hour, "last_hour": last_hour}]

    assert list(spikes(day(19, 0))) == []
    assert list(spikes(day(20, 0))) != []
    assert list(spikes(day(60, 20 * 23))) == []  # as usual, if three times so
    assert list(spikes(day(61, 20 * 23))) != []
