"""Scheduled syncs over the API: how they stand, runs asked for and cancelled, schedules edited, brakes released, an external cron."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from outbox import db
from outbox.cadence import Cron, Every
from outbox.store import runs, schedules, syncs
from outbox.store.runs import Entry, Trigger, What
from outbox.store.schedules import CatchUp
from outbox.testing import Postroom
from tests.receiver.running import AS_OPERATOR, CRON_SECRET, Talk, settings, started

VIENNA = Cron("30 2 * * *", "Europe/Vienna")


@pytest.fixture
async def shop(postroom: Postroom) -> str:
    """A sync with two schedules, as a dispatcher wrote it down."""
    now = datetime.now(UTC)
    await syncs.register(postroom.pool, "shop", destination="ghl", types=["incremental", "full"], off=None)
    await schedules.put(postroom.pool, "shop", "incremental", Every(3600), catch_up=CatchUp.ONE, now=now)
    await schedules.put(postroom.pool, "shop", "full", VIENNA, catch_up=CatchUp.SKIP, now=now)
    return "/api/syncs/shop"


async def ended(postroom: Postroom, run_id: int, *, ago: timedelta, state: str = "done", reason: str | None = None) -> None:
    query = (
        "update outbox.runs set state = $2, reason = $3, started_at = now() - $4::interval, ended_at = now() - $4::interval where id = $1"
    )
    await postroom.pool.execute(query, run_id, state, reason, ago)


async def ask(postroom: Postroom, type_: str = "incremental") -> int:
    async with db.transaction(postroom.pool) as connection:
        made = await runs.ask(connection, "shop", type_, trigger=Trigger.MANUAL, by="ada")
    assert made is not None
    return made.id


async def test_a_sync_shows_its_light_its_ends_and_its_next_times(postroom: Postroom, shop: str) -> None:
    await postroom.pool.execute("update outbox.syncs set expected_since = now() - interval '1 day'")
    good, bad = await ask(postroom), await ask(postroom, "full")
    await ended(postroom, good, ago=timedelta(hours=3))
    await ended(postroom, bad, ago=timedelta(hours=1), state="failed", reason="GHL answered 400")
    async with started(postroom) as talk:
        [one] = (await talk.get("/api/syncs", viewer=True)).json()["syncs"]
    assert (one["name"], one["light"], one["off"], one["current"]) == ("shop", "yellow", None, None)
    assert one["last_success"]["run"] == good
    assert (one["last_failure"]["run"], one["last_failure"]["reason"]) == (bad, "GHL answered 400")
    full, incremental = one["schedules"]
    assert (full["cron"], full["zone"], full["catch_up"], incremental["every_s"]) == ("30 2 * * *", "Europe/Vienna", "skip", 3600)
    for schedule in (full, incremental):
        assert len(schedule["next"]) == 5
        for tick in schedule["next"]:
            assert datetime.fromisoformat(tick["local"]) == datetime.fromisoformat(tick["utc"]).replace(microsecond=0)
    assert full["next"][0]["local"][11:16] in ("02:30", "03:00")
    assert one["next_at"] == min(full["next"][0]["utc"], incremental["next"][0]["utc"])


async def test_syncs_come_page_by_page_and_those_of_users_when_they_are_asked_for(postroom: Postroom, shop: str) -> None:
    for name in ("google-contacts", "google-contacts:ada", "google-contacts:eve", "ghl-contacts:Cork"):
        await syncs.register(postroom.pool, name, destination=None, types=["incremental"], off=None)
    async with started(postroom) as talk:

        async def listed(query: str) -> tuple[list[str], str | None]:
            told = (await talk.get(f"/api/syncs{query}", viewer=True)).json()
            return [one["name"] for one in told["syncs"]], told["next_after"]

        assert await listed("") == (["ghl-contacts:Cork", "google-contacts", "shop"], None)
        assert await listed("?limit=2") == (["ghl-contacts:Cork", "google-contacts"], "google-contacts")
        assert await listed("?limit=2&after=google-contacts") == (["shop"], None)
        assert len((await listed("?users=1"))[0]) == 5
        assert await listed("?owner=eve") == (["google-contacts:eve"], None)
        assert (await talk.get("/api/syncs?users=some", viewer=True)).status_code == 400
        assert await listed("?users=1&light=grey&limit=1") == (["google-contacts:ada"], "google-contacts:ada")
        assert await listed("?users=1&light=red") == ([], None)
        assert (await talk.get("/api/syncs?light=red", viewer=True)).status_code == 422
        folded = (await talk.get("/api/syncs", viewer=True)).json()["users"]
        assert (folded["name"], folded["count"], folded["light"]) == ("google-contacts", 2, "grey")
        assert folded["lights"] == {"red": 0, "yellow": 0, "green": 0, "grey": 2}
        assert (await talk.get("/api/monitor", viewer=True)).json()["userSyncs"]["count"] == 2


async def test_a_sync_that_paused_itself_is_red_and_one_that_a_person_paused_is_not(postroom: Postroom, shop: str) -> None:
    await syncs.pause(postroom.pool, "shop", by=syncs.BY_ITSELF, why="the property is gone")
    async with started(postroom) as talk:
        itself = (await talk.get(shop)).json()
        await talk.post(f"{shop}/resume")
        person = (await talk.post(f"{shop}/pause", {"reason": "their maintenance"})).json()
    assert (itself["light"], itself["next_at"], itself["paused_why"]) == ("red", None, "the property is gone")
    assert person["light"] == "grey"


async def test_a_run_is_asked_for_shown_and_cancelled(postroom: Postroom, shop: str) -> None:
    async with started(postroom) as talk:
        asked = await talk.post(f"{shop}/runs", {"type": "incremental", "hours_back": 48, "dry_run": True})
        run_id = asked.json()["run"]
        await runs_log(postroom, run_id)
        shown = (await talk.get(f"{shop}/runs/{run_id}")).json()
        listed = (await talk.get(f"{shop}/runs")).json()["runs"]
        standing = (await talk.get(shop)).json()
        cancelled = await talk.post(f"{shop}/runs/{run_id}/cancel")
        again = await talk.post(f"{shop}/runs/{run_id}/cancel")
    assert asked.status_code == 202
    run = shown["run"]
    assert (run["trigger"], run["by"], run["state"], run["why"]) == ("manual", "otto", "queued", "ready")
    assert (run["hours_back"], run["dry_run"]) == (48, True)
    assert [record["record"] for record in shown["records"]] == ["c1"]
    assert [one["id"] for one in listed] == [run_id]
    assert (standing["current"]["id"], standing["recent"][0]["record"]) == (run_id, "c1")
    assert (cancelled.json()["run"]["state"], again.status_code) == ("cancelled", 409)
    assert [row["what"] for row in await postroom.rows("select what from outbox.audit order by id")] == ["sync", "cancel sync"]
    assert (await postroom.totals())["skipped"] == 1


async def test_a_run_over_a_range_is_asked_for_with_its_span(postroom: Postroom) -> None:
    await syncs.register(postroom.pool, "appointments", destination="ghl", types=("range",), off=None)
    span = {"since": "2027-01-01T00:00:00.000Z", "until": "2027-02-01T00:00:00.000Z"}
    async with started(postroom) as talk:
        asked = await talk.post("/api/syncs/appointments/runs", {"type": "range", **span})
        run = (await talk.get(f"/api/syncs/appointments/runs/{asked.json()['run']}")).json()["run"]
        backwards = {"since": span["until"], "until": span["since"]}
        refused = [
            await talk.post("/api/syncs/appointments/runs", {"type": "range", **told})
            for told in ({}, backwards, {**span, "hours_back": 1})
        ]
    assert ({name: run[name] for name in span}, run["missed"]) == (span, {})
    assert [answer.status_code for answer in refused] == [422, 422, 422]


async def runs_log(postroom: Postroom, run_id: int) -> None:
    async with db.transaction(postroom.pool) as connection:
        await runs.log(connection, run_id, [Entry("c1", What.UPDATED)])


@pytest.mark.parametrize(
    "told",
    [
        {"type": "sideways"},
        {"hours_back": 0},
        {"hours_back": -3},
        {"hours_back": 1_000_000},
        {"hours_back": "2"},
        {"type": "full", "colour": "red"},
        {"type": ""},
        {"type": "incremental", "since": "2027-01-01T00:00:00Z", "until": "2027-02-01T00:00:00Z"},
        {"type": "incremental", "since": "2027-01-01T00:00:00Z"},
    ],
)
async def test_a_run_that_makes_no_sense_is_refused_with_what_is_wrong(postroom: Postroom, shop: str, told: dict[str, Any]) -> None:
    async with started(postroom) as talk:
        answer = await talk.post(f"{shop}/runs", told)
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert await postroom.staged() == []


async def test_a_sync_that_is_off_says_what_is_missing(postroom: Postroom, shop: str) -> None:
    await syncs.register(postroom.pool, "shop", destination="ghl", types=["incremental"], off="GHL_API_KEY is missing")
    async with started(postroom) as talk:
        answer = await talk.post(f"{shop}/runs", {})
        standing = (await talk.get(shop)).json()
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:postroom:sync-off")
    assert "GHL_API_KEY is missing" in answer.json()["detail"]
    assert (standing["light"], standing["off"], standing["next_at"]) == ("grey", "GHL_API_KEY is missing", None)


async def test_an_unknown_sync_is_a_404_everywhere(postroom: Postroom, shop: str) -> None:
    run_id = await ask(postroom)
    paths = ["/api/syncs/nobody", "/api/syncs/nobody/runs", f"/api/syncs/nobody/runs/{run_id}", f"{shop}/runs/17", f"{shop}/runs/x"]
    async with started(postroom) as talk:
        got = [(await talk.get(path)).status_code for path in paths]
        acts: list[tuple[str, dict[str, Any]]] = [("pause", {"reason": "x"}), ("resume", {}), ("release", {"deletions": 1}), ("runs", {})]
        posted = {act: (await talk.post(f"/api/syncs/nobody/{act}", told)).status_code for act, told in acts}
    assert set(got) == {404}
    assert posted == dict.fromkeys(posted, 404)


async def test_a_pause_stops_the_schedule_and_a_resume_lets_it_go_on(postroom: Postroom, shop: str) -> None:
    async with started(postroom) as talk:
        paused = (await talk.post(f"{shop}/pause", {"reason": "their maintenance"})).json()
        resumed = (await talk.post(f"{shop}/resume")).json()
        unreasoned = await talk.post(f"{shop}/pause", {})
    assert (paused["paused_by"], paused["paused_why"], paused["light"]) == ("otto", "their maintenance", "grey")
    assert (resumed["paused_at"], resumed["light"], unreasoned.status_code) == (None, "green", 422)


async def put(talk: Talk, path: str, told: dict[str, Any]) -> httpx.Response:
    return await talk.client.put(path, headers=AS_OPERATOR, json=told)


async def test_a_schedule_is_edited_without_a_restart(postroom: Postroom, shop: str) -> None:
    async with started(postroom) as talk:
        edited = await put(talk, f"{shop}/schedules/full", {"cron": "15 4 * * 0", "zone": "America/New_York", "catch_up": "one"})
        off = await put(talk, f"{shop}/schedules/incremental", {"every_s": 900, "on": False})
    full = edited.json()["schedules"][0]
    assert (full["cron"], full["zone"], full["catch_up"], full["edited_by"]) == ("15 4 * * 0", "America/New_York", "one", "otto")
    assert {tick["local"][11:16] for tick in full["next"]} == {"04:15"}
    incremental = off.json()["schedules"][1]
    assert (incremental["every_s"], incremental["on"], incremental["next"]) == (900, False, [])


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"cron": "61 * * * *"},
        {"cron": "0 * * * *", "zone": "Europe/Atlantis"},
        {"every_s": 1},
        {"every_s": 900, "zone": "Europe/Vienna"},
        {"cron": "0 * * * *", "every_s": 900},
        {"every_s": 900, "catch_up": "all"},
    ],
)
async def test_a_schedule_that_cannot_be_used_changes_nothing(postroom: Postroom, shop: str, told: dict[str, Any]) -> None:
    before = await postroom.rows("select * from outbox.schedules order by type")
    async with started(postroom) as talk:
        assert (await put(talk, f"{shop}/schedules/full", told)).status_code == 422
        assert (await put(talk, f"{shop}/schedules/sideways", {"every_s": 900})).status_code == 404
    assert await postroom.rows("select * from outbox.schedules order by type") == before


async def test_a_brake_is_released_by_naming_the_number(postroom: Postroom, shop: str) -> None:
    async with started(postroom) as talk:
        released = await talk.post(f"{shop}/release", {"deletions": 1234})
        unnamed = await talk.post(f"{shop}/release", {})
        standing = (await talk.get(shop)).json()
    assert (released.status_code, unnamed.status_code, standing["may_delete"]) == (202, 422, 1234)
    assert (standing["current"]["id"], standing["current"]["type"]) == (released.json()["run"], "full")


async def call(talk: Talk, path: str, secret: str | None) -> httpx.Response:
    return await talk.client.get(path, headers={} if secret is None else {"authorization": f"Bearer {secret}"})


async def test_an_external_cron_asks_for_a_run_and_may_call_twice(postroom: Postroom, shop: str) -> None:
    async with started(postroom) as talk:
        answers = [await call(talk, "/api/cron/shop/full", CRON_SECRET) for _ in range(2)]
        unknown = await call(talk, "/api/cron/nobody/full", CRON_SECRET)
        sideways = await call(talk, "/api/cron/shop/sideways", CRON_SECRET)
    assert [answer.status_code for answer in answers] == [202, 200]
    assert answers[0].json()["run"] == answers[1].json()["run"]
    assert (unknown.status_code, sideways.status_code) == (404, 422)
    assert await postroom.value("select by_whom from outbox.runs where trigger = 'cron'") == "cron"


async def test_a_run_that_a_person_asked_for_and_that_has_ended_does_not_stand_for_a_cron_s_own(postroom: Postroom, shop: str) -> None:
    by_hand = await ask(postroom, "full")
    async with started(postroom) as talk:
        waits = (await call(talk, "/api/cron/shop/full", CRON_SECRET)).json()
        await ended(postroom, by_hand, ago=timedelta(0), state="failed", reason="the property is gone")
        own = (await call(talk, "/api/cron/shop/full", CRON_SECRET)).json()
    assert waits == {"run": by_hand, "is_new": False}
    assert own["is_new"]


async def test_an_external_cron_without_the_secret_is_turned_away(postroom: Postroom, shop: str) -> None:
    path = "/api/cron/shop/full"
    async with started(postroom) as talk:
        operator = AS_OPERATOR["authorization"].removeprefix("Bearer ")
        refused = [(await call(talk, path, secret)).status_code for secret in (None, "wrong", operator, CRON_SECRET + "x")]
    async with started(postroom, settings(cron_secret=None)) as talk:
        closed = await call(talk, path, CRON_SECRET)
    assert refused == [401] * 4
    assert (closed.status_code, closed.json()["type"]) == (503, "urn:postroom:no-cron-secret")
    assert await postroom.staged() == []


async def test_a_viewer_looks_and_does_not_act(postroom: Postroom, shop: str) -> None:
    async with started(postroom) as talk:
        viewer = (await talk.get("/api/syncs", viewer=True)).request.headers["authorization"]
        acted = [await talk.post(f"{shop}/{act}", {}, headers={"authorization": viewer}) for act in ("runs", "pause", "resume", "release")]
    assert {answer.status_code for answer in acted} == {403}


async def test_the_lights_are_among_the_metrics(postroom: Postroom, shop: str) -> None:
    async with started(postroom) as talk:
        text = (await talk.client.get("/metrics")).text
    assert 'postroom_sync_light{light="green",sync="shop"} 1.0' in text
    assert 'postroom_sync_light{light="red",sync="shop"} 0.0' in text
