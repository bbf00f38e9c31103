"""Records of Phorest → what GHL is told. Pure: people, calendar events, the words of notes, tags.

Only what Phorest states is sent; a member that it leaves empty clears nothing at GHL.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, Final

from dispatcher.clients.answer import items, member, text
from dispatcher.clients.ghl_models import AppointmentStatus, AppointmentWrite, ContactWrite
from dispatcher.clients.phorest_pages import day, wall_time
from dispatcher.handlers.ghl_appointments import MARK

CLIENT_TAG: Final = "phorest"
STAFF_TAG: Final = "staff"
FLAGS: Final = ("archived", "banned", "deleted")
SHORTEST: Final = timedelta(minutes=5)

_EMAIL: Final = re.compile(r"[^\s@<>\"',;()]{1,100}@[^\s@<>\"',;()]+\.[^\s@<>\"',;().]{2,}")
_NOT_DIGIT: Final = re.compile(r"\D")
_SHOWN: Final = {
    "PAID": AppointmentStatus.SHOWED,
    "COMPLETED": AppointmentStatus.SHOWED,
    "NO_SHOW": AppointmentStatus.NOSHOW,
    "CANCELLED": AppointmentStatus.CANCELLED,
    "CHECKED_IN": AppointmentStatus.CONFIRMED,
    "ARRIVED": AppointmentStatus.CONFIRMED,
    "STARTED": AppointmentStatus.CONFIRMED,
}


def email_of(original: Mapping[str, Any]) -> str | None:
    """The address, when it can be one: GHL refuses the whole contact for one that cannot."""
    found = text(original.get("email")).strip()
    return found if len(found) <= 254 and _EMAIL.fullmatch(found) else None


def phone_of(original: Mapping[str, Any]) -> str | None:
    """The number in E.164: Phorest keeps digits with the country's code, without the plus. The telephone of a relative is not theirs."""
    for name in ("mobile", "landLine"):
        digits = _NOT_DIGIT.sub("", text(original.get(name))).lstrip("0")
        if digits.isascii() and 7 <= len(digits) <= 15:
            return f"+{digits}"
    return None


def missing(original: Mapping[str, Any]) -> str | None:
    """What a contact at GHL cannot do without; None: all is there."""
    return None if email_of(original) or phone_of(original) else "missing phone and email"


def person(original: Mapping[str, Any]) -> ContactWrite:
    """A client or a member of staff as a contact."""
    birth = day(original.get("birthDate"))
    address = original.get("address")
    said: dict[str, object] = {
        "first_name": text(original.get("firstName")).strip(),
        "last_name": text(original.get("lastName")).strip(),
        "email": email_of(original),
        "phone": phone_of(original),
        "address1": ", ".join(part for name in ("streetAddress1", "streetAddress2") if (part := text(member(address, name)).strip())),
        "city": text(member(address, "city")).strip(),
        "state": text(member(address, "state")).strip(),
        "postal_code": text(member(address, "postalCode")).strip(),
        "date_of_birth": birth if birth is not None and birth > date(1900, 1, 1) else None,
    }
    return ContactWrite(**{name: value for name, value in said.items() if value})


def source_of(kind: str, identifier: str) -> str:
    """What a contact that we made names as its source: people read it, and by it a contact whose answer was lost is found again."""
    return f"Phorest {kind} {identifier}"


def flag_tags(original: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The tags that say what became of a client: (those that hold, those that do not)."""
    holds = [f"phorest-{name}" for name in FLAGS if original.get(name) is True]
    return holds, [tag for name in FLAGS if (tag := f"phorest-{name}") not in holds]


def status_of(original: Mapping[str, Any]) -> AppointmentStatus:
    """Two axes that know nothing of each other: what was cancelled or deleted is cancelled, whatever its state says."""
    if original.get("deleted") is True or original.get("activationState") == "CANCELED":
        return AppointmentStatus.CANCELLED
    shown = _SHOWN.get(text(original.get("state")))
    if shown is None:
        shown = AppointmentStatus.CONFIRMED if original.get("confirmed") is True else AppointmentStatus.NEW
    return shown


def times_of(original: Mapping[str, Any], zone: tzinfo) -> tuple[datetime, datetime] | None:
    """Beginning and end; one that ends before it begins goes past midnight. None: Phorest does not say when it is."""
    on = day(original.get("appointmentDate"))
    starts_at = wall_time(on, original.get("startTime"), zone)
    ends_at = wall_time(on, original.get("endTime"), zone)
    if starts_at is None:
        return None
    if ends_at is not None and ends_at < starts_at and starts_at - ends_at < timedelta(days=1):
        ends_at += timedelta(days=1)
    return starts_at, max(ends_at or starts_at, starts_at + SHORTEST)


def mark_of(identifier: str) -> str:
    """Our mark in the description of an appointment."""
    return f"{MARK}phorest.{identifier}"


def event(identifier: str, original: Mapping[str, Any], *, calendar_id: str, times: tuple[datetime, datetime]) -> AppointmentWrite:
    """An appointment as a calendar event. GHL tells nobody of it: the salon's own messages have gone out already."""
    notes = text(original.get("notes")).strip()
    return AppointmentWrite(
        calendar_id=calendar_id,
        starts_at=times[0],
        ends_at=times[1],
        title=text(original.get("serviceName")).strip() or "Appointment",
        status=status_of(original),
        description=f"{notes}\n\n{mark_of(identifier)}".lstrip(),
        to_notify=False,
        ignore_date_range=True,
        ignore_free_slot_validation=True,
    )


def visit_sentence(original: Mapping[str, Any]) -> str:
    """One appointment in words."""
    at = " ".join(part for part in (text(original.get("appointmentDate")), text(original.get("startTime"))[:5]) if part)
    return f"{text(original.get('serviceName')).strip() or 'Appointment'}{', ' + at if at else ''}"


def checkin_note(original: Mapping[str, Any]) -> str:
    """What a check-in leaves at the contact."""
    return f"Checked in: {visit_sentence(original)}"


def booking_note(original: Mapping[str, Any]) -> str:
    """What a booking leaves at the contact: one line, and one for each of its appointments."""
    visits = [visit for visit in items(original.get("appointments")) if isinstance(visit, dict)]
    stand = [visit for visit in visits if status_of(visit) is not AppointmentStatus.CANCELLED]
    if not stand:
        return "\n".join(["Booking cancelled", *(f"- {visit_sentence(visit)}" for visit in visits)])
    prices = [price for visit in stand if isinstance(price := visit.get("price"), int | float) and not isinstance(price, bool)]
    total = f", {sum(prices):.2f} in all" if prices else ""
    what = "1 appointment" if len(stand) == 1 else f"{len(stand)} appointments"
    return "\n".join([f"Booking: {what}{total}", *(f"- {visit_sentence(visit)}" for visit in stand)])


def tag_name(original: Mapping[str, Any]) -> str | None:
    """A product as a tag; None: it has no name, or is offered no more."""
    name = " ".join(text(original.get("name")).split()).lower()
    return name[:200] if name and original.get("archived") is not True else None
