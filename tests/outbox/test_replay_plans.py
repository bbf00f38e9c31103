"""Stored plans of replays: settled events go behind live work in portions, and the result adds up to what was counted."""

import asyncio
from collections.abc import Sequence

import pytest

from outbox import planning
from outbox.errors import DatabaseUnavailable, NotNow
from outbox.operators import Actor
from outbox.store import events, plans, search
from outbox.store.plans import Act, State
from outbox.store.search import Wanted
from outbox.testing import Postroom
from tests.outbox.engine import Worker, put, worker
from tests.outbox.test_plans import bulk, moved, started, went_on

ANA = Actor("ana", "api")


async def done(postroom: Postroom, me: Worker, count: int, *, lane: str = "lane", kind: str = "a") -> list[int]:
    """Settled events, each in a lane of its own."""
    ids = [(await put(postroom, f"{lane}-{number}", kind=kind))[0] for number in range(count)]
    while taken := await me.claim(limit=500):
        await me.done(*taken)
    return ids


async def planned(postroom: Postroom, which: Wanted | None = None, *, ids: Sequence[int] = ()) -> int:
    return await planning.make_replay(postroom.pool, ANA, which or Wanted(), ids=ids)


async def replayed(postroom: Postroom, event_id: int, *, by: str) -> None:
    async with postroom.pool.acquire() as person:
        assert await events.replay(person, event_id, by=by)


async def test_a_plan_holds_what_was_settled_when_it_was_counted_and_what_it_did_adds_up(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        ids = await done(postroom, me, 15)
        late, again, gone = ids[:3]
        await done(postroom, me, 1)  # a newer one in the lane of the first
        newer = await postroom.value("select max(id) from outbox.events")
        plan_id = await planned(
            postroom, Wanted(kinds=["a"], until=await postroom.value("select staged_at from outbox.events where id = $1", newer))
        )
        await done(postroom, me, 2, lane="later")
        plan = await planning.told(postroom.pool, plan_id)
        assert plan is not None
        assert (plan["events"], plan["lanes"], plan["ceiling"], plan["newer"], plan["kinds"]) == (15, 15, ids[-1], 1, {"a": 15})
        await replayed(postroom, again, by="ben")
        await postroom.pool.execute("delete from outbox.attempts where event_id = $1", gone)
        await postroom.pool.execute("delete from outbox.events where id = $1", gone)
        await started(postroom, plan_id, alone=True, leave_out=True)
        (live,) = await put(postroom, "live")
        assert [event.id for event in await me.claim()] == [live], "replays stand behind live work"
        sent = []
        while await moved(postroom, plan_id) == "running":
            sent.append(await bulk(me))
    assert sent == [2, 10, 1], "the canary has its one event, beside the one that ben replayed"
    plan = await planning.told(postroom.pool, plan_id)
    assert plan is not None
    assert plan["became"] == {"done": 12, "was not settled": 1, "gone": 1, "left out": 1}
    assert (plan["state"], plan["by_others"]) == ("done", {"replayed by ben": 1})
    notes = await postroom.value("select count(*) from outbox.attempts where note = $1", f"replayed by ana, plan {plan_id}")
    assert notes == 12
    assert await postroom.value("select count(*) from outbox.attempts where event_id = $1", late) == 1


JUDGED = """
  with every as (select array_agg(id) ids from outbox.events),
  one_by_one as (
    select array_agg((s.event_id, left(s.state, 1)) order by s.event_id) said
    from every, outbox.states(ids) s where s.state in ('done', 'skipped')),
  at_once as (select array_agg((s.event_id, s.outcome::text) order by s.event_id) said from every, outbox.settled(ids) s)
  select o.said = a.said and cardinality(a.said) = $1 from one_by_one o, at_once a"""


async def test_many_events_are_judged_at_once_as_each_by_itself(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        done, again, skipped, dead, waits, runs = [(await put(postroom, f"lane-{n}"))[0] for n in range(6)]
        taken = {event.id: event for event in await me.claim()}
        await me.done(taken[done], taken[again])
        await me.skip(taken[skipped])
        await me.bury(taken[dead])
        await me.retry(taken[waits])
        await replayed(postroom, again, by="ben")
        far = "insert into outbox.events (id, source, kind, payload) values ($1, 'app', 'a', '{}')"
        for far_off in (runs + 6_000, runs + 12_000):  # each a stretch of its own
            await postroom.pool.execute(far, far_off)
            await postroom.pool.execute(
                "insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome) values ($1, now(), 1, 3, 5, 'd')",
                far_off,
            )
        assert await postroom.value(JUDGED, 4)
        assert await postroom.rows("select event_id, attempt from outbox.settled(array[$1::bigint, 1, $2])", runs + 6_000, waits) == [
            {"event_id": runs + 6_000, "attempt": 3}
        ]


async def test_a_replay_stops_when_its_canary_dies_and_a_person_resumes_it(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await done(postroom, me, 13)
        plan_id = await planned(postroom)
        await started(postroom, plan_id, alone=True)
        await bulk(me, dies=1)
        assert await moved(postroom, plan_id) == "stopped"
        plan = await plans.one(postroom.pool, plan_id)
        assert plan is not None
        assert plan["why"] == "1 of 1 died"
        await planning.resume(postroom.pool, ANA, plan_id)
        assert await bulk(me) == 10
        await planning.stop(postroom.pool, ANA, plan_id)
        assert await moved(postroom, plan_id) == "stopped"
        with pytest.raises(NotNow, match="There is nothing to stop"):
            await planning.stop(postroom.pool, ANA, plan_id)
        await planning.resume(postroom.pool, ANA, plan_id)
        assert await bulk(me) == 2
        assert await moved(postroom, plan_id) == "done"
        with pytest.raises(NotNow, match="Only what was stopped is resumed"):
            await planning.resume(postroom.pool, ANA, plan_id)
    assert await plans.tally(postroom.pool, plan_id) == {"dead": 1, "done": 12}
    acts = await postroom.value("select array_agg(what order by id) from outbox.audit")
    assert acts == ["plan replay", "resume plan", "stop plan", "resume plan"]


async def test_a_retry_that_was_stopped_rests_where_it_rested_when_it_is_resumed(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await done(postroom, me, 12)
        plan_id = await planned(postroom)
        await started(postroom, plan_id)
        await bulk(me)
        assert await moved(postroom, plan_id) == "resting"
        await planning.stop(postroom.pool, ANA, plan_id)
        assert await moved(postroom, plan_id) == "stopped"
        await planning.resume(postroom.pool, ANA, plan_id)
        assert await moved(postroom, plan_id) == "resting"
        assert await went_on(postroom, plan_id) == "running"


STANDS = {"act": Act.REPLAY, "state": "running", "canary": False, "portion": 3, "allowed": 9, "excused": 0, "turn": 1500, "events": 9000}


@pytest.mark.parametrize(
    ("under_way", "own", "state"),
    [
        (100, {}, State.RUNNING),
        (101, {}, State.RUNNING),
        (1, {"turn": 9000}, State.RUNNING),
        (0, {"turn": 9000}, State.DONE),
        (1, {"state": "stopping"}, State.STOPPING),
        (0, {"state": "stopping"}, State.STOPPED),
    ],
)
def test_a_replay_waits_for_all_but_a_few_and_for_all_of_them_in_the_end(under_way: int, own: dict[str, object], state: State) -> None:
    plan, portion = {**STANDS, **own}, {"sent": 500, "same": 25, "under_way": under_way}
    assert plans.judged(plan, portion) == (state, None)
    goes_on = state is State.RUNNING and not plans.waits(plan, portion, state)
    assert goes_on is (under_way == 100)
    assert plans.judged({**plan, "state": "running", "turn": 1500}, {**portion, "same": 26}) == (
        (State.STOPPED if under_way == 0 else State.STOPPING),
        "26 of 500 died",
    )


async def test_more_than_a_plan_holds_is_said_and_nothing_is_stored(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LOOK_AT", 2)
    async with worker(postroom) as me:
        ids = await done(postroom, me, 7)
        (pending,) = await put(postroom, "waits")
        assert await planning.settled(postroom.pool, Wanted()) == ids[::-1]
        assert await planning.settled(postroom.pool, Wanted(lane="lane-3")) == [ids[3]]
        assert await planning.settled(postroom.pool, Wanted(attempts=2)) == []
        assert [await planning.settled(postroom.pool, Wanted(states=[state])) for state in ("pending", "skipped")] == [[], []]
        with pytest.raises(NotNow, match="nothing to plan"):
            await planned(postroom, Wanted(kinds=["unheard"]))
        monkeypatch.setattr(planning, "MOST_EVENTS", 6)
        with pytest.raises(NotNow, match="More than 6 settled events fit"):
            await planned(postroom)
        monkeypatch.setattr(planning, "LOOK_S", 0.0)
        with pytest.raises(NotNow, match="Name a shorter time"):
            await planned(postroom)
        assert await plans.find(postroom.pool) == []
        plan_id = await planned(postroom, ids=[*ids[:2], pending])
    assert await plans.tally(postroom.pool, plan_id) == {"waits": 3}


async def test_the_next_page_goes_on_behind_those_that_moved_on_meanwhile(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    """More replayed ones than a page looks at first, all of them newer than what is settled."""
    async with worker(postroom) as me:
        ids = await done(postroom, me, 60)
    async with postroom.pool.acquire() as person, person.transaction():
        await events.replay_many(person, ids[2:], by="ben")
    assert await planning.settled(postroom.pool, Wanted()) == [ids[1], ids[0]]
    found = await search.find(postroom.pool, Wanted(states=["done"]), limit=1)
    assert (found.rows, found.next_before) == ([], ids[8]), "the list says from where to go on"


async def test_whoever_dies_within_a_portion_leaves_the_plan_as_it_was(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    async def die(*_: object, **__: object) -> list[int]:
        raise DatabaseUnavailable("the line was cut")

    async with worker(postroom) as me:
        await done(postroom, me, 3)
        plan_id = await planned(postroom)
        async with postroom.pool.acquire() as person:
            await plans.start(person, plan_id, canary=False, alone=True, leave_out=False)
        with monkeypatch.context() as patched:
            patched.setattr(events, "replay_many", die)
            with pytest.raises(DatabaseUnavailable):
                await plans.advance(postroom.pool, plan_id)
        assert await plans.tally(postroom.pool, plan_id) == {"waits": 3}
        assert sorted(await asyncio.gather(*(plans.advance(postroom.pool, plan_id) for _ in range(3)))) == [False, False, True]
        assert await bulk(me) == 3
        assert await moved(postroom, plan_id) == "done"
    assert await postroom.value("select max(attempt) from outbox.attempts where outcome = 'd'") == 2
