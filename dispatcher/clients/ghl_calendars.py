"""Calendars and appointments of one GHL location. Every method is one call.

GHL has no list of what changed since a time: who reconciles reads a window of each calendar and compares dateUpdated.
"""

from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from dispatcher.clients.answer import items, member
from dispatcher.clients.ghl_calls import CALENDARS_VERSION, GhlCalls, epoch_ms
from dispatcher.clients.ghl_models import AppointmentWrite, GhlAppointment, GhlCalendar, instant
from dispatcher.errors import Failed

LONGEST_FREE_SLOTS: Final = timedelta(days=31)


class CalendarCalls(GhlCalls):
    """Part of GhlClient."""

    async def list_calendars(self) -> tuple[GhlCalendar, ...]:
        """The calendars of this location, drafts too: they may hold appointments from before."""
        answer = await self._call("GET", CALENDARS_VERSION, "calendars", params={"locationId": self.location_id}, end="/")
        return self._read_all(GhlCalendar, answer, "calendars")

    async def list_appointments(self, calendar_id: str, since: datetime, until: datetime) -> tuple[GhlAppointment, ...]:
        """What stands in a calendar between two times, cancelled ones too. GHL describes no paging: keep the window to some weeks."""
        window = {"startTime": str(epoch_ms(since)), "endTime": str(epoch_ms(until))}
        answer = await self._call(
            "GET", CALENDARS_VERSION, "calendars", "events", params={"locationId": self.location_id, "calendarId": calendar_id, **window}
        )
        return self._read_all(GhlAppointment, answer, "events")

    async def free_slots(self, calendar_id: str, since: datetime, until: datetime) -> tuple[datetime, ...]:
        """When something can be booked, oldest first. ValueError for a window over 31 days, which GHL refuses."""
        if until - since > LONGEST_FREE_SLOTS:
            raise ValueError("GHL lists the free slots of at most 31 days at once")
        window = {"startDate": epoch_ms(since), "endDate": epoch_ms(until)}
        answer = await self._call("GET", CALENDARS_VERSION, "calendars", calendar_id, "free-slots", params=window)
        if not isinstance(answer, dict):
            raise Failed(self._http.destination, "the answer has no days")
        # Each day stands under its date, and beside them a traceId.
        slots = chain.from_iterable(items(member(day, "slots")) for day in answer.values())
        return tuple(sorted(at for slot in slots if (at := instant(slot)) is not None))

    async def get_appointment(self, appointment_id: str) -> GhlAppointment:
        """The appointment as it is now; Gone when it was deleted."""
        answer = await self._call("GET", CALENDARS_VERSION, "calendars", "events", "appointments", appointment_id)
        return self._read(GhlAppointment, member(answer, "event"))

    async def create_appointment(self, contact_id: str, write: AppointmentWrite) -> GhlAppointment:
        """Books an appointment; calendar_id and starts_at are needed. Not idempotent: look for the marker in list_appointments()."""
        body = {**write.body(), "contactId": contact_id, "locationId": self.location_id}
        answer = await self._call("POST", CALENDARS_VERSION, "calendars", "events", "appointments", json=body)
        return self._read(GhlAppointment, answer)

    async def update_appointment(self, appointment_id: str, write: AppointmentWrite) -> GhlAppointment:
        """Sets the given fields; cancelling is the status `cancelled`. May be repeated."""
        answer = await self._call("PUT", CALENDARS_VERSION, "calendars", "events", "appointments", appointment_id, json=write.body())
        return self._read(GhlAppointment, answer)

    async def delete_appointment(self, appointment_id: str) -> None:
        """Removes it for good, where a cancellation keeps it; Gone when it was not there."""
        await self._call("DELETE", CALENDARS_VERSION, "calendars", "events", appointment_id, json={})
