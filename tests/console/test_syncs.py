"""Syncs in the console: how they stand, runs asked for and cancelled, pauses."""

from outbox.store import syncs
from outbox.testing import Postroom
from tests.console.visiting import looking, operating, words


async def known(postroom: Postroom) -> None:
    await syncs.register(postroom.pool, "ghl-contacts", destination="ghl", types=["incremental", "full"], off=None)


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


async def test_the_list_shows_the_last_runs_and_the_calls_of_today(postroom: Postroom) -> None:
    await known(postroom)
    async with operating(postroom) as visitor:
        for _ in range(3):
            await visitor.act("/console/syncs/ghl-contacts/run", type="full")
        oldest, second, newest = [row["id"] for row in await postroom.rows("select id from outbox.runs order by id")]
        end = "update outbox.runs set state = $2, ended_at = now(), calls = $3, quota_left = $4, worked_ms = 10 where id = $1"
        await postroom.pool.execute(end, oldest, "done", 40, None)
        await postroom.pool.execute(end, second, "failed", 2, 199_000)
        await postroom.pool.execute("update outbox.runs set calls = 1 where id = $1", newest)
        listed = (await visitor.get("/console/syncs")).text
        one = await visitor.page("/console/syncs/ghl-contacts")
    assert 'aria-label="The last 3 runs: 1 done, 1 failed, 1 queued; the newest queued"' in listed
    assert "43 calls today , 199,000 left" in words(listed)
    assert "The last 2 runs worked 10 ms in the middle, 10 ms at most; 1 had errors" in one


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
