"""Consents, INSTALL and UNINSTALL through the whole dispatcher, and what becomes of the events of a location meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from dispatcher.clients import accounts, oauth
from dispatcher.routes import ROUTES
from dispatcher.schedule import Schedule
from dispatcher.service import Dispatcher, Stop
from dispatcher.syncs import ghl_missed, locations
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS
from dispatcher.syncs.ghl_missed import GHL_MISSED
from dispatcher.syncs.table import SYNCS
from outbox import Event
from outbox.store import destinations
from outbox.testing import Postroom
from simulators import samples
from simulators.samples import DEMO_COMPANY_ID, DEMO_LOCATION_ID
from tests.dispatcher.calm import CALM
from tests.dispatcher.connecting import BACK, CORK, DUBLIN, NOTED, SEALER, World, note, world
from tests.dispatcher.handling import fate, is_over
from tests.dispatcher.running import eventually, stage_all
from tests.dispatcher.syncing import asked


@pytest.fixture
async def at(postroom: Postroom) -> AsyncIterator[World]:
    async with world(postroom) as made:
        yield made


@asynccontextmanager
async def dispatching(at: World, **settings: Any) -> AsyncIterator[None]:
    """A dispatcher at work, with the app's credentials; stopped in order at the end."""
    async with at.services(at.with_key() if settings.pop("key", False) else at.settings(**settings)) as shared:
        stop, ready = Stop(), asyncio.Event()
        task = asyncio.create_task(Dispatcher(at.postroom.dsn, shared, NOTED, syncs=CALM).run(stop, ready=ready.set))
        try:
            await asyncio.wait_for(ready.wait(), 20)
            yield
        finally:
            stop.ask()
            await asyncio.wait_for(task, 40)


def app_event(kind: str, location: str | None = CORK, **fields: Any) -> Event:
    """INSTALL or UNINSTALL as the receiver stages it."""
    body = samples.ghl_app_event(kind, location_id=location, **fields)  # type: ignore[arg-type] # one of the two
    return Event(f"ghl.{kind}", body, lane=f"ghl:location:{location or DEMO_COMPANY_ID}", source="ghl")


async def settled(at: World, *happened: Event, within_s: float = 20) -> list[int]:
    ids = await stage_all(at.postroom, *happened)
    await eventually(is_over(at.postroom, *ids), within_s=within_s)
    return ids


async def states(at: World) -> dict[str, str]:
    return {row["destination"]: row["state"] for row in await at.postroom.rows("select destination, state from outbox.connections")}


async def result(at: World, event_id: int) -> Any:
    why = (await fate(at.postroom, event_id)).why
    return json.loads(why) if why and why.startswith("{") else why


async def test_a_consent_connects_a_location_and_its_events_go_with_its_own_token(at: World) -> None:
    contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
    async with dispatching(at):
        [code] = await settled(at, at.code())
        [written] = await settled(at, note(contact["id"]))
    assert await result(at, code) == {"connected": f"ghl:{CORK}"}
    assert (await fate(at.postroom, written)).state == "done"
    assert at.ghl.effects.count("note") == 1
    row = await at.row()
    assert (row["provider"], row["account"], row["company_id"], row["label"]) == ("ghl", CORK, DEMO_COMPANY_ID, "Shop in Cork")
    budgets = await at.postroom.rows("select credential, used from outbox.budgets")
    assert budgets == [{"credential": f"ghl:{CORK}", "used": 1}]  # what the consent cost is not the location's


async def test_a_location_that_nobody_connected_is_skipped_with_its_name(at: World) -> None:
    async with dispatching(at):
        [event] = await settled(at, note("c1", DUBLIN))
    assert (await fate(at.postroom, event)).why == f"location {DUBLIN} is not connected"
    assert await at.destination(DUBLIN) == ("flowing", None)


async def test_without_any_credentials_events_of_ghl_wait_whatever_their_location(at: World) -> None:
    async with dispatching(at, ghl_client_id=None):
        [event] = await stage_all(at.postroom, note("c1", DUBLIN))
        await eventually(lambda: is_held(at, event))
    assert (await fate(at.postroom, event)).why == "held for ghl"


async def is_held(at: World, event_id: int) -> bool:
    return (await fate(at.postroom, event_id)).is_held


async def test_the_default_location_goes_with_its_key_and_the_others_with_their_tokens(at: World) -> None:
    ours, theirs = at.ghl.put_contact(firstName="Ada"), at.ghl.put_contact(locationId=CORK, firstName="Bea")
    async with dispatching(at, key=True):
        await settled(at, at.code())
        ids = await settled(at, note(ours["id"], None), note(ours["id"], DEMO_LOCATION_ID), note(theirs["id"], CORK), note("c1", DUBLIN))
    assert [(await fate(at.postroom, event)).state for event in ids] == ["done", "done", "done", "skipped"]
    assert at.ghl.effects.count("note", contact_id=ours["id"]) == 2
    used = {row["credential"]: row["used"] for row in await at.postroom.rows("select credential, used from outbox.budgets")}
    assert used == {f"ghl:{DEMO_LOCATION_ID}": 2, f"ghl:{CORK}": 1}


async def test_a_default_location_may_be_a_connected_one(at: World) -> None:
    contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
    async with dispatching(at, ghl_location_id=CORK):
        await settled(at, at.code())
        [event] = await settled(at, note(contact["id"], None))
    assert (await fate(at.postroom, event)).state == "done"


async def test_p10_a_dead_consent_holds_its_events_and_a_new_one_lets_them_flow(at: World) -> None:
    """A refresh token that was used before; the other location is not touched by it."""
    await at.connect(CORK)
    await at.connect(DUBLIN)
    await at.postroom.pool.execute(
        "update outbox.connections set sealed = $1, expires_at = now() where account = $2",
        SEALER.seal('{"access_token": "eyJ-old", "refresh_token": "refresh-used-before"}'),
        CORK,
    )
    contacts = {place: at.ghl.put_contact(locationId=place, firstName="Ada")["id"] for place in (CORK, DUBLIN)}
    async with dispatching(at):
        held = await stage_all(at.postroom, note(contacts[CORK]), note(at.ghl.put_contact(locationId=CORK, firstName="Bea")["id"]))
        await settled(at, note(contacts[DUBLIN], DUBLIN))
        for event in held:
            await eventually(partial(is_held, at, event))
        state, why = await at.destination()
        assert state == "unauthorised"
        assert why is not None
        assert "refresh token is invalid" in why
        assert "postroom connect" in why
        assert (await at.row())["state"] == "inactive"
        assert [(await fate(at.postroom, event)).why for event in held] == [f"held for ghl:{CORK}"] * 2
        assert [(await fate(at.postroom, event)).failures for event in held] == [0, 0]
        await settled(at, at.code())
        await eventually(is_over(at.postroom, *held))
        assert await at.destination() == ("flowing", None)
    assert at.ghl.effects.count("note") == 3
    assert (await at.postroom.totals())["dead"] == 0


async def test_p10_a_suspended_location_holds_its_events_and_goes_on_by_itself(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await at.connect(CORK)
    await at.expire()
    at.ghl.oauth.locations[CORK].is_active = False
    contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
    monkeypatch.setattr(oauth, "LOOK_S", 0.1)
    monkeypatch.setattr(oauth, "LONGEST_AGAIN_S", 0.1)
    async with dispatching(at):
        [event] = await stage_all(at.postroom, note(contact["id"]))
        await eventually(lambda: is_held(at, event))
        state, why = await at.destination()
        assert (state, "Location is not active" in (why or "")) == ("unauthorised", True)
        at.ghl.oauth.locations[CORK].is_active = True
        await eventually(is_over(at.postroom, event))
    assert (await fate(at.postroom, event)).state == "done"
    assert await at.destination() == ("flowing", None)


async def test_a_probe_that_calls_nobody_says_nothing_about_its_location(at: World) -> None:
    """Else a stopped location would flow again because one event had nothing to do."""
    await at.connect(CORK)
    await destinations.open_breaker(at.postroom.pool, f"ghl:{CORK}", why="away", probe_in_s=0.0)
    async with dispatching(at):
        [event] = await settled(at, Event("test.idle", {"locationId": CORK}))
        assert (await fate(at.postroom, event)).state == "skipped"
        assert (await at.destination())[0] == "open"
        contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
        await settled(at, note(contact["id"]))
    assert (await at.destination())[0] == "flowing"


async def test_a_code_that_ghl_does_not_take_is_a_dead_letter_that_asks_for_a_new_link(at: World) -> None:
    used = at.code()
    async with dispatching(at):
        await settled(at, used)
        [event] = await stage_all(at.postroom, used)
        await eventually(lambda: is_dead(at, event))
    why = (await fate(at.postroom, event)).why
    assert why is not None
    assert "Authorization code not found" in why
    assert "postroom connect ghl" in why
    assert (await at.row())["state"] == "active"


async def is_dead(at: World, event_id: int) -> bool:
    return (await fate(at.postroom, event_id)).state == "dead"


async def test_a_consent_waits_while_the_token_endpoint_is_down(at: World) -> None:
    at.ghl.faults.add("answer", "/oauth/token", status=503, times=2)
    async with dispatching(at):
        [code] = await stage_all(at.postroom, at.code())
        while not await is_over(at.postroom, code)():
            await at.postroom.hurry()
            await asyncio.sleep(0.05)
    assert (await at.row())["state"] == "active"


async def test_an_installation_is_known_and_waits_for_its_consent(at: World) -> None:
    async with dispatching(at):
        [event] = await settled(at, app_event("INSTALL"))
        assert await result(at, event) == {"location": CORK, "state": "inactive"}
        row = await at.row()
        assert (row["state"], row["label"], row["company_id"], row["sealed"]) == ("inactive", "Example Salon", DEMO_COMPANY_ID, None)
        assert "postroom connect ghl" in row["why"]
        [held] = await stage_all(at.postroom, note(at.ghl.put_contact(locationId=CORK, firstName="Ada")["id"]))
        await eventually(lambda: is_held(at, held))
        await settled(at, at.code())
        await eventually(is_over(at.postroom, held))
    assert (await fate(at.postroom, held)).state == "done"


async def test_an_install_that_comes_after_the_consent_changes_no_state(at: World) -> None:
    await at.connect(CORK)
    async with dispatching(at):
        [event] = await settled(at, app_event("INSTALL"))
    assert await result(at, event) == {"location": CORK, "state": "active"}


async def test_an_install_of_the_default_location_says_that_it_goes_with_the_key(at: World) -> None:
    async with dispatching(at, key=True):
        await settled(at, app_event("INSTALL", DEMO_LOCATION_ID))
    assert "GHL_API_KEY" in (await at.row(DEMO_LOCATION_ID))["why"]


async def test_an_uninstall_forgets_the_tokens_and_its_events_are_skipped(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "LOOK_S", 0.0)
    await at.connect(CORK)
    contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
    async with dispatching(at):
        await settled(at, note(contact["id"]))
        await settled(at, app_event("UNINSTALL"))
        row = await at.row()
        assert (row["state"], row["sealed"], row["expires_at"]) == ("uninstalled", None, None)
        [event] = await settled(at, note(contact["id"]))
    assert (await fate(at.postroom, event)).why == f"location {CORK} is not connected"
    assert at.ghl.effects.count("note") == 1


async def test_what_was_held_for_a_location_is_skipped_when_it_is_uninstalled(at: World) -> None:
    async with dispatching(at):
        await settled(at, app_event("INSTALL"))
        [held] = await stage_all(at.postroom, note("c1"))
        await eventually(lambda: is_held(at, held))
        await settled(at, app_event("UNINSTALL"))
        await eventually(is_over(at.postroom, held))
    assert (await fate(at.postroom, held)).state == "skipped"


async def test_an_uninstall_of_before_the_consent_ends_nothing(at: World) -> None:
    await at.connect(CORK)
    async with dispatching(at):
        [late, unknown] = await settled(
            at, app_event("UNINSTALL", at=datetime.now(UTC) - timedelta(hours=1)), app_event("UNINSTALL", DUBLIN)
        )
    assert await states(at) == {f"ghl:{CORK}": "active"}
    for event in (late, unknown):
        assert (await fate(at.postroom, event)).why == "it was not connected, or was connected again since"


async def test_installed_again_after_an_uninstall_it_waits_for_another_consent(at: World) -> None:
    await at.connect(CORK)
    async with dispatching(at):
        await settled(at, app_event("UNINSTALL"))
        await settled(at, app_event("INSTALL", at=datetime.now(UTC) - timedelta(hours=1)))
        assert await states(at) == {f"ghl:{CORK}": "uninstalled"}  # a late message of before
        await settled(at, app_event("INSTALL"))
        assert await states(at) == {f"ghl:{CORK}": "inactive"}
        await settled(at, at.code())
        assert await states(at) == {f"ghl:{CORK}": "active"}


async def test_an_agencys_consent_connects_each_of_its_locations_once(at: World) -> None:
    """One approved with the consent, one whose INSTALL came before it, one whose INSTALL comes later."""
    later = "GalwayLocationAbcdef"
    at.ghl.add_location(later)
    at.ghl.install(DUBLIN)
    sealed = SEALER.seal(at.ghl.oauth.consent_agency(DEMO_COMPANY_ID, redirect_uri=BACK, approved=(CORK,))).decode()
    code = Event("ghl.oauth.code", {"sealed": sealed, "redirect_uri": BACK}, source="postroom")
    async with dispatching(at):
        await settled(at, app_event("INSTALL", DUBLIN))
        await settled(at, code)
        await eventually(lambda: nothing_waits(at))
        assert await states(at) == {f"ghl:company:{DEMO_COMPANY_ID}": "active", f"ghl:{CORK}": "active", f"ghl:{DUBLIN}": "active"}
        at.ghl.install(later)
        await settled(at, app_event("INSTALL", later))
        await eventually(lambda: nothing_waits(at))
        assert (await states(at))[f"ghl:{later}"] == "active"
        [event] = await settled(at, note(at.ghl.put_contact(locationId=later, firstName="Ada")["id"], later))
        assert (await fate(at.postroom, event)).state == "done"
        [ended] = await settled(at, app_event("UNINSTALL", None))
    assert set((await states(at)).values()) == {"uninstalled"}
    assert (await result(at, ended))["connections"] == 4
    assert (await at.postroom.totals())["dead"] == 0


async def nothing_waits(at: World) -> bool:
    totals = await at.postroom.totals()
    return totals["pending"] == 0


async def test_messages_that_name_nobody_are_skipped(at: World) -> None:
    bare = [Event(f"ghl.{kind}", {"type": kind}, source="ghl") for kind in ("INSTALL", "UNINSTALL")]
    odd = Event("ghl.INSTALL", {"locationId": 7, "companyId": ["x"]}, source="ghl")
    async with dispatching(at):
        for event in await settled(at, *bare, odd):
            assert (await fate(at.postroom, event)).state == "skipped"
    assert await states(at) == {}


async def test_a_connected_location_has_a_sync_of_its_own_that_begins_at_once_and_ends_with_the_app(at: World) -> None:
    contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
    name = locations.name_of(GHL_CONTACTS, CORK)
    async with at.services() as shared:
        stop = Stop()
        task = asyncio.create_task(Dispatcher(at.postroom.dsn, shared, ROUTES, syncs=CALM).run(stop))
        await settled(at, at.code())
        [run] = await at.postroom.rows("select id, sync, type from outbox.runs")
        assert (run["sync"], run["type"]) == (name, "incremental")
        await eventually(is_over(at.postroom, run["id"]), within_s=20)
        await settled(at, app_event("UNINSTALL", at=datetime.now(UTC) + timedelta(seconds=1)))
        stop.ask()
        await asyncio.wait_for(task, 40)
    assert await at.postroom.rows("select state, created, calls > 0 asked from outbox.runs") == [
        {"state": "done", "created": 1, "asked": True}
    ]
    assert await at.postroom.rows("select ghl_contact_id, location_id from crm.contacts") == [
        {"ghl_contact_id": contact["id"], "location_id": CORK}
    ]
    [standing] = await at.postroom.rows("select destination, off from outbox.syncs where name = $1", name)
    assert standing == {"destination": f"ghl:{CORK}", "off": "the app was uninstalled at GHL"}
    assert await at.postroom.value("select count(*) from outbox.schedules where sync = $1", name) == 2
    assert await at.postroom.value("select off from outbox.syncs where name = $1", locations.name_of(GHL_MISSED, CORK)) == standing["off"]


async def test_what_no_webhook_announced_of_a_connected_location_is_found_and_brought_by_that_locations_token(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ghl_missed, "DELAY", timedelta(0))
    only = {GHL_MISSED.name: GHL_MISSED}  # the pull of contacts would bring it first
    await at.connect(CORK)
    at.ghl.put_contact("c1", locationId=CORK, firstName="Ada")
    at.ghl.put_contact("d1", locationId=DUBLIN, firstName="Eve")
    async with at.services() as shared:
        await Schedule(shared, only).register()
        run_id = await asked(at.postroom, locations.name_of(GHL_MISSED, CORK))
        stop = Stop()
        task = asyncio.create_task(Dispatcher(at.postroom.dsn, shared, ROUTES, syncs=only).run(stop))
        await eventually(is_over(at.postroom, run_id), within_s=20)
        stop.ask()
        await asyncio.wait_for(task, 40)
    rows = await at.postroom.rows(
        "select kind, convert_from(payload, 'UTF8')::jsonb ->> 'locationId' location from outbox.events where source = 'ghl-found'"
    )
    assert [(row["kind"], row["location"]) for row in rows] == [("ghl.ContactUpdate", CORK)]


async def test_locations_that_were_connected_before_get_their_sync_when_a_dispatcher_begins_and_the_one_with_a_key_does_not(
    at: World,
) -> None:
    await at.connect(CORK)
    await at.connect(DEMO_LOCATION_ID)
    async with at.services(at.with_key()) as shared:
        await Schedule(shared, SYNCS).register()
        await Schedule(shared, SYNCS).register()
    names = await at.postroom.rows("select name from outbox.syncs where name like 'ghl-%' order by 1")
    assert [row["name"] for row in names] == ["ghl-contacts", f"ghl-contacts:{CORK}", "ghl-missed", f"ghl-missed:{CORK}"]
    assert await at.postroom.value("select count(*) from outbox.runs") == 1
