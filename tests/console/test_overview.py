"""The overview: one sentence, what needs a person, and the way to a first event."""

from outbox.store import budgets, calls, destinations
from outbox.testing import Postroom
from receiver.console.pages.overview import spikes
from tests.console.visiting import looking, operating


async def test_an_empty_installation_says_how_to_get_a_first_event(postroom: Postroom) -> None:
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/")
    assert "To a first event" in page
    assert "/api/webhooks/ghl" in page
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
    assert "3 things need you. 1 event dead" in page
    assert "1 dead: thing.done: field <b> is wrong" in page
    assert "field <b>" not in html
    assert "notion paused by ben “schema change”, 0 waiting" in page
    assert "To a first event" not in page


async def test_a_day_stands_beside_the_same_hours_of_yesterday(postroom: Postroom) -> None:
    await postroom.value("select outbox.stage('thing.done', '{}')")
    await postroom.pool.execute(
        "insert into outbox.minutes (minute, kind, done, dead) values (now() - interval '1 h', 'a', 104, 1),"
        " (now() - interval '30 h', 'a', 100, 2)"
    )
    await postroom.pool.execute("insert into outbox.arrivals values (now() - interval '49 h', 'ghl', 5)")
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/")
    assert "Done 104 +4 % to yesterday" in page
    assert "Died 1 -50 % to yesterday" in page
    assert "Accepted 1 none yesterday" in page


async def test_dispatchers_are_shown_with_version_and_heartbeat_and_budgets_with_their_share(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until, version) values ('worker-a', now() + interval '1 h', '9.8.7')")
    await budgets.learn(postroom.pool, "ghl:loc_1", pause_s=0.0, daily_left=150_000)
    await postroom.pool.execute("update outbox.budgets set used = 50000")
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/")
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
        assert "No dispatcher is at work: nothing is consumed until one is started since 7 m ago" in await visitor.page("/console/")


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
    assert "ghl: 40 webhooks rejected in the last hour, mostly bad signature; usual are 0" in page
    assert 'href="/console/rejected?source=ghl"' in html
    assert "1 lane has waited for over 15 minutes" in page


def test_a_spike_is_many_and_far_above_the_usual() -> None:
    def day(last_hour: int, before: int) -> list[dict[str, object]]:
        return [{"source": "ghl", "outcome": "stale", "seen": before + last_hour, "last_hour": last_hour}]

    assert list(spikes(day(19, 0))) == []
    assert list(spikes(day(20, 0))) != []
    assert list(spikes(day(60, 20 * 23))) == []  # as usual, if three times so
    assert list(spikes(day(61, 20 * 23))) != []
