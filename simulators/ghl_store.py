"""What the simulated GHL knows: contacts, notes, tasks, calendars, appointments, opportunities, custom fields. In memory.

Owns how documents are stored and normalised (phones, tags, custom fields, duplicates). Who may ask, and what the answer
looks like, is decided elsewhere.
"""

import random
import re
from collections.abc import Sequence
from datetime import timedelta

from simulators.shapes import Clock, JsonObject, ghl_id, iso_ms, parse_instant, without_nones

# Duplicates are looked for in this order; the first field that finds somebody wins, the second is then ignored.
DUPLICATE_FIELDS = ("email", "phone")
DEFAULT_CUSTOM_FIELDS = {"appointment_status": "Appointment status", "next_appointment_date": "Next appointment date"}
_DEFAULT_VISIT = timedelta(minutes=30)


class GhlStore:
    """Documents by id, as the API shows them. `notes` and `tasks` are kept per contact."""

    def __init__(self, *, location_id: str, clock: Clock, rng: random.Random) -> None:
        self.clock = clock
        self._rng = rng
        self.contacts: dict[str, JsonObject] = {}
        self.notes: dict[str, dict[str, JsonObject]] = {}
        self.tasks: dict[str, dict[str, JsonObject]] = {}
        self.appointments: dict[str, JsonObject] = {}
        self.calendars: dict[str, JsonObject] = {}
        self.opportunities: dict[str, JsonObject] = {}
        self.pipelines: list[JsonObject] = []
        self.tags: dict[str, JsonObject] = {}
        self.custom_fields: list[JsonObject] = []
        self._known_as: dict[tuple[str, str, str], dict[str, None]] = {}  # (location, field, value) -> contact ids, oldest first
        self.add_location(location_id)

    def add_location(self, location_id: str) -> None:
        """What a location has from the beginning: its custom fields."""
        for key, name in DEFAULT_CUSTOM_FIELDS.items():
            self.add_custom_field(key, name, location_id=location_id)

    def new_id(self) -> str:
        return ghl_id(self._rng)

    def now(self) -> str:
        return iso_ms(self.clock())

    def add_custom_field(self, key: str, name: str, *, location_id: str, data_type: str = "TEXT") -> JsonObject:
        field: JsonObject = {
            "id": self.new_id(),
            "name": name,
            "fieldKey": f"contact.{key}",
            "placeholder": "",
            "dataType": data_type,
            "position": len(self.custom_fields) * 50,
            "picklistOptions": [],
            "isAllowedCustomOption": False,
            "isMultiFileAllowed": False,
            "maxFileLimit": 1,
            "locationId": location_id,
            "model": "contact",
        }
        self.custom_fields.append(field)
        return field

    def write_contact(self, contact_id: str | None, fields: JsonObject, *, location_id: str) -> tuple[JsonObject, bool]:
        """Create or change a contact; None and "" clear a field. Returns it and whether anything but `dateUpdated` changed."""
        contact_id = contact_id or self.new_id()
        before = self.contacts.get(contact_id)
        contact = dict(before) if before else self._blank_contact(contact_id, location_id)
        fields = dict(fields)
        if "customFields" in fields:
            contact["customFields"] = self._merged_custom_fields(
                contact["customFields"], fields.pop("customFields") or [], location_id=contact["locationId"]
            )
        if "tags" in fields:
            contact["tags"] = normalised_tags(fields.pop("tags") or [])
        if fields.get("phone"):
            fields["phone"] = normalised_phone(fields["phone"])
        if fields.get("dateOfBirth"):
            fields["dateOfBirth"] = normalised_birthday(fields["dateOfBirth"])
        if fields.get("name") and not ("firstName" in fields or "lastName" in fields):
            fields["firstName"], _, fields["lastName"] = fields["name"].partition(" ")
        contact = {name: value for name, value in {**contact, **fields}.items() if value not in (None, "")}
        _derive(contact)
        is_changed = contact != before
        contact["dateUpdated"] = self.now()
        self._forget(before)
        self.contacts[contact_id] = contact
        for name in _names(contact):
            self._known_as.setdefault(name, {})[contact_id] = None
        return contact, is_changed

    def remove_contact(self, contact_id: str) -> JsonObject | None:
        """The contact as it was, its notes and tasks gone with it."""
        self.notes.pop(contact_id, None)
        self.tasks.pop(contact_id, None)
        contact = self.contacts.pop(contact_id, None)
        self._forget(contact)
        return contact

    def duplicate_of(self, fields: JsonObject, *, location_id: str) -> tuple[JsonObject, str] | None:
        """The contact that the location takes for the same person, and the field by which it does."""
        for name in _names({**fields, "locationId": location_id}):
            for contact_id in self._known_as.get(name, {}):
                return self.contacts[contact_id], name[1]
        return None

    def write_appointment(self, appointment_id: str | None, fields: JsonObject) -> JsonObject:
        """Create or change an appointment; without an end it lasts half an hour."""
        appointment_id = appointment_id or self.new_id()
        appointment = self.appointments.get(appointment_id) or {
            "id": appointment_id,
            "title": "",
            "groupId": "",
            "appointmentStatus": "confirmed",
            "assignedUserId": "",
            "users": [],
            "isRecurring": False,
            "dateAdded": self.now(),
        }
        appointment = {**appointment, **without_nones(fields)}
        if "endTime" not in appointment and (start := parse_instant(appointment.get("startTime", ""))):
            appointment["endTime"] = (start + _DEFAULT_VISIT).isoformat()
        appointment["dateUpdated"] = self.now()
        self.appointments[appointment_id] = appointment
        return appointment

    def _forget(self, contact: JsonObject | None) -> None:
        for name in _names(contact or {}):
            self._known_as.get(name, {}).pop(str(contact and contact["id"]), None)

    def _blank_contact(self, contact_id: str, location_id: str) -> JsonObject:
        blank = {"id": contact_id, "locationId": location_id, "dnd": False, "type": "lead", "tags": [], "customFields": []}
        return {**blank, "dateAdded": self.now(), "dateUpdated": self.now()}

    def _merged_custom_fields(self, known: Sequence[JsonObject], written: Sequence[JsonObject], *, location_id: str) -> list[JsonObject]:
        """Fields are written by id or key and read by id. What names no field of the location is dropped, as GHL does."""
        by_name = {
            name: field["id"]
            for field in self.custom_fields
            if field["locationId"] == location_id
            for name in (field["id"], field["fieldKey"], field["fieldKey"].partition(".")[2])
        }
        merged = {field["id"]: field["value"] for field in known}
        for field in written:
            field_id = by_name.get(str(field.get("id") or field.get("key")))
            if field_id is not None:
                merged[field_id] = field.get("field_value", field.get("fieldValue", field.get("value")))
        return [{"id": field_id, "value": value} for field_id, value in merged.items() if value not in (None, "")]


def _names(contact: JsonObject) -> list[tuple[str, str, str]]:
    """What a contact is recognised by."""
    values = {"email": str(contact.get("email") or "").lower(), "phone": normalised_phone(contact.get("phone") or "")}
    return [(contact["locationId"], field, values[field]) for field in DUPLICATE_FIELDS if values[field]]


def normalised_phone(phone: str) -> str:
    return re.sub(r"[^\d+]", "", phone)


def normalised_tags(tags: Sequence[str]) -> list[str]:
    """Lower case, once each, in order."""
    return list(dict.fromkeys(tag.strip().lower() for tag in tags if tag.strip()))


def normalised_birthday(text: str) -> str:
    """`YYYY-MM-DD` from the other accepted spellings (month before day where the year is last)."""
    parts = re.split(r"[-/._]", text)
    return "-".join(parts if len(parts[0]) == 4 else (parts[2], parts[0], parts[1]))


def _derive(contact: JsonObject) -> None:
    """The fields that GHL keeps beside the given ones."""
    first, last = contact.get("firstName", ""), contact.get("lastName", "")
    derived = {
        "name": f"{first} {last}".strip(),
        "firstNameLowerCase": first.lower(),
        "lastNameLowerCase": last.lower(),
        "fullNameLowerCase": f"{first} {last}".strip().lower(),
        "emailLowerCase": contact.get("email", "").lower(),
    }
    for name, value in derived.items():
        if value:
            contact[name] = value
        else:
            contact.pop(name, None)
