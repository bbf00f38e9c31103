"""Plans over the API: made, started, continued, stopped, each in the audit; and notes and heads of lanes."""

import pytest

from dispatcher.plans import Plans
from outbox import Event
from outbox.testing import Drain, Postroom
from tests.outbox.engine import put, settled, worker
from tests.receiver.running import AS_VIEWER, Talk, started
from tests.receiver.test_api_dead_letters import DYING
from tests.receiver.test_api_events import stage_all

MADE, PLANS = "/api/dead-letters/plans", "/api/plans"


@pytest.fixture
async def dead(postroom: Postroom, drain: Drain) -> list[int]:
    """Twelve of one cause, each in a lane of its own."""
    ids = await stage_all(postroom, *(Event("test.phone", {}, lane=f"lane-{n}") for n in range(12)))
    await drain(DYING)
    return ids


async def made(talk: Talk, **which: object) -> dict[str, object]:
    answer = await talk.post(MADE, which or {"kind": "test.phone"})
    assert answer.status_code == 201
    plan: dict[str, object] = answer.json()
    return plan


async def test_a_plan_says_what_it_would_do_and_touches_nothing(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        plan = await made(talk)
    assert (plan["events"], plan["lanes"], plan["ceiling"], plan["state"], plan["by"]) == (12, 12, dead[-1], "made", "otto")
    assert (plan["became"], plan["next_portion"], plan["newer"]) == ({"waits": 12}, 1, 0)
    assert (await postroom.totals())["dead"] == 12


async def test_a_plan_is_started_continued_and_carried_on_by_a_dispatcher(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        path = f"{PLANS}/{(await made(talk))['id']}"
        assert (await talk.post(f"{path}/start")).json()["became"] == {"waits": 11, "under way": 1}
        again = await talk.post(f"{path}/start")
        assert (again.status_code, again.json()["type"]) == (409, "urn:postroom:not-now")
        await _all_done(postroom)
        await Plans(postroom.pool).once()
        rests = (await talk.get(path)).json()
        assert (rests["state"], rests["next_portion"]) == ("resting", 10)
        assert (await talk.post(f"{path}/continue")).json()["became"] == {"done": 1, "waits": 1, "under way": 10}
        assert (await talk.post(f"{path}/stop")).json()["state"] == "stopping"
        await _all_done(postroom)
        await Plans(postroom.pool).once()
        stopped = (await talk.get(path)).json()
        assert stopped["state"] == "stopped"
        events = (await talk.get(f"{path}/events", viewer=True)).json()["events"]
    assert (stopped["became"], stopped["why"]) == ({"done": 11, "waits": 1}, "stopped by otto")
    assert [event["id"] for event in events] == dead
    acts = [row["what"] for row in await postroom.rows("select what from outbox.audit order by id")]
    assert acts == ["plan retry", "start plan", "continue plan", "stop plan"]


async def _all_done(postroom: Postroom) -> None:
    async with worker(postroom) as me:
        await me.done(*await me.claim(urgency=1))


async def test_a_discard_by_plan_needs_a_reason_and_has_no_canary(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        assert (await talk.post(MADE, {"act": "discard", "ids": dead[:2]})).status_code == 422
        assert (await talk.post(MADE, {"reason": "x", "ids": dead[:2]})).status_code == 422
        assert (await talk.post(MADE, {})).status_code == 422
        plan = await made(talk, act="discard", ids=dead[:2], reason="sent by hand")
        done = (await talk.post(f"{PLANS}/{plan['id']}/start")).json()
    assert (done["state"], done["became"], done["canary"]) == ("done", {"skipped": 2}, False)


async def test_a_plan_for_a_paused_destination_can_be_made_and_not_started(postroom: Postroom, dead: list[int]) -> None:
    await postroom.pool.execute(
        """insert into outbox.routes (kind, handler, destination, deadline_s, retries, schedule_s)
           values ('test.phone', 'x.y', 'ghl', 1, 'no retries', '{}') on conflict (kind) do update set destination = 'ghl'"""
    )
    await postroom.pool.execute("insert into outbox.budgets (credential, tokens, burst, per_s, used) values ('ghl:loc_1', 93, 100, 10, 7)")
    async with started(postroom) as talk:
        await talk.post("/api/destinations/ghl/pause", {"reason": "a test"})
        plan = await made(talk)
        refused = await talk.post(f"{PLANS}/{plan['id']}/start")
    budget = {"calls_today": 7, "calls_left_today": None, "calls_per_s": 10.0}
    assert plan["destinations"] == [{"name": "ghl", "events": 12, "state": "paused", "why": "a test", **budget}]
    assert refused.status_code == 409
    assert "ghl is paused" in refused.json()["detail"]


async def test_nothing_found_is_no_plan_and_an_unknown_one_is_not_found(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        assert (await talk.post(MADE, {"all": True})).status_code == 409
        assert (await talk.get(f"{PLANS}/1")).status_code == 404
        assert (await talk.post(f"{PLANS}/1/start")).status_code == 404
        assert (await talk.client.post(MADE, headers=AS_VIEWER, json={"all": True})).status_code == 403
        assert (await talk.get(PLANS, viewer=True)).json() == {"plans": [], "next_before": None}


async def test_a_note_on_a_group_stays_when_the_group_is_gone(postroom: Postroom, dead: list[int], drain: Drain) -> None:
    async with started(postroom) as talk:
        [group] = (await talk.get("/api/dead-letters/groups", viewer=True)).json()["groups"]
        path = f"/api/dead-letters/groups/{group['group']}"
        noted = (await talk.post(f"{path}/note", {"note": "letters in the phone"})).json()
        assert (noted["note"]["note"], noted["note"]["by"], noted["steps_done"]) == ("letters in the phone", "otto", {})
        assert (sum(group["last_24_hours"]), group["dead"], group["note"]) == (12, 12, None)
        await talk.post("/api/dead-letters/retry", {"all": True})
        assert (await talk.get(path)).status_code == 404
        await drain(DYING)
        assert (await talk.get(path)).json()["note"]["note"] == "letters in the phone"
        assert (await talk.post(f"{path}/note", {"note": ""})).json()["note"] is None


async def test_the_head_of_a_lane_is_run_buried_or_released(postroom: Postroom) -> None:
    ids = [(await put(postroom, lane))[0] for lane in ("a", "b", "c")]
    async with worker(postroom) as me:
        await me.retry(*await me.claim(), delay_s=3600)
    async with started(postroom) as talk:
        assert {lane["mark"] for lane in (await talk.get("/api/lanes", viewer=True)).json()["lanes"]} == {"retry"}
        assert (await talk.get(f"/api/events/{ids[0]}")).json()["may"] == ["run", "bury", "release"]
        assert (await talk.post(f"/api/events/{ids[0]}/run")).json() == {"id": ids[0], "did": "run now"}
        assert (await talk.post(f"/api/events/{ids[1]}/bury", {"reason": "stuck"})).json()["did"] == "bury"
        assert (await talk.post(f"/api/events/{ids[2]}/release")).json()["did"] == "release"
        again = await talk.post(f"/api/events/{ids[2]}/release")
        assert (again.status_code, again.json()["state"]) == (409, "pending")
        assert (await talk.post("/api/events/77/run")).status_code == 404
    marks = {event["id"]: event["mark"] for event in await postroom.rows("select event_id id, mark from outbox.states($1)", ids)}
    assert marks == {ids[0]: "retry", ids[1]: "dead", ids[2]: "delayed"}
    assert [row["what"] for row in await postroom.rows("select what from outbox.audit order by id")] == ["run now", "bury", "release lane"]


async def test_payload_search_is_for_operators(postroom: Postroom) -> None:
    [event_id] = await stage_all(postroom, Event("test.phone", {"name": "Zoe"}))
    async with started(postroom) as talk:
        assert (await talk.get("/api/events", viewer=True, text="Zoe")).status_code == 403
        found = (await talk.get("/api/events", text="Zoe")).json()
    assert [event["id"] for event in found["events"]] == [event_id]


async def test_a_replay_by_a_filter_is_planned_and_begun(postroom: Postroom) -> None:
    ids = [await settled(postroom, "done", f"chair:{n}", kind="a.kind") for n in range(3)]
    await settled(postroom, "done", "chair:9", kind="b.kind")
    async with started(postroom) as talk:
        assert (await talk.post("/api/events/plans")).status_code == 422
        refused = await talk.post("/api/events/plans", {"kind": ["c.kind"]})
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:postroom:not-now")
        plan = (await talk.post("/api/events/plans", {"kind": ["a.kind"]})).json()
        assert (plan["act"], plan["events"], plan["ceiling"], plan["became"]) == ("replay", 3, ids[-1], {"waits": 3})
        begun = (await talk.post(f"{PLANS}/{plan['id']}/start")).json()
    assert begun["became"] == {"under way": 1, "waits": 2}
    assert await postroom.value("select count(*) from outbox.pending where urgency = 1") == 1
