"""Events are found by any filter, and a search says how far it looked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.store import search
from outbox.store.search import Found, Wanted
from outbox.testing import Postroom
from tests.outbox.engine import put, worker


def ids(found: Found) -> list[int]:
    return [row["id"] for row in found.rows]


async def mixed(postroom: Postroom) -> dict[str, int]:
    """One event of every mark."""
    named = ("done", "skipped", "dead", "retry", "snoozed", "held", "running")
    known = {name: (await put(postroom, f"lane-{name}", kind=f"kind.{name}"))[0] for name in named}
    known["behind"] = (await put(postroom, "lane-running", kind="kind.behind"))[0]
    known["delayed"] = await postroom.value("select outbox.stage('kind.delayed', '{}', due_at => now() + interval '1 day')")
    async with worker(postroom) as me:
        taken = {event.id: event for event in await me.claim()}
        await me.done(taken[known["done"]])
        await me.skip(taken[known["skipped"]])
        await me.bury(taken[known["dead"]])
        await me.retry(taken[known["retry"]], taken[known["snoozed"]], delay_s=3600)
        await me.hold(taken[known["held"]])
        await postroom.pool.execute("update outbox.attempts set outcome = 'z' where event_id = $1", known["snoozed"])
    known["ready"] = (await put(postroom, "lane-ready", kind="kind.ready"))[0]
    return known


async def test_every_event_is_found_by_its_mark_and_by_its_state(postroom: Postroom) -> None:
    known = await mixed(postroom)
    for mark, event_id in known.items():
        assert ids(await search.find(postroom.pool, Wanted(marks=[mark]))) == [event_id], mark
    for state in ("done", "skipped", "dead"):
        assert ids(await search.find(postroom.pool, Wanted(states=[state]))) == [known[state]]
    pending = {known[mark] for mark in search.PENDING_MARKS}
    assert set(ids(await search.find(postroom.pool, Wanted(states=["pending"])))) == pending
    both = await search.find(postroom.pool, Wanted(states=["pending", "done"]))
    assert set(ids(both)) == pending | {known["done"]}
    assert ids(both) == sorted(ids(both), reverse=True)
    assert ids(await search.find(postroom.pool, Wanted(states=["done"], marks=["ready"]))) == []


async def test_filters_are_combined_and_the_answer_counts_itself(postroom: Postroom) -> None:
    known = await mixed(postroom)
    assert ids(await search.find(postroom.pool, Wanted(lane="lane-running"))) == [known["behind"], known["running"]]
    assert ids(await search.find(postroom.pool, Wanted(lane="lane-running", kinds=["kind.behind"]))) == [known["behind"]]
    assert ids(await search.find(postroom.pool, Wanted(group="cause"))) == [known["dead"]]
    assert ids(await search.find(postroom.pool, Wanted(sources=["ghl"]))) == []
    everything = await search.find(postroom.pool, Wanted())
    assert (len(everything.rows), everything.fitting, everything.counted, everything.back_to) == (10, 10, True, None)


async def test_events_are_found_by_how_often_they_were_tried_whatever_became_of_them(postroom: Postroom) -> None:
    known = {name: (await put(postroom, name))[0] for name in ("done", "skipped", "dead", "waiting", "running")}
    (once,) = await put(postroom, "once")
    async with worker(postroom) as me:
        first = {event.id: event for event in await me.claim()}
        await me.done(first.pop(once))
        await me.retry(*first.values())
        again = {event.id: event for event in await me.take_due()}
        await me.done(again[known["done"]])
        await me.skip(again[known["skipped"]])
        await me.bury(again[known["dead"]])
        await me.retry(again[known["waiting"]], delay_s=3600)

        async def tried(times: int, **more: Any) -> set[int]:
            return set(ids(await search.find(postroom.pool, Wanted(attempts=times, **more))))

        await put(postroom, "never")
        assert await tried(1) == {*known.values(), once}
        assert await tried(2) == set(known.values())
        assert await tried(3) == set()
        assert await tried(2, states=["dead", "done"]) == {known["dead"], known["done"]}
        assert await tried(2, marks=["running", "retry"]) == {known["running"], known["waiting"]}
        assert await tried(2, lane="once") == set()


async def test_pages_go_on_below_the_last_and_show_each_event_once(postroom: Postroom) -> None:
    staged = [(await put(postroom, None))[0] for _ in range(5)]
    seen, before = [], None
    while True:
        page = await search.find(postroom.pool, Wanted(), before=before, limit=2)
        seen += ids(page)
        if (before := page.next_before) is None:
            break
    assert seen == staged[::-1]


async def test_pages_also_go_upward_from_the_oldest(postroom: Postroom) -> None:
    known = [(await put(postroom, lane))[0] for lane in ("a", "b", "a", "b", "a")]
    first = await search.find(postroom.pool, Wanted(), upward=True, limit=2)
    second = await search.find(postroom.pool, Wanted(), upward=True, after=first.next_before, limit=2)
    last = await search.find(postroom.pool, Wanted(), upward=True, after=second.next_before, limit=2)
    assert (ids(first), ids(second), ids(last)) == (known[:2], known[2:4], known[4:])
    assert last.next_before is None
    assert ids(await search.find(postroom.pool, Wanted(lane="a"), upward=True, after=known[0])) == [known[2], known[4]]
    assert ids(await search.find(postroom.pool, Wanted(states=["pending"]), upward=True, after=known[2], limit=1)) == [known[3]]


async def test_a_key_leads_to_its_event_at_any_source_that_is_known(postroom: Postroom) -> None:
    event_id = await postroom.value("select outbox.stage('a', '{}', key => 'k-1')")
    assert ids(await search.find(postroom.pool, Wanted(key="k-1"), known_sources=["ghl", "app"])) == [event_id]
    assert ids(await search.find(postroom.pool, Wanted(key="k-1", sources=["app"]))) == [event_id]
    assert ids(await search.find(postroom.pool, Wanted(key="k-1"))) == [event_id], "also where no source is known"
    assert ids(await search.find(postroom.pool, Wanted(key="k-2"), known_sources=["app"])) == []


async def test_text_is_looked_for_in_the_bytes_of_the_payload(postroom: Postroom) -> None:
    event_id = await postroom.value("""select outbox.stage('a', '{"name": "Zoë 50%"}')""")
    await put(postroom, None)
    assert ids(await search.find(postroom.pool, Wanted(text="Zoë 50%"))) == [event_id]
    assert ids(await search.find(postroom.pool, Wanted(text="zoë"))) == []


async def test_a_search_that_did_not_look_at_everything_says_back_to_where(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LOOK_AT", 3)
    staged = [(await put(postroom, None, kind="rare" if n == 0 else "usual"))[0] for n in range(5)]
    first = await search.find(postroom.pool, Wanted(kinds=["rare"]))
    assert (ids(first), first.looked, first.back_to, first.next_before, first.counted) == ([], 3, staged[2], staged[2], False)
    further = await search.find(postroom.pool, Wanted(kinds=["rare"]), before=first.next_before)
    assert (ids(further), further.back_to, further.next_before) == ([staged[0]], None, None)


async def test_what_ended_is_looked_for_among_the_newest(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LOOK_AT", 2)
    known = await mixed(postroom)
    found = await search.find(postroom.pool, Wanted(states=["done"]))
    assert (ids(found), found.counted) == ([], False)
    while found.next_before is not None and not found.rows:
        found = await search.find(postroom.pool, Wanted(states=["done"]), before=found.next_before)
    assert ids(found) == [known["done"]]


async def test_a_long_queue_is_looked_at_from_its_newest_end(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SHORT", 1)
    known = await mixed(postroom)
    assert set(ids(await search.find(postroom.pool, Wanted(states=["pending"])))) == {known[mark] for mark in search.PENDING_MARKS}


async def test_times_are_turned_into_ids(postroom: Postroom) -> None:
    staged = [(await put(postroom, None))[0] for _ in range(4)]
    for number, event_id in enumerate(staged):
        await postroom.pool.execute(
            "update outbox.events set staged_at = $2 where id = $1", event_id, datetime(2026, 1, 1 + number, tzinfo=UTC)
        )
    since, until = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC)
    assert ids(await search.find(postroom.pool, Wanted(since=since, until=until))) == [staged[2], staged[1]]
    assert ids(await search.find(postroom.pool, Wanted(since=until + timedelta(days=1)))) == []
    assert ids(await search.find(postroom.pool, Wanted(until=since))) == [staged[0]]


async def test_an_empty_database_is_searched_without_complaint(postroom: Postroom) -> None:
    for wanted in (Wanted(), Wanted(states=["done"]), Wanted(lane="x"), Wanted(since=datetime.now(UTC))):
        assert (await search.find(postroom.pool, wanted)).rows == []


async def test_newer_events_are_counted_up_to_a_limit(postroom: Postroom) -> None:
    first, *_ = [(await put(postroom, None))[0] for _ in range(4)]
    assert await search.newer(postroom.pool, first) == 3
    assert await search.newer(postroom.pool, first, most=2) == 2
