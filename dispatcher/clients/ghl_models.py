"""The shapes of GoHighLevel: what is read (only what is used, tolerantly) and what is written.

Reading is tolerant member by member: an odd telephone field must not lose the contact. Ids are the exception.
Writing sends only what was set; None clears a field. Tags are never among it: GHL would overwrite all of them.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    JsonValue,
    PlainValidator,
    SkipValidation,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema
from pydantic_core import core_schema as cs

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST: Final = 2**53
_YEAR_FIRST: Final = re.compile(r"([0-9]{4})[-/._]([0-9]{1,2})[-/._]([0-9]{1,2})")
_MONTH_FIRST: Final = re.compile(r"([0-9]{1,2})[-/._]([0-9]{1,2})[-/._]([0-9]{4})")


def instant(value: object) -> datetime | None:
    """A point in time from ISO text with an offset or from epoch milliseconds; None for anything else.

    Text without a zone says nothing certain, so it says nothing.
    """
    try:
        match value:
            case bool():
                return None
            case datetime():
                return value.astimezone(UTC) if value.tzinfo else None
            case int() | float():
                return _EPOCH + timedelta(milliseconds=value)
            case str():
                return instant(datetime.fromisoformat(value.strip()))
            case _:
                return None
    except (ValueError, OverflowError):
        return None


def birthday(value: object) -> date | None:
    """A calendar day from any of GHL's eight notations or from epoch milliseconds (contact search); None for anything else."""
    match value:
        case datetime():
            return value.date()
        case date():
            return value
        case str():
            year_first, month_first = _YEAR_FIRST.match(value.strip()), _MONTH_FIRST.match(value.strip())
            try:
                if year_first:
                    year, month, day = map(int, year_first.groups())
                    return date(year, month, day)
                if month_first:
                    month, day, year = map(int, month_first.groups())
                    return date(year, month, day)
            except ValueError:
                pass
            return None
        case _:
            then = instant(value)
            return then.date() if then else None


def _or(default: object, schema: CoreSchema) -> GetPydanticSchema:
    """What is not of this schema is `default`, decided by the validator itself: a function of ours for each member costs ten times that."""
    return GetPydanticSchema(lambda _source, _handler: cs.with_default_schema(schema, default=default, on_error="default"))


_TEXT: Final = cs.str_schema(coerce_numbers_to_str=True)  # not a bool
_EACH_TEXT: Final = cs.list_schema(cs.with_default_schema(_TEXT, on_error="omit"))


def _objects(value: object) -> list[object]:
    return [item for item in value if item is not None] if isinstance(value, list | tuple) else []


def _identified(value: object) -> list[dict[str, Any]]:
    return [item for item in _objects(value) if isinstance(item, dict) and isinstance(item.get("id"), str) and item["id"]]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST else None


Id: TypeAlias = Annotated[str, Field(min_length=1)]
Text: TypeAlias = Annotated[str | None, _or(None, _TEXT)]
Instant: TypeAlias = Annotated[datetime | None, PlainValidator(instant)]
Birthday: TypeAlias = Annotated[date | None, PlainValidator(birthday)]
Flag: TypeAlias = Annotated[bool, BeforeValidator(lambda value: value is True)]
Number: TypeAlias = Annotated[float | None, BeforeValidator(_number)]
Texts: TypeAlias = Annotated[tuple[str, ...], _or((), cs.no_info_after_validator_function(tuple, _EACH_TEXT))]
Parsed: TypeAlias = Annotated[JsonValue, SkipValidation]  # it comes from a JSON parser


class Read(BaseModel):
    """Base of what is read: camelCase names, unknown members ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class GhlFieldValue(NamedTuple):
    """One custom field of a contact. GHL names it by id only; custom_field() of the client knows its key."""

    id: str
    value: JsonValue


def _field_values(value: object) -> tuple[GhlFieldValue, ...]:
    return tuple(GhlFieldValue(item["id"], item.get("value")) for item in _identified(value))


class GhlContact(Read):
    """A contact as fetched or found. `search_after` is only set in search results: where the next page begins."""

    id: Id
    location_id: Text = None
    name: Text = None
    first_name: Text = None
    last_name: Text = None
    email: Text = None
    phone: Text = None
    company_name: Text = None
    address1: Text = Field(default=None, validation_alias=AliasChoices("address1", "address"))
    city: Text = None
    state: Text = None
    postal_code: Text = None
    country: Text = None
    website: Text = None
    timezone: Text = None
    source: Text = None
    type: Text = None
    assigned_to: Text = None
    dnd: Flag = False
    tags: Texts = ()
    date_of_birth: Birthday = None
    date_added: Instant = None
    date_updated: Instant = None
    custom_fields: Annotated[tuple[GhlFieldValue, ...], PlainValidator(_field_values)] = ()
    search_after: Annotated[tuple[Parsed, ...], BeforeValidator(_objects)] = ()


class GhlNote(Read):
    id: Id
    body: Text = None
    title: Text = None
    contact_id: Text = None
    user_id: Text = None
    date_added: Instant = None


class GhlTask(Read):
    id: Id
    title: Text = None
    body: Text = None
    contact_id: Text = None
    assigned_to: Text = None
    completed: Flag = False
    due_at: Instant = Field(default=None, validation_alias=AliasChoices("dueDate", "due_at"))


class GhlCustomField(Read):
    """`key` as GHL writes it: "contact.appointment_status"."""

    id: Id
    key: Text = Field(default=None, validation_alias=AliasChoices("fieldKey", "key"))
    name: Text = None
    data_type: Text = None
    model: Text = None


class GhlAppointment(Read):
    """`status` may be one that cannot be written (active, completed) or one that did not exist yet when this was written."""

    id: Id
    calendar_id: Text = None
    location_id: Text = None
    contact_id: Text = None
    title: Text = None
    status: Text = Field(default=None, validation_alias=AliasChoices("appointmentStatus", "status"))
    assigned_user_id: Text = None
    address: Text = None
    notes: Text = None
    description: Text = None
    starts_at: Instant = Field(default=None, validation_alias=AliasChoices("startTime", "starts_at"))
    ends_at: Instant = Field(default=None, validation_alias=AliasChoices("endTime", "ends_at"))
    date_added: Instant = None
    date_updated: Instant = None


class GhlCalendar(Read):
    """`is_active` False: a draft, which takes no bookings."""

    id: Id
    name: Text = None
    location_id: Text = None
    type: Text = Field(default=None, validation_alias=AliasChoices("calendarType", "type"))
    is_active: Annotated[bool, BeforeValidator(lambda value: value is not False)] = True


class GhlTag(Read):
    """A tag that the location offers, whether or not a contact has it."""

    id: Id
    name: Text = None


class GhlStage(Read):
    id: Id
    name: Text = None


class GhlPipeline(Read):
    id: Id
    name: Text = None
    location_id: Text = None
    stages: Annotated[tuple[GhlStage, ...], BeforeValidator(_identified)] = ()


class GhlOpportunity(Read):
    id: Id
    location_id: Text = None
    contact_id: Text = None
    name: Text = None
    status: Text = None
    pipeline_id: Text = None
    pipeline_stage_id: Text = None
    monetary_value: Number = None
    assigned_to: Text = None
    source: Text = None
    created_at: Instant = None
    updated_at: Instant = None


class Write(BaseModel):
    """Base of what is written: only what was set is sent."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=False, serialize_by_alias=True
    )

    def body(self) -> dict[str, JsonValue]:
        """The JSON members to send."""
        return self.model_dump(mode="json", exclude_unset=True)


class ContactWrite(Write):
    """`custom_fields`: values by key ("appointment_status" or "contact.appointment_status") or by id."""

    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: str | None = None
    address1: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None
    website: str | None = None
    timezone: str | None = None
    source: str | None = None
    assigned_to: str | None = None
    date_of_birth: date | None = None
    custom_fields: Mapping[str, JsonValue] = Field(default_factory=dict)

    def body(self) -> dict[str, JsonValue]:
        """The JSON members to send, without the custom fields: their keys become ids first."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"custom_fields"})


class AppointmentStatus(StrEnum):
    """The states that can be written."""

    NEW = "new"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    SHOWED = "showed"
    NOSHOW = "noshow"
    INVALID = "invalid"


class AppointmentWrite(Write):
    calendar_id: str | None = None
    starts_at: AwareDatetime | None = Field(default=None, serialization_alias="startTime")
    ends_at: AwareDatetime | None = Field(default=None, serialization_alias="endTime")
    title: str | None = None
    status: AppointmentStatus | None = Field(default=None, serialization_alias="appointmentStatus")
    assigned_user_id: str | None = None
    description: str | None = None
    address: str | None = None
    to_notify: bool | None = None
    ignore_date_range: bool | None = None
    ignore_free_slot_validation: bool | None = None
