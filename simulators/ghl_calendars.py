"""Appointments of the simulated GHL, as endpoint functions and their table.

Knows no free slots: whoever tests bookings against a full calendar arranges the refusal as a fault.
"""

from simulators import ghl_rules
from simulators.ghl_call import Call, Rule
from simulators.ghl_rules import Refusal, Scope
from simulators.shapes import JsonObject

# Orders to the calendar, not part of the appointment.
_NOT_KEPT = {"ignoreDateRange", "toNotify", "ignoreFreeSlotValidation", "overrideLocationConfig", "meetingLocationId"}


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
    Rule("GET", "/calendars/events/appointments/{event_id}", _READ, get_appointment),
    Rule("POST", "/calendars/events/appointments", _WRITE, create_appointment, ghl_rules.CREATE_APPOINTMENT),
    Rule("PUT", "/calendars/events/appointments/{event_id}", _WRITE, update_appointment, ghl_rules.UPDATE_APPOINTMENT),
    Rule("DELETE", "/calendars/events/{event_id}", _WRITE, delete_event, ghl_rules.DELETE_EVENT, 201),
)
