"""The table of routes: every kind that Postroom promises to handle has one, and what shares a coalescing word shares its handler."""

import inspect
from collections import defaultdict

import pytest

from dispatcher.clients.http import Timeouts
from dispatcher.config import DispatcherSettings
from dispatcher.context import Services
from dispatcher.handlers import appointments, ghl_appointments, ghl_contacts, notion_pages
from dispatcher.outcome import Done
from dispatcher.policy.retry import DAY_S
from dispatcher.routes import ROUTES, UNROUTED, Route
from outbox import Event
from outbox.kinds import APPOINTMENT_KINDS
from outbox.store import events
from outbox.testing import Drain, Postroom
from tests.dispatcher.handling import fate, returning
from tests.dispatcher.running import stage_all

CONTACT_TYPES = ("ContactCreate", "ContactUpdate", "ContactTagUpdate", "ContactDndUpdate", "ContactDelete")
APPOINTMENT_TYPES = ("AppointmentCreate", "AppointmentUpdate", "AppointmentDelete")
PAGE_TYPES = ("created", "content_updated", "properties_updated", "moved", "deleted", "undeleted")


@pytest.mark.parametrize("kind", APPOINTMENT_KINDS)
def test_each_appointment_kind_goes_to_the_handler_of_its_name(kind: str) -> None:
    assert ROUTES[kind].handler is getattr(appointments, kind.removeprefix("appointment."))


@pytest.mark.parametrize("kind", [*(f"ghl.{name}" for name in CONTACT_TYPES), "ghl-workflow.contact"])
def test_each_contact_event_refreshes_the_contact(kind: str) -> None:
    assert (ROUTES[kind].handler, ROUTES[kind].destination) == (ghl_contacts.refresh_contact, "ghl")


@pytest.mark.parametrize("name", APPOINTMENT_TYPES)
def test_each_event_of_a_calendar_refreshes_the_appointment_and_a_deletion_is_covered_by_no_other(name: str) -> None:
    route = ROUTES[f"ghl.{name}"]
    assert (route.handler, route.destination) == (ghl_appointments.refresh_appointment, "ghl")
    assert route.coalesce == (None if name == "AppointmentDelete" else "ghl.appointment")


@pytest.mark.parametrize("kind", [f"notion.page.{name}" for name in PAGE_TYPES])
def test_each_page_event_refreshes_the_client(kind: str) -> None:
    assert (ROUTES[kind].handler, ROUTES[kind].destination) == (notion_pages.refresh_client, "notion")


def test_what_shares_a_coalescing_word_shares_handler_and_destination() -> None:
    """The first of them acts for all."""
    words = defaultdict(set)
    for route in ROUTES.values():
        if route.coalesce is not None:
            words[route.coalesce].add((route.handler, route.destination))
    assert {word for word in words if not word.startswith("phorest.")} == {"ghl.contact", "ghl.appointment", "notion.page"}
    assert all(len(meant) == 1 for meant in words.values())


def test_appointments_are_never_coalesced_because_each_one_tells_something() -> None:
    assert {ROUTES[kind].coalesce for kind in APPOINTMENT_KINDS} == {None}


def test_every_route_waits_longer_than_its_longest_call_and_retries_for_about_a_day() -> None:
    for route in ROUTES.values():
        assert route.deadline_s > Timeouts().total_s
        assert 0.8 * DAY_S < sum(route.retry.schedule_s()) < 1.5 * DAY_S


def test_every_destination_of_a_route_is_held_when_it_is_not_set_up() -> None:
    bare = Services(None, DispatcherSettings())  # type: ignore[arg-type] # nothing here asks the database
    calling = [route.destination for route in ROUTES.values() if route.destination is not None]
    assert {"ghl", "notion", "ghl-oauth"} <= set(calling)
    assert not any(bare.has(destination) for destination in calling)
    assert bare.has(UNROUTED.destination)


def test_installations_are_written_down_without_calling_anybody() -> None:
    """Else an outage of GHL, or a location that waits for its consent, would hold back what ends the wait."""
    assert {ROUTES[kind].destination for kind in ("ghl.INSTALL", "ghl.UNINSTALL")} == {None}
    assert {ROUTES[f"ghl.oauth.{word}"].destination for word in ("code", "company", "location")} == {"ghl-oauth"}


def test_every_handler_says_in_a_sentence_what_it_does() -> None:
    for route in ROUTES.values():
        assert (inspect.getdoc(route.handler) or "").endswith(".")


async def test_an_unknown_kind_is_kept_so_that_a_route_added_later_can_replay_it(postroom: Postroom, drain: Drain) -> None:
    [event_id] = await stage_all(postroom, Event("ghl.SomethingNew", {"a": 1}, lane="ghl:something:1", source="ghl"))
    await drain()
    found = await fate(postroom, event_id)
    assert (found.state, found.why) == ("skipped", "no route for ghl.SomethingNew")
    async with postroom.pool.acquire() as connection:
        assert await events.replay(connection, event_id, by="ana")
    await drain({**ROUTES, "ghl.SomethingNew": Route(returning(Done()))})
    assert (await fate(postroom, event_id)).state == "done"
