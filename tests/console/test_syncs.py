"""Syncs in the console: how they stand, runs asked for and cancelled, pauses."""

import re
from datetime import timedelta

from outbox import db
from outbox.cadence import Every
from outbox.store import budgets, links, runs, schedules, syncs
from outbox.store.runs import Category, Entry, What
from outbox.store.schedules import CatchUp
from outbox.testing import Postroom
from tests.console.visiting import looking, operating, words


async def known(postroom: Postroom) -> None:
    await syncs.register(
        postroom.pool, "ghl-contacts", destination="ghl", types=["incremental", "full"], off=None, overlap=timedelta(minutes=10)
    )


async def test_without_a_dispatcher_there_is_no_sync_and_the_page_says_why(postroom: Postroom) -> None:
    async with looking(postroom) as visitor:
        assert "No dispatcher has written a sync down yet" in await visitor.page("/console/syncs")
        assert (await visitor.get("/console/syncs/ghl-contacts")).status_code == 404


async def test_a_run_is_asked_for_once_seen_and_cancelled(postroom: Postroom) -> None:
    await known(postroom)
    async with operating(postroom) as visitor:
        form = await visitor.form_id()
        for _ in range(2):
            await visitor.act("/console/syncs/ghl-contacts/run", form=form, type="incremental", hours_back="24")
        listed = await visitor.page("/console/syncs")
        run = await postroom.value("select id from outbox.runs")
        one = await visitor.page("/console/syncs/ghl-contacts")
        detail = await visitor.page(f"/console/syncs/ghl-contacts/runs/{run}")
        await visitor.act(f"/console/syncs/ghl-contacts/runs/{run}/cancel")
        cancelled = await visitor.page(f"/console/syncs/ghl-contacts/runs/{run}")
        await visitor.act(f"/console/syncs/ghl-contacts/runs/{run}/cancel")
        again = await visitor.page("/console/syncs")
        assert (await visitor.get(f"/console/syncs/other/runs/{run}")).status_code == 404
    assert "Asked for an incremental run of ghl-contacts" in listed
    assert "queued" in one
    assert "incremental run of ghl-contacts" in detail
    assert "cancelled" in cancelled
    assert "The run has ended" in again
    assert await postroom.value("select count(*) from outbox.runs") == 1
    assert await postroom.value("select hours_back from outbox.runs") == 24


async def test_the_list_shows_the_last_runs_and_the_share_of_the_days_quota_and_a_syncs_page_each_count_apart(postroom: Postroom) -> None:
    await known(postroom)
    async with operating(postroom) as visitor:
        for _ in range(3):
            await visitor.act("/console/syncs/ghl-contacts/run", type="full")
        oldest, second, newest = [row["id"] for row in await postroom.rows("select id from outbox.runs order by id")]
        end = "update outbox.runs set state = $2, ended_at = now(), calls = $3, quota_left = $4, worked_ms = 10 where id = $1"
        await postroom.pool.execute(end, oldest, "done", 40, None)
        await postroom.pool.execute(end, second, "failed", 2, 199_000)
        counted = "created = 3, errors = 2, errors_by = '{\"api\": 2}', quota = 200000"
        await postroom.pool.execute(f"update outbox.runs set {counted} where id = $1", second)
        full = await visitor.page("/console/syncs/ghl-contacts")
        await postroom.pool.execute("update outbox.runs set calls = 1 where id = $1", newest)
        how_far = "phase = 'contacts', progress = 1140, expected = 4100, pages = 12, pace = 96, moved_at = now() - interval '2 s'"
        await postroom.pool.execute(f"update outbox.runs set state = 'running', {how_far} where id = $1", newest)
        running = await visitor.page(f"/console/syncs/ghl-contacts/runs/{newest}")
        await postroom.pool.execute("update outbox.runs set moved_at = now() - interval '3 min' where id = $1", newest)
        stalled = await visitor.page(f"/console/syncs/ghl-contacts/runs/{newest}")
        listed = (await visitor.get("/console/syncs")).text
        await postroom.pool.execute("update outbox.syncs set watermark = '2026-10-05T11:00Z'")
        one = await visitor.page("/console/syncs/ghl-contacts")
        await budgets.learn(postroom.pool, "ghl:loc_1", pause_s=0.0, daily_left=150_000)
        later = await visitor.page("/console/syncs")
    assert re.search(r"the next incremental run looks since .*2026.*, overlap 10 m\b", one)
    assert 'aria-label="The last 3 runs: 1 done, 1 failed, 1 running; the newest running"' in listed
    assert "expects 40 calls, and 10 ms: so much the last full run took" in full
    assert "1,140 of 4,100 · contacts · 96/s · 29 s left · page 12 of about 44 · 0 errors so far" in running
    assert "1,140 of 4,100 · contacts · – · – left · page 12" in stalled
    assert "0.0 % of 200,000 43 calls today, 199,000 left" in words(listed)
    assert "0.0 % of 200,000 43 calls today, 150,000 left" in later
    assert "5 records 3 created 0 updated 0 unchanged 0 skipped 0 deleted 2 errors 2 calls 0.0 % of the day’s" in one
    assert "failed · 2 api" in one
    assert "The last 2 runs worked 10 ms in the middle, 10 ms at most; 1 had errors" in one


async def test_errors_are_shown_by_category_with_examples_that_lead_to_the_record(postroom: Postroom) -> None:
    await known(postroom)
    async with operating(postroom) as visitor:
        fresh = await visitor.page("/console/syncs/ghl-contacts")
        await visitor.act("/console/syncs/ghl-contacts/run", type="full")
        run = await postroom.value("select id from outbox.runs")
        await postroom.pool.execute('update outbox.runs set errors_by = \'{"api": 2, "validation": 7}\' where id = $1', run)
        entries = [Entry(f"c{n}", What.ERROR, Category.VALIDATION, f"problem {n}") for n in range(7)]
        async with db.transaction(postroom.pool) as connection:
            await runs.log(connection, run, [*entries, Entry("", What.ERROR, Category.API, "GHL answered 500"), Entry("c9", What.CREATED)])
        one = (await visitor.get("/console/syncs/ghl-contacts")).text
        page = (await visitor.get(f"/console/syncs/ghl-contacts/runs/{run}")).text
        only = await visitor.page(f"/console/syncs/ghl-contacts/runs/{run}?category=api")
        told = (await visitor.talk.get(f"/api/syncs/ghl-contacts/runs/{run}")).json()
    assert "no full run yet that tells what it takes" in fresh
    assert "7 validation c0 problem 0" in words(one)
    assert "2 api no single record: GHL answered 500" in words(one)
    assert one.count("/console/lanes/one?lane=ghl%3Acontact%3Ac") == 3
    assert page.count("/console/lanes/one?lane=ghl%3Acontact%3Ac") == 3 + 8
    assert ("GHL answered 500" in only, "problem 6" in only) == (True, False)
    assert [(one["category"], one["count"], len(one["examples"])) for one in told["errors"]] == [("validation", 7, 3), ("api", 2, 1)]
    assert told["errors"][0]["examples"][0]["lane"] == "ghl:contact:c0"
    assert (told["run"]["rate"], told["run"]["left_s"]) == (None, None)


async def test_a_record_of_google_is_named_by_its_id_and_one_of_phorest_leads_to_its_lane(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        for name, record in (("google-contacts:ada", "people/c1"), ("phorest-clients", "p1"), ("phorest-bookings", "b1")):
            await syncs.register(postroom.pool, name, destination=None, types=["full"], off=None)
            await visitor.act(f"/console/syncs/{name}/run", type="full")
            run = await postroom.value("select id from outbox.runs where sync = $1", name)
            async with db.transaction(postroom.pool) as connection:
                await runs.log(connection, run, [Entry(record, What.CREATED)])
            page = (await visitor.get(f"/console/syncs/{name}/runs/{run}")).text
            assert (f'data-copy="{record}"' in page) is (name != "phorest-clients")
            assert ("/console/lanes/one?lane=phorest%3Aclient%3Ap1" in page) is (name == "phorest-clients")


async def test_the_page_of_a_sync_says_why_its_light_has_its_colour(postroom: Postroom) -> None:
    await known(postroom)
    now = await postroom.value("select now()")
    async with looking(postroom) as visitor:
        off = await visitor.page("/console/syncs/ghl-contacts")
        async with db.transaction(postroom.pool) as connection:
            await schedules.put(connection, "ghl-contacts", "incremental", Every(3600), catch_up=CatchUp.ONE, now=now)
        young = await visitor.page("/console/syncs/ghl-contacts")
        await postroom.pool.execute(
            "insert into outbox.runs (id, sync, type, trigger, state, ended_at) values (1, 'ghl-contacts', 'full', 'manual', 'done', now())"
        )
        older = "expected_since = now() - interval '9 h', succeeded_at = now() - interval '3 h 12 min'"
        await postroom.pool.execute(f"update outbox.syncs set {older}")
        yellow = await visitor.page("/console/syncs/ghl-contacts")
    assert "off No run is scheduled." in off
    assert "since it was resumed, switched on or given its schedule (green under 2 h, yellow to 6 h" in young
    assert "yellow 3 h 12 m since its last success, 3 of its times have passed (green under 2 h, yellow to 6 h, red above)" in yellow


async def test_a_range_is_days_of_the_viewers_zone_and_its_last_one_counts_to_its_end(postroom: Postroom) -> None:
    await syncs.register(postroom.pool, "appointments", destination="ghl", types=["range"], off=None)
    path = "/console/syncs/appointments/run"
    async with operating(postroom) as visitor:
        visitor.talk.client.cookies.set("postroom-zone", "Europe%2FVienna")
        page = await visitor.page("/console/syncs/appointments")
        assert (await visitor.act(path, type="range", **{"from": "2026-11-31", "to": "2026-12-01"})).status_code == 422
        assert (await visitor.act(path, type="range", **{"from": "2026-11-30"})).status_code == 422
        await visitor.act(path, type="range", back="/console/syncs", **{"from": "2026-11-30", "to": "2026-11-29"})
        refused = await visitor.page("/console/syncs")
        await visitor.act(path, type="range", dry_run="1", **{"from": "2026-11-29", "to": "2026-11-30"})
    assert "Days are those of Europe/Vienna" in page
    assert "Run range now" not in page
    assert "The range ends before it begins" in refused
    [run] = await postroom.rows("select since, until, dry_run from outbox.runs")
    assert (f"{run['since']:%F %R}", f"{run['until']:%F %R}", run["dry_run"]) == ("2026-11-28 23:00", "2026-11-30 23:00", True)
    assert "2026-11-28T23:00" in str(await postroom.value("select result from outbox.audit where what = 'sync'"))


async def test_a_run_of_an_unknown_type_or_of_a_sync_that_is_off_changes_nothing(postroom: Postroom) -> None:
    await known(postroom)
    await syncs.register(postroom.pool, "off-sync", destination=None, types=["full"], off="GHL_API_KEY is missing")
    async with operating(postroom) as visitor:
        await visitor.act("/console/syncs/ghl-contacts/run", type="sideways")
        assert "has no runs of type 'sideways'" in await visitor.page("/console/syncs")
        await visitor.act("/console/syncs/ghl-contacts/run", type="full", hours_back="24")
        assert "leave out hours_back" in await visitor.page("/console/syncs")
        await visitor.act("/console/syncs/off-sync/run", type="full")
        assert "off-sync is off: GHL_API_KEY is missing" in await visitor.page("/console/syncs")
    assert await postroom.value("select count(*) from outbox.runs") == 0


async def test_a_sync_is_paused_with_a_reason_and_goes_on(postroom: Postroom) -> None:
    await known(postroom)
    async with operating(postroom) as visitor:
        await visitor.act("/console/syncs/ghl-contacts/pause", reason="holidays")
        assert "paused by otto “holidays”" in await visitor.page("/console/syncs")
        await visitor.act("/console/syncs/ghl-contacts/resume")
        assert "ghl-contacts goes on" in await visitor.page("/console/syncs/ghl-contacts")


async def test_users_syncs_are_one_row_that_leads_to_those_that_are_red(postroom: Postroom) -> None:
    await known(postroom)
    for user in ("ada", "eve"):
        await postroom.pool.execute("insert into crm.google_users (user_id) values ($1)", user)
        await syncs.register(postroom.pool, f"google-contacts:{user}", destination=f"google:{user}", types=["incremental"], off=None)
    await syncs.pause(postroom.pool, "google-contacts:eve", by=syncs.BY_ITSELF, why="it is not as it must be")
    async with looking(postroom) as visitor:
        listed = await visitor.page("/console/syncs")
        overview = await visitor.page("/console/")
        red = await visitor.page("/console/google?light=red")
        green = await visitor.page("/console/google?light=green")
    assert "google-contacts of 2 users" in words(listed)
    assert "1 red 1 off" in words(listed)
    assert "google-contacts:eve" not in listed
    assert "1 user’s sync is red, of 2" in words(overview)
    assert ("eve" in words(red), "ada" in words(red)) == (True, False)
    assert "No user’s sync is green" in words(green)


async def test_a_rollback_of_phorest_is_shown_typed_begun_stopped_and_begun_anew(postroom: Postroom) -> None:
    path = "/console/phorest/rollback"
    async with db.transaction(postroom.pool) as connection:
        for one in ("p1", "p2"):
            await links.join(connection, "phorest-client", ours=one, theirs=f"of-{one}", destination="ghl", our_hash=None, made=True)
        await links.join(connection, "phorest-product", ours="x1", theirs="tag1", destination="ghl", our_hash=None, made=True)
        await syncs.register(connection, "phorest-clients", destination="phorest", types=["full"], off=None)
    async with operating(postroom) as visitor:
        dry = await visitor.page(path)
        await visitor.act(f"{path}/start", number="2")
        mistyped = await visitor.page(path)
        assert await postroom.staged() == []
        await visitor.act(f"{path}/start", number="3")
        at_work = await visitor.page(path)
        await visitor.act(f"{path}/stop")
        stopped = await visitor.page(path)
        await visitor.act(f"{path}/start", number="3")
        anew = await visitor.page(path)
    assert "contacts of clients 2 tags of products 1 all 3" in dry
    assert "First Phorest’s syncs are paused, or they would make it anew: phorest-clients ." in dry
    assert "Type the number, 3" in dry
    assert "The number does not fit: 3 was to be typed. Nothing was deleted." in mistyped
    assert "3 deletions staged; 1 sync of Phorest stands." in at_work
    assert "Deleted: 0 of 3" in at_work
    assert "Type the number" not in at_work
    assert "stopped by otto" in stopped
    assert "Begin anew: 3" in stopped
    assert "3 deletions staged" in anew
    assert await postroom.value("select string_agg(what, ', ' order by id) from outbox.audit where what like '%phorest%'") == (
        "phorest rollback, stop phorest rollback, phorest rollback"
    )
    async with looking(postroom) as visitor:
        assert "Stop needs the operator role" in await visitor.page(path)
        assert (await visitor.act(f"{path}/stop", form="x")).status_code == 403
