"""Calendars and appointments of the simulated GHL, as endpoint functions and their table.

Free slots are the half hours between nine and five in UTC that no appointment takes. A booking is not checked against them: whoever
tests bookings against a full calendar arranges the refusal as a fault.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from simulators import ghl_rules
from simulators.ghl_call import Call, Rule
from simulators.ghl_rules import Refusal, Scope
from simulators.shapes import JsonObject, epoch_ms, parse_instant

# Orders to the calendar, not part of the appointment.
_NOT_KEPT = {"ignoreDateRange", "toNotify", "ignoreFreeSlotValidation", "overrideLocationConfig", "meetingLocationId"}


_SLOT = timedelta(minutes=30)
_OPEN, _CLOSED = 9, 17
_LONGEST = timedelta(days=31)
_TAKES_NO_TIME = {"cancelled", "noshow", "invalid"}


def list_calendars(call: Call) -> JsonObject:
    location_id = _asked(call, "locationId", "groupId", "showDrafted")["locationId"]
    return {"calendars": [one for one in call.store.calendars.values() if one["locationId"] == location_id]}


def list_events(call: Call) -> JsonObject:
    """What overlaps the window, in the order of its beginnings; cancelled ones too, deleted ones not."""
    asked = _asked(call, "locationId", "userId", "calendarId", "groupId", "startTime", "endTime")
    start, end = _millis(asked, "startTime"), _millis(asked, "endTime")
    fields = {"userId": "assignedUserId", "calendarId": "calendarId", "groupId": "groupId"}
    wanted = {field: asked[name] for name, field in fields.items() if asked.get(name)}
    if not wanted:
        raise Refusal(422, ["either of userId, calendarId or groupId is required"])
    found = [
        one
        for one in call.store.appointments.values()
        if one["locationId"] == asked["locationId"]
        and all(one.get(field) == value for field, value in wanted.items())
        and start <= _ms(one["endTime"])
        and _ms(one["startTime"]) <= end
    ]
    return {"events": sorted(found, key=lambda one: _ms(one["startTime"]))}


def free_slots(call: Call) -> JsonObject:
    for name in call.query:
        if name not in ("startDate", "endDate", "timezone", "userId", "userIds"):
            raise Refusal(422, [f"property {name} should not exist"])
    calendar = call.store.calendars.get(call.path["calendar_id"])
    if calendar is None:
        raise Refusal(400, f"Calendar with id {call.path['calendar_id']} not found")
    call.grant.check_location(calendar["locationId"])
    start, end = (datetime.fromtimestamp(_millis(call.query, name) / 1000, UTC) for name in ("startDate", "endDate"))
    if end - start > _LONGEST:
        raise Refusal(400, "Date range cannot be more than 31 days")
    taken = [
        (_ms(one["startTime"]), _ms(one["endTime"]))
        for one in call.store.appointments.values()
        if one.get("calendarId") == calendar["id"] and one["appointmentStatus"] not in _TAKES_NO_TIME
    ]
    days: dict[str, JsonObject] = {}
    at = start.replace(minute=0, second=0, microsecond=0)
    while at < end:
        begins, ends = epoch_ms(at), epoch_ms(at + _SLOT)
        if at >= start and _OPEN <= at.hour < _CLOSED and not any(begins < until and since < ends for since, until in taken):
            days.setdefault(at.date().isoformat(), {"slots": []})["slots"].append(at.isoformat())
        at += _SLOT
    return days


def get_appointment(call: Call) -> JsonObject:
    return {"event": _appointment(call)}


def create_appointment(call: Call) -> JsonObject:
    call.grant.check_location(call.body["locationId"])
    call.contact(call.body["contactId"])
    appointment = call.store.write_appointment(None, _kept(call.body))
    call.effects.add(
        "appointment", appointment["id"], text=_text(appointment), appointment_id=appointment["id"], contact_id=appointment["contactId"]
    )
    call.changed("AppointmentCreate", appointment)
    return dict(appointment)


def update_appointment(call: Call) -> JsonObject:
    """A cancellation is an update too, by `appointmentStatus`."""
    appointment = call.store.write_appointment(_appointment(call)["id"], _kept(call.body))
    call.effects.add("appointment.update", appointment["id"], appointment_id=appointment["id"], contact_id=appointment["contactId"])
    call.changed("AppointmentUpdate", appointment)
    return dict(appointment)


def delete_event(call: Call) -> JsonObject:
    appointment = _appointment(call)
    del call.store.appointments[appointment["id"]]
    call.effects.add("appointment.delete", appointment["id"], appointment_id=appointment["id"], contact_id=appointment["contactId"])
    call.changed("AppointmentDelete", appointment)
    return {"succeeded": True}


def _asked(call: Call, *known: str) -> dict[str, str]:
    """The query of a list, of the token's own location."""
    faults = [f"property {name} should not exist" for name in call.query if name not in known]
    if not call.query.get("locationId"):
        faults.append("locationId should not be empty")
    if faults:
        raise Refusal(422, faults)
    call.grant.check_location(call.query["locationId"])
    return dict(call.query)


def _millis(asked: Mapping[str, str], name: str) -> int:
    value = asked.get(name, "")
    if not value.isdigit():
        raise Refusal(422, [f"{name} must be a number string"])
    return int(value)


def _ms(text: str) -> int:
    at = parse_instant(text)
    return epoch_ms(at) if at else 0


def _appointment(call: Call) -> JsonObject:
    appointment = call.store.appointments.get(call.path["event_id"])
    if appointment is None:
        raise Refusal(404, f"Appointment with id {call.path['event_id']} not found")
    call.grant.check_location(appointment["locationId"])
    return appointment


def _kept(body: JsonObject) -> JsonObject:
    return {name: value for name, value in body.items() if name not in _NOT_KEPT}


def _text(appointment: JsonObject) -> str:
    return f"{appointment['title']}\n{appointment.get('description', '')}"


_READ, _WRITE = Scope.EVENTS_READ, Scope.EVENTS_WRITE
RULES = (
    Rule("GET", "/calendars/", Scope.CALENDARS_READ, list_calendars),
    Rule("GET", "/calendars/events", _READ, list_events),
    Rule("GET", "/calendars/{calendar_id}/free-slots", Scope.CALENDARS_READ, free_slots),
    Rule("GET", "/calendars/events/appointments/{event_id}", _READ, get_appointment),
    Rule("POST", "/calendars/events/appointments", _WRITE, create_appointment, ghl_rules.CREATE_APPOINTMENT),
    Rule("PUT", "/calendars/events/appointments/{event_id}", _WRITE, update_appointment, ghl_rules.UPDATE_APPOINTMENT),
    Rule("DELETE", "/calendars/events/{event_id}", _WRITE, delete_event, ghl_rules.DELETE_EVENT, 201),
)
