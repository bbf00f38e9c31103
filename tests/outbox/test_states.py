"""One state and one why for everyone who asks, in every place an event can be; and the four add up (P7)."""

from datetime import UTC, datetime, timedelta
from typing import Any

from outbox import Event, stage
from outbox.store import dead, events, lanes
from outbox.testing import Postroom
from tests.outbox.engine import check_invariants, put, worker


async def state(postroom: Postroom, event_id: int) -> dict[str, Any]:
    (row,) = await postroom.rows("select state, why, until, attempts, changed_at from outbox.states(array[$1::bigint])", event_id)
    return row


async def said(postroom: Postroom, event_id: int) -> tuple[str, str | None]:
    row = await state(postroom, event_id)
    return row["state"], row["why"]


async def test_waiting_events_say_whether_they_are_ready_or_behind_which(postroom: Postroom) -> None:
    first, second, third = await put(postroom, "chair:1", 3)
    (alone,) = await put(postroom, None)
    assert await said(postroom, first) == ("pending", "ready")
    assert await said(postroom, second) == ("pending", f"behind #{first} in its lane")
    assert await said(postroom, third) == ("pending", f"behind #{first} in its lane")
    assert await said(postroom, alone) == ("pending", "ready")
    async with worker(postroom) as me:
        await me.claim()
        assert await said(postroom, first) == ("pending", "running")
        assert await said(postroom, second) == ("pending", f"behind #{first} in its lane")


async def test_a_waiting_event_says_why_and_until_when(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.retry(*await me.claim(), delay_s=3600, why="the far side said 503")
    row = await state(postroom, event_id)
    assert (row["state"], row["why"], row["attempts"]) == ("pending", "the far side said 503", 1)
    assert abs(row["until"] - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)


async def test_a_held_event_names_its_destination_and_no_end(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.hold(*await me.claim(), destination="notion")
    row = await state(postroom, event_id)
    assert (row["state"], row["why"], row["until"], row["attempts"]) == ("pending", "held for notion", None, 0)


async def test_a_delayed_event_says_until_when(postroom: Postroom) -> None:
    due_at = datetime(2199, 1, 1, tzinfo=UTC)
    async with postroom.pool.acquire() as app:
        event_id = await stage(app, Event("a", {}, due_at=due_at))
    row = await state(postroom, event_id)
    assert (row["state"], row["why"], row["until"], row["attempts"]) == ("pending", "delayed", due_at, 0)


async def test_settled_events_say_what_became_of_them(postroom: Postroom) -> None:
    finished, skipped, buried = [(await put(postroom, lane))[0] for lane in ("a", "b", "c")]
    async with worker(postroom) as me:
        taken = {event.id: event for event in await me.claim()}
        await me.done(taken[finished])
        await me.skip(taken[skipped], note="no route")
        await me.bury(taken[buried], reason="it was refused")
    assert await said(postroom, finished) == ("done", None)
    assert await said(postroom, skipped) == ("skipped", "no route")
    assert await said(postroom, buried) == ("dead", "it was refused")
    assert {(await state(postroom, event_id))["attempts"] for event_id in taken} == {1}
    assert (await state(postroom, buried))["changed_at"] == await postroom.value("select died_at from outbox.dead")


async def test_attempts_are_the_runs_of_handlers_and_nothing_else(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.retry(*await me.claim())
        assert (await state(postroom, event_id))["attempts"] == 1
        await me.hold(*await me.take_due())
        assert (await state(postroom, event_id))["attempts"] == 1, "a hold without a run is none"
        await lanes.release_held(me.connection, "ghl", limit=1)
        (event,) = await me.take_due()
        assert (await state(postroom, event_id))["attempts"] == 2, "the run that is under way counts"
        await me.bury(event)
        await dead.retry(postroom.pool, [event_id], by="ada")
        assert (await state(postroom, event_id))["attempts"] == 2, "a person's retry is no run"
        await me.done(*await me.claim(urgency=1))
    assert (await state(postroom, event_id))["attempts"] == 3


async def test_the_last_attempt_is_the_highest_and_not_the_latest_by_a_workers_clock(postroom: Postroom) -> None:
    """Clocks differ: a retry that a fast clock dates after the end must not hide the end."""
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.retry(*await me.claim())
        await me.done(*await me.take_due())
    await postroom.pool.execute("update outbox.attempts set started_at = now() + interval '1 hour' where outcome = 'r'")
    assert await said(postroom, event_id) == ("done", None)
    assert (await postroom.totals())["done"] == 1


async def test_many_events_are_asked_for_at_once_and_unknown_ones_are_left_out(postroom: Postroom) -> None:
    ids = await put(postroom, "chair:1", 3)
    rows = await postroom.rows("select event_id, state from outbox.states($1) order by 1", [*ids, 1])
    assert [row["event_id"] for row in rows] == ids
    assert await postroom.rows("select * from outbox.states('{}')") == []


async def test_p7_every_event_is_pending_done_skipped_or_dead_and_the_four_add_up(postroom: Postroom) -> None:
    """A mix of all that can happen, replays and discards included; each id is looked for, and the sum is taken."""
    ids = [(await put(postroom, f"chair:{n}"))[0] for n in range(12)]
    behind = await put(postroom, "chair:0", 2)
    async with postroom.pool.acquire() as app:
        delayed = await stage(app, Event("a", {}, key="k", due_at=datetime(2199, 1, 1, tzinfo=UTC)))
        assert await stage(app, Event("a", {}, key="k", due_at=datetime(2199, 1, 1, tzinfo=UTC))) == delayed
    async with worker(postroom) as me:
        taken = {event.id: event for event in await me.claim()}
        for number, event_id in enumerate(ids):
            event = taken[event_id]
            match number:
                case 0:
                    await me.retry(event, delay_s=3600)
                case 1:
                    await me.hold(event)
                case 2 | 3 | 4:
                    await me.done(event)
                case 5 | 6:
                    await me.skip(event)
                case 7 | 8 | 9 | 10:
                    await me.bury(event)
        async with postroom.pool.acquire() as person:
            assert await events.replay(person, ids[3], by="ada")
            assert await events.replay(person, ids[4], by="ada")
            assert await events.replay(person, ids[6], by="ada")
            assert await dead.retry(person, [ids[8], ids[9]], by="ada") == [ids[8], ids[9]]
            assert await dead.discard(person, [ids[10]], by="ada", reason="a test") == [ids[10]]
        again = {event.id: event for event in await me.claim(urgency=1)}
        await me.done(again[ids[4]])
        await me.bury(again[ids[9]])
        await lanes.release_orphans(me.connection)
        await check_invariants(postroom)
        states = {event["id"]: event["state"] for event in await postroom.staged()}
    expected = {
        **dict.fromkeys([ids[0], ids[1], ids[3], ids[6], ids[8], ids[11], *behind, delayed], "pending"),
        **dict.fromkeys([ids[2], ids[4]], "done"),
        **dict.fromkeys([ids[5], ids[10]], "skipped"),
        **dict.fromkeys([ids[7], ids[9]], "dead"),
    }
    assert states == expected
    assert await postroom.totals() == {"accepted": 15, "pending": 9, "done": 2, "skipped": 2, "dead": 2}
    assert await postroom.value("select count(*) from outbox.states((select array_agg(id) from outbox.events)) where state = 'lost'") == 0


async def test_an_event_without_any_trace_would_be_called_lost(postroom: Postroom) -> None:
    """The word that promise P7 says never appears: the state function can say it, so that the sum is a real check."""
    (event_id,) = await put(postroom, None)
    await postroom.pool.execute("delete from outbox.pending")
    assert await said(postroom, event_id) == ("lost", None)
    totals = await postroom.totals()
    assert totals["accepted"] == 1
    assert sum(totals[word] for word in ("pending", "done", "skipped", "dead")) == 0
