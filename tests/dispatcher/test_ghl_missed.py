"""What changed in GHL without a webhook is found, staged as one would have been, and counted; what was announced or is ours is not."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.routes import sync_routes
from dispatcher.syncs import ghl_missed
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS
from dispatcher.syncs.ghl_missed import GHL_MISSED
from dispatcher.syncs.run import Run
from outbox.cadence import Every
from outbox.store import found as store
from outbox.store import schedules, syncs
from outbox.store.found import Seen
from outbox.store.schedules import CatchUp
from outbox.testing import Drain, Postroom
from simulators import samples
from simulators.shapes import JsonObject
from tests.dispatcher.arriving import ghl_webhook
from tests.dispatcher.booking import Ghl, booked, change
from tests.dispatcher.running import stage_all
from tests.dispatcher.syncing import asked, carried_out, register, run_row


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks need no time here, and a few contacts are several pages."""
    monkeypatch.setattr(ghl_missed, "DELAY", timedelta(0))
    monkeypatch.setattr(ghl_missed, "PAGE", 2)


def soon(days: int = 3) -> dict[str, str]:
    """When an appointment is."""
    at = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    return {"startTime": at.isoformat(), "endTime": (at + timedelta(minutes=30)).isoformat()}


async def ran(postroom: Postroom, settings: DispatcherSettings, **more: Any) -> dict[str, Any]:
    await register(postroom, GHL_MISSED, settings=settings)
    run_id = await asked(postroom, GHL_MISSED.name, **more)
    await carried_out(postroom, GHL_MISSED, settings=settings, until="state = 'done'")
    return await run_row(postroom, run_id)


async def pulled(postroom: Postroom, name: str) -> None:
    """The first pull of contacts has ended."""
    await postroom.pool.execute("update outbox.syncs set succeeded_run = 1, succeeded_at = now() where name = $1", name)


async def looked(postroom: Postroom, drain: Drain, settings: DispatcherSettings) -> dict[str, Any]:
    """A run and what it found, to their ends."""
    await register(postroom, GHL_CONTACTS, GHL_MISSED, settings=settings)
    await pulled(postroom, GHL_CONTACTS.name)
    run_id = await asked(postroom, GHL_MISSED.name)
    await drain(settings=settings)
    return await run_row(postroom, run_id)


def missed(row: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(missed, changed) by what it is."""
    return {what: (one["missed"], one["changed"]) for what, one in json.loads(row["missed"]).items()}


async def found(postroom: Postroom) -> list[tuple[str, str]]:
    rows = await postroom.rows("select kind, lane from outbox.events where source = 'ghl-found' order by id")
    return [(row["kind"], row["lane"]) for row in rows]


async def announced(postroom: Postroom, event_type: str, document: JsonObject) -> int:
    make = samples.ghl_contact_event if event_type.startswith("Contact") else samples.ghl_appointment_event
    return await ghl_webhook(postroom, make(event_type, document, app_id=samples.DEMO_APP_ID))


async def test_what_no_webhook_announced_is_found_applied_and_counted_and_found_no_more(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_calendar()
    for n in range(4):
        await announced(postroom, "ContactCreate", simulator.put_contact(f"c{n}", firstName=f"Name {n}"))
    await announced(postroom, "AppointmentCreate", simulator.put_appointment("g1", contactId="c1", **soon()))
    await drain(settings=simulated)
    simulator.put_contact("c2", firstName="Renamed")
    simulator.put_contact("c9", firstName="New")
    simulator.put_appointment("g1", title="Moved", **soon(5))
    simulator.put_appointment("g2", contactId="c2", **soon(30))
    row = await looked(postroom, drain, simulated)
    assert (row["state"], missed(row)) == ("done", {"contacts": (2, 5), "appointments": (2, 2)})
    assert await found(postroom) == [
        ("ghl.ContactUpdate", "ghl:contact:c2"),
        ("ghl.ContactUpdate", "ghl:contact:c9"),
        ("ghl.AppointmentUpdate", "ghl:appointment:g1"),
        ("ghl.AppointmentUpdate", "ghl:appointment:g2"),
    ]
    assert await postroom.value("select array_agg(first_name order by ghl_contact_id) from crm.contacts where first_name !~ 'Name'") == [
        *("Renamed", "New")
    ]
    assert await postroom.value("select title from crm.appointments where ghl_appointment_id = 'g1'") == "Moved"
    assert await postroom.value("select count(*) from crm.appointments") == 2
    again = await looked(postroom, drain, simulated)
    assert missed(again) == {"contacts": (0, 5), "appointments": (0, 2)}
    assert len(await found(postroom)) == 4


async def test_our_own_writes_are_not_reported_as_missed(postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl) -> None:
    ghl[0].put_calendar()
    at = soon()
    await stage_all(postroom, change("created", starts_at=at["startTime"], ends_at=at["endTime"]))
    await drain(settings=booking)
    assert len(booked(ghl[0])) == 1
    row = await looked(postroom, drain, booking)
    assert missed(row) == {"contacts": (0, 1), "appointments": (0, 1)}
    assert await found(postroom) == []


async def test_what_was_announced_and_still_waits_was_not_missed(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    simulator.put_calendar()
    await announced(postroom, "ContactCreate", simulator.put_contact("c1"))
    await announced(postroom, "AppointmentCreate", simulator.put_appointment("g1", **soon()))
    async with postroom.pool.acquire() as connection:
        contacts = await store.contacts(connection, [_seen("c1"), _seen("c2")])
        appointments = await store.appointments(connection, [_seen("g1"), _seen("g2")])
    assert contacts == {"c1": "waits", "c2": "missed"}
    assert appointments == {"g1": "waits", "g2": "missed"}


def _seen(number: str) -> Seen:
    return Seen(number, datetime.now(UTC), b"x")


async def test_an_appointment_that_vanished_without_a_word_is_cancelled_here(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_calendar()
    await announced(postroom, "AppointmentCreate", simulator.put_appointment("g1", **soon()))
    await drain(settings=simulated)
    simulator.remove_appointment("g1")
    assert missed(await looked(postroom, drain, simulated))["appointments"] == (1, 1)
    assert await postroom.value("select status from crm.appointments") == "cancelled"
    assert missed(await looked(postroom, drain, simulated))["appointments"] == (0, 0)


async def test_what_changed_just_now_is_left_to_its_webhook(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ghl_missed, "DELAY", timedelta(minutes=5))
    ghl[0].put_calendar()
    ghl[0].put_contact("c1")
    ghl[0].put_appointment("g1", **soon())
    row = await ran(postroom, simulated)
    assert (missed(row), await found(postroom)) == ({"appointments": (0, 0)}, [])
    assert await postroom.value("select watermark from outbox.syncs where name = 'ghl-missed'") == row["until"] - timedelta(minutes=5)


async def test_a_rehearsal_counts_and_stages_nothing(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    ghl[0].put_contact("c1")
    row = await ran(postroom, simulated, dry_run=True)
    assert missed(row) == {"contacts": (1, 1)}
    assert await found(postroom) == []


async def test_a_run_that_fails_between_two_pages_stages_and_counts_nothing_twice(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_calendar()
    for n in range(5):
        simulator.put_contact(f"c{n}", firstName=f"Name {n}")
    simulator.put_appointment("g1", **soon())
    simulator.faults.add("delay", "/contacts/search", times=1, delay_s=0)
    simulator.faults.add("answer", "/contacts/search", status=500, body={})
    simulator.faults.add("answer", "/calendars/events", status=500, body={})
    row = await ran(postroom, simulated)
    assert missed(row) == {"contacts": (5, 5), "appointments": (1, 1)}
    assert len(await found(postroom)) == 6
    outcomes = await postroom.value(
        "select string_agg(outcome::text, '' order by attempt) from outbox.attempts where event_id = $1", row["id"]
    )
    assert outcomes == "rrd"


@pytest.mark.parametrize("account", ["", ":Cork"])
async def test_nothing_counts_as_missed_before_the_first_pull_of_contacts_has_ended(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, account: str
) -> None:
    pull, looks = f"ghl-contacts{account}", list[str]()

    async def look(run: Run) -> None:
        looks.append(run.sync)

    routes = sync_routes({GHL_MISSED.name: replace(GHL_MISSED, run=look)})
    for name in (pull, f"ghl-missed{account}"):
        await syncs.register(postroom.pool, name, destination=None, types=["incremental"], off=None)
    await schedules.put(postroom.pool, pull, "incremental", Every(3600), catch_up=CatchUp.ONE, now=datetime.now(UTC))
    run_id = await asked(postroom, f"ghl-missed{account}")
    await drain(routes, settings=simulated)
    row = await run_row(postroom, run_id)
    assert (looks, row["state"], row["reason"]) == ([], "waiting", f"{pull} has to succeed once before this means anything")
    await pulled(postroom, pull)
    await drain(routes, settings=simulated, hurry=True)
    assert (looks, (await run_row(postroom, run_id))["state"]) == ([f"ghl-missed{account}"], "done")
