"""The payload models of an app's own events: tolerant of what an app's columns hold, strict about what is missing."""

import pytest
from pydantic import ValidationError

from outbox.event import KIND
from outbox.kinds import APPOINTMENT_KINDS, TRANSITIONS, Appointment, AppointmentChange, AppointmentStatus


def test_numbers_of_an_app_are_texts_to_us() -> None:
    appointment = Appointment.model_validate({"id": 7, "contact_id": 12, "title": 3, "status": None, "price": 40})
    assert (appointment.id, appointment.contact_id, appointment.title) == ("7", "12", "3")
    assert appointment.status is AppointmentStatus.SCHEDULED


def test_where_an_appointment_is_and_what_it_takes_may_be_left_out() -> None:
    bare = Appointment.model_validate({"id": 7})
    assert (bare.location_id, bare.calendar_id, bare.resource) == (None, None, None)
    said = Appointment.model_validate({"id": 7, "location_id": 3, "calendar_id": "cal", "resource": "chair 1"})
    assert (said.location_id, said.calendar_id, said.resource) == ("3", "cal", "chair 1")


def test_a_status_that_only_the_app_knows_passes() -> None:
    assert Appointment.model_validate({"id": "7", "status": "no-show"}).status == "no-show"
    assert Appointment.model_validate({"id": "7", "status": "confirmed"}).status is AppointmentStatus.CONFIRMED


@pytest.mark.parametrize("wrong", [{}, {"id": None}, {"id": True}, {"id": "7", "starts_at": "soon"}, {"id": "7", "title": ["a"]}])
def test_an_appointment_without_an_id_or_with_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AppointmentChange.model_validate({"appointment": wrong})


def test_the_kinds_of_appointments_are_kinds() -> None:
    assert len(APPOINTMENT_KINDS) == 5
    assert all(KIND.fullmatch(kind) for kind in APPOINTMENT_KINDS)


def test_cancelled_and_completed_are_ends_and_every_other_status_can_reach_them() -> None:
    assert set(TRANSITIONS) == set(AppointmentStatus)
    ends = {AppointmentStatus.CANCELLED, AppointmentStatus.COMPLETED}
    assert {status for status, onward in TRANSITIONS.items() if not onward} == ends
    assert all(ends <= onward for status, onward in TRANSITIONS.items() if status not in ends)
