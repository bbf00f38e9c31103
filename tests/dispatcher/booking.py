"""An app's appointments and GHL's calendar, for tests: what is told, and what is booked over there."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from outbox import Event
from outbox.store import appointments
from outbox.testing import Postroom
from simulators.ghl import GhlSimulator
from simulators.shapes import JsonObject
from tests.dispatcher.handling import fate

Ghl = tuple[GhlSimulator, str]
STARTS, ENDS = "2027-01-05T10:00:00+00:00", "2027-01-05T10:45:00+00:00"
BOOK = "/calendars/events/appointments"
ONE = f"{BOOK}/*"
TOLD: dict[str, Any] = {"status": "scheduled", "contact_id": "c1", "title": "Cut", "starts_at": STARTS, "ends_at": ENDS}


def change(word: str, number: str = "a1", *, previous: Mapping[str, object] | None = None, **now: object) -> Event:
    """`appointment.<word>` of an app's own appointment, with the state before it."""
    status = word if word in ("confirmed", "cancelled", "completed") else "scheduled"
    told = {**TOLD, "id": number, "status": status, **now}
    before = None if previous is None else {**TOLD, "id": number, **previous}
    return Event(f"appointment.{word}", {"appointment": told, "previous": before}, lane=f"appointment:{number}")


async def made_here(postroom: Postroom, **fields: Any) -> str:
    """A row of crm.appointments, as the API makes it."""
    told = {**TOLD, "starts_at": datetime.fromisoformat(STARTS), "ends_at": datetime.fromisoformat(ENDS), "notes": None, **fields}
    async with postroom.pool.acquire() as connection:
        return str((await appointments.create(connection, **told))["id"])


def booked(simulator: GhlSimulator) -> list[JsonObject]:
    return list(simulator.store.appointments.values())


def statuses(simulator: GhlSimulator) -> list[str]:
    return [one["appointmentStatus"] for one in booked(simulator)]


async def said(postroom: Postroom, event_id: int) -> str | None:
    """What the timeline says of the calendar."""
    found = await fate(postroom, event_id)
    assert found.state == "done", found
    word: str | None = json.loads(found.why or "").get("calendar")
    return word
