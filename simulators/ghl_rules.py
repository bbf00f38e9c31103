"""GHL's rules for a request: refusals in its words, who may call, which version, which properties a body may have.

Pure. Sources: the property lists of the official OpenAPI files, and refusals as measured by users of the live API.
Confirmed by neither, so plausible only: the text for broken JSON, and the refusals for unknown notes, tasks and appointments.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from simulators.shapes import JsonObject, parse_instant

VERSION_OF_CALENDARS = "2021-04-15"
VERSION_OF_THE_REST = "2021-07-28"
_NEWER_VERSIONS = {"v3", "2023-02-21"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ERROR_NAMES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 422: "Unprocessable Entity"}
_ERROR_NAMES |= {
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Refusal(Exception):
    """An answer that is not the wanted one. `more` joins the body (`meta` of a duplicate)."""

    def __init__(self, status: int, message: str | list[str], *, more: JsonObject | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: JsonObject = {"statusCode": status, "message": message, "error": error_name(status), **(more or {})}


def error_name(status: int) -> str:
    return _ERROR_NAMES.get(status, "Error")


class Scope(StrEnum):
    CONTACTS_READ = "contacts.readonly"
    CONTACTS_WRITE = "contacts.write"
    FIELDS_READ = "locations/customFields.readonly"
    CALENDARS_READ = "calendars.readonly"
    EVENTS_READ = "calendars/events.readonly"
    EVENTS_WRITE = "calendars/events.write"
    OPPORTUNITIES_READ = "opportunities.readonly"
    TAGS_READ = "locations/tags.readonly"
    TAGS_WRITE = "locations/tags.write"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one token may do. `is_agency`: a company's token, which cannot read a location's data."""

    locations: frozenset[str]
    scopes: frozenset[Scope] = frozenset(Scope)
    is_agency: bool = False

    @property
    def resource(self) -> str:
        """Requests are counted per location, however many tokens it has."""
        return "+".join(sorted(self.locations))

    def check(self, scope: Scope) -> None:
        if self.is_agency:
            raise Refusal(401, "Token's user type mismatch!")
        if scope not in self.scopes:
            raise Refusal(401, "The token is not authorized for this scope.")

    def check_location(self, location_id: str) -> None:
        if location_id not in self.locations:
            raise Refusal(403, "The token does not have access to this location.")


def granted(grants: Mapping[str, Grant], authorization: str) -> Grant:
    """What the bearer token may do."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal(401, "Invalid JWT")
    if token not in grants:
        raise Refusal(401, "Invalid Private Integration token" if token.startswith("pit-") else "Invalid token: access token is invalid")
    return grants[token]


def check_version(version: str | None, *, is_calendar: bool) -> None:
    """As the specifications pin it. The live API took every published version everywhere when it was last measured."""
    if version is None:
        raise Refusal(401, "version header was not found.")
    if version in _NEWER_VERSIONS or version == (VERSION_OF_CALENDARS if is_calendar else VERSION_OF_THE_REST):
        return
    if _DATE.fullmatch(version):
        raise Refusal(401, "version header is invalid")
    raise Refusal(400, f"Invalid API version segment '{version}' at position 0")


class Shape(StrEnum):
    """What a property must be, and what the refusal says otherwise."""

    STRING = "must be a string"
    BOOLEAN = "must be a boolean value"
    OBJECT = "must be an object"
    LIST = "must be an array"
    OBJECTS = "must be an array of objects"
    STRINGS = "must be an array of strings"
    NUMBER = "must be a number conforming to the specified constraints"
    INSTANT = "must be a valid ISO 8601 date string"
    BIRTHDAY = "must be a valid date"
    STATUS = "must be one of the following values: new, confirmed, cancelled, showed, noshow, invalid"


_STATUSES = set(Shape.STATUS.partition(": ")[2].split(", "))
_BIRTHDAY = re.compile(r"\d{4}([-/._])\d{2}\1\d{2}|\d{2}([-/._])\d{2}\2\d{4}")


def _fits(shape: Shape, value: object) -> bool:
    match shape:
        case Shape.STRING:
            return isinstance(value, str)
        case Shape.BOOLEAN:
            return isinstance(value, bool)
        case Shape.OBJECT:
            return isinstance(value, dict)
        case Shape.LIST:
            return isinstance(value, list)
        case Shape.OBJECTS:
            return isinstance(value, list) and all(isinstance(item, dict) for item in value)
        case Shape.STRINGS:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case Shape.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Shape.INSTANT:
            return isinstance(value, str) and parse_instant(value) is not None
        case Shape.BIRTHDAY:
            return isinstance(value, str) and _BIRTHDAY.fullmatch(value) is not None
        case Shape.STATUS:
            return isinstance(value, str) and value in _STATUSES


@dataclass(frozen=True, slots=True)
class Dto:
    """The properties that one body may have. `named` is its schema in the official specification, "" when that one is empty."""

    named: str
    shapes: Mapping[str, Shape]
    required: frozenset[str] = field(default_factory=frozenset)

    def check(self, body: JsonObject) -> None:
        """422 with every fault of the body in one list, unknown properties first."""
        faults = [f"property {name} should not exist" for name in body if name not in self.shapes]
        for name, shape in self.shapes.items():
            value = body.get(name)
            if value is None or value == "":
                if name in self.required:
                    faults += [f"{name} should not be empty"] + ([f"{name} {shape}"] if value is None else [])
            elif not _fits(shape, value):
                faults.append(f"{name} {shape}")
        if faults:
            raise Refusal(422, faults)


_CONTACT = dict.fromkeys(
    (
        "firstName",
        "lastName",
        "name",
        "email",
        "phone",
        "address1",
        "city",
        "state",
        "postalCode",
        "website",
        "timezone",
        "source",
        "country",
        "assignedTo",
    ),
    Shape.STRING,
) | {
    "dnd": Shape.BOOLEAN,
    "dndSettings": Shape.OBJECT,
    "inboundDndSettings": Shape.OBJECT,
    "tags": Shape.STRINGS,
    "customFields": Shape.OBJECTS,
    "dateOfBirth": Shape.BIRTHDAY,
}
_NEW_CONTACT = _CONTACT | dict.fromkeys(("locationId", "gender", "companyName"), Shape.STRING)
_NOTE = dict.fromkeys(("userId", "body", "title", "color"), Shape.STRING) | {"pinned": Shape.BOOLEAN}
_TASK = dict.fromkeys(("title", "body", "assignedTo"), Shape.STRING) | {"dueDate": Shape.INSTANT, "completed": Shape.BOOLEAN}
_APPOINTMENT = dict.fromkeys(
    ("title", "meetingLocationType", "meetingLocationId", "assignedUserId", "description", "address", "rrule", "calendarId"), Shape.STRING
) | {
    **dict.fromkeys(("overrideLocationConfig", "ignoreDateRange", "toNotify", "ignoreFreeSlotValidation"), Shape.BOOLEAN),
    **dict.fromkeys(("startTime", "endTime"), Shape.INSTANT),
    "appointmentStatus": Shape.STATUS,
}

ARRANGED_CONTACT = Dto("", _NEW_CONTACT | {"id": Shape.STRING, "deleted": Shape.BOOLEAN})
CREATE_CONTACT = Dto("CreateContactDto", _NEW_CONTACT, frozenset({"locationId"}))
UPSERT_CONTACT = Dto("UpsertContactDto", _NEW_CONTACT | {"createNewIfDuplicateAllowed": Shape.BOOLEAN}, frozenset({"locationId"}))
UPDATE_CONTACT = Dto("UpdateContactDto", _CONTACT)
TAGS = Dto("TagsDTO", {"tags": Shape.STRINGS}, frozenset({"tags"}))
LOCATION_TAG = Dto("tagBody", {"name": Shape.STRING}, frozenset({"name"}))
CREATE_NOTE = Dto("NotesDTO", _NOTE, frozenset({"body"}))
UPDATE_NOTE = Dto("UpdateNoteDTO", _NOTE)
CREATE_TASK = Dto("CreateTaskParams", _TASK, frozenset({"title", "dueDate", "completed"}))
UPDATE_TASK = Dto("UpdateTaskBody", _TASK)
COMPLETE_TASK = Dto("UpdateTaskStatusParams", {"completed": Shape.BOOLEAN}, frozenset({"completed"}))
CREATE_APPOINTMENT = Dto(
    "AppointmentCreateSchema",
    _APPOINTMENT | dict.fromkeys(("locationId", "contactId"), Shape.STRING),
    frozenset({"calendarId", "locationId", "contactId", "startTime"}),
)
ARRANGED_APPOINTMENT = Dto(
    "",
    _APPOINTMENT
    | dict.fromkeys(("locationId", "contactId", "groupId", "notes", "id"), Shape.STRING)
    | {"users": Shape.STRINGS, "deleted": Shape.BOOLEAN},
)
UPDATE_APPOINTMENT = Dto("AppointmentEditSchema", _APPOINTMENT)
DELETE_EVENT = Dto("DeleteAppointmentSchema", {})
SEARCH = Dto(
    "",
    {
        **dict.fromkeys(("locationId", "query"), Shape.STRING),
        **dict.fromkeys(("pageLimit", "page"), Shape.NUMBER),
        "searchAfter": Shape.LIST,
        **dict.fromkeys(("filters", "sort"), Shape.OBJECTS),
    },
    frozenset({"locationId", "pageLimit"}),
)
