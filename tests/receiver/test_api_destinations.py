"""Destinations and lanes over the API: paused, resumed, and what holds what back."""

import pytest

from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome, Retry
from dispatcher.routes import Route
from outbox import Claimed, Event
from outbox.store import calls, destinations
from outbox.testing import Drain, Postroom
from tests.receiver.running import AS_VIEWER, Talk, started
from tests.receiver.test_api_events import stage_all


async def destination(talk: Talk, name: str) -> dict[str, object]:
    listed: list[dict[str, object]] = (await talk.get("/api/destinations", viewer=True)).json()["destinations"]
    return next(one for one in listed if one["name"] == name)


async def test_a_destination_is_paused_for_a_time_and_resumed(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        assert (await destination(talk, "ghl"))["state"] == "flowing"
        assert (await talk.post("/api/destinations/ghl/pause", {"reason": "their maintenance", "minutes": 5})).status_code == 200
        paused = await destination(talk, "ghl")
        await talk.post("/api/destinations/ghl/resume")
        resumed = await destination(talk, "ghl")
    assert (paused["state"], paused["why"], paused["by"]) == ("paused", "their maintenance", "otto")
    assert 200 < float(str(paused["resumes_in_s"])) <= 300
    assert (resumed["state"], resumed["by"]) == ("flowing", "otto")
    audit = await postroom.rows("select what, target, reason from outbox.audit order by id")
    assert audit == [
        {"what": "pause", "target": "ghl", "reason": "their maintenance"},
        {"what": "resume", "target": "ghl", "reason": None},
    ]


async def test_a_pause_without_an_end_waits_for_a_person(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        await talk.post("/api/destinations/phorest/pause", {"reason": "their maintenance"})
        assert (await destination(talk, "phorest"))["resumes_in_s"] is None


@pytest.mark.parametrize(
    "told", [{}, {"reason": ""}, {"reason": "x", "minutes": 0}, {"reason": "x", "minutes": 1e9}, {"reason": "x", "minutes": "5"}]
)
async def test_a_pause_needs_a_reason_and_a_sensible_time(postroom: Postroom, told: object) -> None:
    async with started(postroom) as talk:
        assert (await talk.post("/api/destinations/ghl/pause", told)).status_code == 422
    assert await postroom.value("select count(*) from outbox.destinations") == 0


async def test_a_test_is_an_event_whose_answer_is_looked_up(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        asked = await talk.post("/api/destinations/google:ada/test")
        none = await talk.post("/api/destinations/smtp/test")
        viewer = await talk.client.post("/api/destinations/notion/test", headers=AS_VIEWER)
    assert (asked.status_code, none.status_code, viewer.status_code) == (202, 409, 403)
    [row] = await postroom.rows("select id, kind, convert_from(payload, 'UTF8')::jsonb ->> 'account' account from outbox.events")
    assert row == {"id": asked.json()["event"], "kind": "connection.test.google", "account": "ada"}
    assert [row["via"] for row in await postroom.rows("select via from outbox.audit where what = 'test'")] == ["api"]


async def test_calls_of_the_last_day_are_told_with_their_success_and_p95(postroom: Postroom) -> None:
    await calls.add(postroom.pool, [("phorest", 10, 199, 1), ("phorest", 20, 1, 0)])
    async with started(postroom) as talk:
        phorest, ghl = await destination(talk, "phorest"), await destination(talk, "ghl")
    assert (phorest["calls"], phorest["success_rate"]) == (200, 0.995)
    assert 22 < float(str(phorest["p95_ms"])) <= 32
    assert (ghl["calls"], ghl["success_rate"], ghl["p95_ms"]) == (0, None, None)


async def test_a_name_that_no_destination_can_have_is_a_404(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        for name in ("GHL", "g h l", "x" * 41, "%00", "ghl;"):
            assert (await talk.post(f"/api/destinations/{name}/pause", {"reason": "x"})).status_code == 404


async def test_events_held_for_a_destination_are_counted(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        return Done()

    await destinations.pause(postroom.pool, "ghl", why="a test", by="otto")
    ids = await stage_all(postroom, *(Event("test.calls", {}, lane=f"lane-{n}") for n in range(3)))
    await drain({"test.calls": Route(handler, destination="ghl")})
    async with started(postroom) as talk:
        held = await destination(talk, "ghl")
        blocked = (await talk.get("/api/lanes?blocked", viewer=True)).json()["lanes"]
    assert (held["waiting"], held["oldest_waiting"]) == (3, ids[0])
    assert [(lane["head"], lane["why"], lane["until"]) for lane in blocked] == [(event_id, "held for ghl", None) for event_id in ids]


async def test_a_blocked_lane_says_what_holds_it_since_when_and_how_many_wait(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        return Retry("the phone is engaged", after_s=3600)

    head, *_ = await stage_all(postroom, *(Event("test.calls", {}, lane="contact:1") for _ in range(4)), Event("test.calls", {}))
    await drain({"test.calls": Route(handler)})
    async with started(postroom) as talk:
        [lane] = (await talk.get("/api/lanes", viewer=True, blocked=1)).json()["lanes"]
    assert (lane["lane"], lane["head"], lane["why"], lane["waiting"], lane["worker"]) == (
        "contact:1",
        head,
        "the phone is engaged",
        3,
        None,
    )
    assert lane["until"] > lane["since"]


async def test_lanes_are_listed_page_by_page(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        return Retry("later", after_s=3600)

    ids = await stage_all(postroom, *(Event("test.calls", {}, lane=f"lane-{n}") for n in range(3)))
    await drain({"test.calls": Route(handler)})
    async with started(postroom) as talk:
        first = (await talk.get("/api/lanes", limit=2)).json()
        second = (await talk.get("/api/lanes", limit=2, above=first["next_above"])).json()
    assert [lane["head"] for lane in first["lanes"] + second["lanes"]] == ids
    assert second["next_above"] is None
