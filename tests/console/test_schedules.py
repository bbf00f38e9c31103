"""Schedules edited in the console, the brake released, and users of Google switched on and off."""

from datetime import UTC, datetime

from outbox.cadence import Cron
from outbox.store import google_users, runs, schedules, syncs
from outbox.store.runs import Numbers, RunState, Trigger
from outbox.store.schedules import CatchUp
from outbox.testing import Postroom
from tests.console.visiting import looking, operating, visiting
from tests.receiver.running import OPERATOR_TOKEN, settings

EDIT = "/console/syncs/ghl-contacts/schedules/full"


async def known(postroom: Postroom) -> None:
    await syncs.register(postroom.pool, "ghl-contacts", destination="ghl", types=["incremental", "full"], off=None)


async def test_a_schedule_is_shown_with_its_next_times_before_it_is_kept(postroom: Postroom) -> None:
    await known(postroom)
    async with operating(postroom) as visitor:
        shown = await visitor.page(f"{EDIT}?cron=0+2+*+*+*&zone=Europe%2FVienna")
        assert shown.count("02:00:00.000 CE") == 5
        assert await postroom.value("select count(*) from outbox.schedules") == 0
        await visitor.act(EDIT, cron="0 2 * * *", zone="Europe/Vienna")
        one = await visitor.page("/console/syncs/ghl-contacts")
        await visitor.act(f"{EDIT}/switch")
        off = await visitor.page(EDIT)
    assert "0 2 * * * Europe/Vienna Edit edited by otto" in one
    assert "Off. edited by otto" in off
    acts = await postroom.rows("select what, target from outbox.audit where what like '%schedule' order by id")
    assert acts == [{"what": what, "target": "ghl-contacts full"} for what in ("edit schedule", "switch schedule")]


async def test_what_cannot_be_a_schedule_is_said_in_words_and_changes_nothing(postroom: Postroom) -> None:
    await known(postroom)
    async with operating(postroom) as visitor:
        assert "five fields" in await visitor.page(f"{EDIT}?cron=daily")
        assert "there is no time zone 'Mars/Base'" in await visitor.page(f"{EDIT}?cron=0+2+*+*+*&zone=Mars/Base")
        assert "either a cron expression or an interval" in await visitor.page(f"{EDIT}?cron=0+2+*+*+*&minutes=5")
        refused = await visitor.act(EDIT, cron="61 2 * * *", zone="UTC")
        assert "This cannot be a schedule" in await visitor.page(refused.headers["location"])
        assert (await visitor.get("/console/syncs/ghl-contacts/schedules/sideways")).status_code == 404
    assert await postroom.value("select count(*) from outbox.schedules") == 0


async def test_a_schedule_whose_time_is_changed_still_does_with_missed_ticks_what_it_did(postroom: Postroom) -> None:
    await known(postroom)
    await schedules.put(postroom.pool, "ghl-contacts", "full", Cron("0 2 * * *"), catch_up=CatchUp.SKIP, now=datetime.now(UTC))
    async with operating(postroom) as visitor:
        await visitor.act(EDIT, cron="0 3 * * *", zone="Europe/Vienna")
        await visitor.act("/console/syncs/ghl-contacts/schedules/incremental", minutes="60")
    kept = await postroom.rows("select type, catch_up, edited_by from outbox.schedules order by type")
    assert [(row["type"], row["catch_up"], row["edited_by"]) for row in kept] == [("full", "skip", "otto"), ("incremental", "one", "otto")]


async def test_the_brake_is_released_for_a_number_and_a_reason(postroom: Postroom) -> None:
    await known(postroom)
    async with postroom.pool.acquire() as connection, connection.transaction():
        asked = await runs.ask(connection, "ghl-contacts", "full", trigger=Trigger.SCHEDULE)
        assert asked is not None
        await runs.begin(connection, asked.id)
        await runs.keep(connection, asked.id, Numbers(), state=RunState.BRAKED, reason="GHL shows 812 of our 4100 contacts no more")
    async with operating(postroom) as visitor:
        assert "Its brake asks a person braked GHL shows 812" in await visitor.page("/console/syncs/ghl-contacts")
        assert (await visitor.act("/console/syncs/ghl-contacts/release", deletions="812")).status_code == 422
        await visitor.act("/console/syncs/ghl-contacts/release", deletions="812", reason="we tidied up")
        assert "may delete 812" in await visitor.page("/console/syncs/ghl-contacts")
    assert await postroom.value("select may_delete from outbox.syncs") == 812
    assert await postroom.value("select reason from outbox.audit where what = 'release sync'") == "we tidied up"
    assert await postroom.value("select count(*) from outbox.runs where state = 'queued' and type = 'full' and by_whom = 'otto'") == 1


async def test_a_run_shows_what_webhooks_missed(postroom: Postroom) -> None:
    await known(postroom)
    async with postroom.pool.acquire() as connection, connection.transaction():
        asked = await runs.ask(connection, "ghl-contacts", "full", trigger=Trigger.SCHEDULE)
        assert asked is not None
        await runs.begin(connection, asked.id)
        numbers = Numbers(updated=40, errors=1, errors_by={"conflict": 1}, missed={"contacts": {"changed": 40, "missed": 1}})
        await runs.keep(connection, asked.id, numbers, state=RunState.DONE)
    async with looking(postroom) as visitor:
        assert "1 conflict · contacts: 1 of 40 missed (2.5 %)" in await visitor.page("/console/syncs/ghl-contacts")


async def test_a_user_of_google_is_switched_on_with_an_interval_and_off(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        await visitor.act("/console/google/ada", enabled="1", hours="12")
        page = await visitor.page("/console/google")
        assert (await visitor.act("/console/google/ada", enabled="1", hours="5")).status_code == 422
        assert (await visitor.act("/console/google/a;b", enabled="1")).status_code == 404
        every_s = await postroom.value("select every_s from outbox.schedules where sync = $1", google_users.sync_of("ada"))
        await visitor.act("/console/google/ada")
        off = await visitor.page("/console/google")
    assert every_s == 12 * 3600
    assert "ada is kept in step; next sync once they consent." in page
    assert "ada is not kept in step any more." in off
    assert await postroom.value("select count(*) from outbox.audit where what = 'set auto-sync' and target = 'ada'") == 2


async def test_a_link_for_a_users_consent_is_shown_once_and_told_to_the_audit(postroom: Postroom) -> None:
    own = settings(google_client_id="id.example", public_url="https://postroom.example.com")
    async with visiting(postroom, own) as visitor:
        await visitor.sign_in(OPERATOR_TOKEN)
        page = await visitor.act("/console/google/ada/consent")
    assert "A link for ada" in page.text
    assert "client_id=id.example" in page.text
    assert await postroom.value("select account from outbox.consents") == "ada"
    assert await postroom.value("select target from outbox.audit where what = 'begin consent'") == "google:ada"
    async with operating(postroom) as visitor:
        refused = await visitor.act("/console/google/ada/consent")
    assert refused.status_code == 409
    assert "GOOGLE_CLIENT_ID" in refused.text
