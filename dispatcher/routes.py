"""The literal table: which kind of event goes to which handler, with its deadline, retries, destination and coalescing rule."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dispatcher.context import Context
from dispatcher.handlers import (
    alerts,
    appointments,
    connection_tests,
    ghl_appointments,
    ghl_contacts,
    ghl_install,
    google_consent,
    notion_pages,
    phorest_extras,
    phorest_importing,
    phorest_notes,
    phorest_people,
    phorest_undoing,
    phorest_visits,
    resync,
    sync_runs,
)
from dispatcher.outcome import Outcome, Settled, Skipped
from dispatcher.policy.retry import RetryPolicy
from dispatcher.syncs.base import Sync
from dispatcher.syncs.table import SYNCS
from outbox import kinds
from outbox.event import Claimed
from outbox.store.routes import Told

Handler: TypeAlias = Callable[[Claimed, Context], Awaitable[Outcome | Settled]]


@dataclass(frozen=True, slots=True)
class Route:
    """What becomes of one kind of event.

    `destination` names whom the handler calls, so that its events wait while that one is down or paused.
    Events of one lane whose routes share a `coalesce` word all mean the same ("re-read this contact"): the first covers
    those that wait right behind it.
    """

    handler: Handler
    destination: str | None = None
    deadline_s: float = 120
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    coalesce: str | None = None


async def no_route(event: Claimed, ctx: Context) -> Outcome:
    """Nobody here knows this kind: settled, so that a route added later can replay it."""
    return Skipped(f"no route for {event.kind}")


def sync_routes(syncs: Mapping[str, Sync]) -> dict[str, Route]:
    """Runs of a sync are events of a kind of their own: `sync.<name>`."""
    return {f"sync.{sync.name}": Route(sync_runs.handler(sync), sync.destination, sync.deadline_s) for sync in syncs.values()}


UNROUTED = Route(no_route)
CONTACT = Route(ghl_contacts.refresh_contact, destination="ghl", coalesce="ghl.contact")
APPOINTMENT = Route(ghl_appointments.refresh_appointment, destination="ghl", coalesce="ghl.appointment")
PAGE = Route(notion_pages.refresh_client, destination="notion", coalesce="notion.page")

ROUTES: Mapping[str, Route] = {
    "ghl.ContactCreate": CONTACT,
    "ghl.ContactUpdate": CONTACT,
    "ghl.ContactTagUpdate": CONTACT,
    "ghl.ContactDndUpdate": CONTACT,
    "ghl.ContactDelete": CONTACT,
    "ghl-workflow.contact": CONTACT,
    "ghl.AppointmentCreate": APPOINTMENT,
    "ghl.AppointmentUpdate": APPOINTMENT,
    "ghl.AppointmentDelete": Route(ghl_appointments.refresh_appointment, destination="ghl"),  # covered by no other: it is the last word
    "ghl.INSTALL": Route(ghl_install.installed),
    "ghl.UNINSTALL": Route(ghl_install.uninstalled),
    "ghl.oauth.code": Route(ghl_install.consented, destination="ghl-oauth"),
    "ghl.oauth.company": Route(ghl_install.company_connected, destination="ghl-oauth"),
    "ghl.oauth.location": Route(ghl_install.location_wanted, destination="ghl-oauth"),
    "google.oauth.code": Route(google_consent.consented, destination="google-oauth"),
    "notion.page.created": PAGE,
    "notion.page.content_updated": PAGE,
    "notion.page.properties_updated": PAGE,
    "notion.page.moved": PAGE,
    "notion.page.deleted": PAGE,
    "notion.page.undeleted": PAGE,
    "phorest.client.import": Route(phorest_importing.import_client, destination="phorest", coalesce="phorest.client.import"),
    "phorest.appointment.import": Route(phorest_importing.import_appointment, destination="phorest", coalesce="phorest.appointment.import"),
    "phorest.client": Route(phorest_people.send_client, destination="ghl", coalesce="phorest.client"),
    "phorest.appointment": Route(phorest_visits.send_appointment, destination="ghl", coalesce="phorest.appointment"),
    "phorest.booking": Route(phorest_notes.send_booking, destination="ghl", coalesce="phorest.booking"),
    "phorest.checkin": Route(phorest_notes.send_checkin, destination="ghl", coalesce="phorest.checkin"),
    "phorest.loyalty": Route(phorest_extras.send_loyalty, destination="ghl", coalesce="phorest.loyalty"),
    "phorest.staff": Route(phorest_people.send_staff, destination="ghl", coalesce="phorest.staff"),
    "phorest.product": Route(phorest_extras.send_product, destination="ghl", coalesce="phorest.product"),
    "phorest.undo": Route(phorest_undoing.undo, destination="ghl"),
    "alert.raised": Route(alerts.told_everywhere),
    "alert.cleared": Route(alerts.told_everywhere),
    "alert.deliver": Route(alerts.told, destination="alert"),
    "appointment.created": Route(appointments.created, destination="ghl"),
    "appointment.updated": Route(appointments.updated, destination="ghl"),
    "appointment.confirmed": Route(appointments.confirmed, destination="ghl"),
    "appointment.cancelled": Route(appointments.cancelled, destination="ghl"),
    "appointment.completed": Route(appointments.completed, destination="ghl"),
    f"{kinds.TEST}ghl": Route(connection_tests.test_ghl, destination="ghl"),
    f"{kinds.TEST}google": Route(connection_tests.test_google, destination="google"),
    f"{kinds.TEST}notion": Route(connection_tests.test_notion, destination="notion"),
    f"{kinds.TEST}phorest": Route(connection_tests.test_phorest, destination="phorest"),
    kinds.RESYNC: Route(resync.resync, destination="ghl"),
    **sync_routes(SYNCS),
}


def told(routes: Mapping[str, Route], lacks: Callable[[str | None], str | None] = lambda _: None) -> list[Told]:
    """The table as people read it, where no handler can be looked at. `lacks`: what has to be set before a destination can be called."""
    return [
        Told(
            kind=kind,
            handler=f"{route.handler.__module__.rpartition('.')[2]}.{getattr(route.handler, '__name__', 'handler')}",
            destination=route.destination,
            deadline_s=route.deadline_s,
            retries=route.retry.describe(),
            schedule_s=route.retry.schedule_s(),
            covers=route.coalesce,
            lacks=lacks(route.destination),
        )
        for kind, route in sorted(routes.items())
    ]
