"""Records of Phorest, however odd, become what GHL takes: nothing raises, nothing private is made up, a cancellation is never lost."""

import json
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.clients.ghl_models import AppointmentStatus
from dispatcher.handlers import phorest_mapping as mapping
from dispatcher.handlers import phorest_reading as reading
from outbox.store.phorest import PhorestRecord

texts = st.text(max_size=20)
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    texts,
    st.lists(texts, max_size=2),
    st.dictionaries(texts, texts, max_size=2),
)
CLIENT = (
    "clientId",
    "firstName",
    "lastName",
    "email",
    "mobile",
    "landLine",
    "address",
    "birthDate",
    "deleted",
    "archived",
    "version",
    "updatedAt",
)
VISIT = (
    "appointmentId",
    "clientId",
    "bookingId",
    "appointmentDate",
    "startTime",
    "endTime",
    "state",
    "activationState",
    "deleted",
    "price",
    "notes",
)


def objects(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, anything))


@given(objects(CLIENT))
def test_any_client_is_read_and_written_without_an_error(row: dict[str, Any]) -> None:
    record = reading.client(row)
    assert record is None or record.id == row["clientId"]
    body = mapping.person(row).body()
    assert all(value for value in body.values())
    assert (mapping.missing(row) is None) == ("email" in body or "phone" in body)
    json.dumps(body)


@given(objects(VISIT))
def test_any_appointment_is_read_and_written_without_an_error(row: dict[str, Any]) -> None:
    reading.appointment(row, "B1")
    mapping.booking_note({"appointments": [row]})
    mapping.checkin_note(row)
    times = mapping.times_of(row, ZoneInfo("Europe/Dublin"))
    if times is not None:
        assert times[0] < times[1]
        json.dumps(mapping.event("a1", row, calendar_id="c", times=times).body())


@given(st.text(max_size=20), st.sampled_from(["BOOKED", "PAID", "CHECKED_IN", "NO_SHOW", ""]))
def test_what_was_cancelled_is_cancelled_whatever_its_state_says(state: str, word: str) -> None:
    for said in (state, word):
        assert mapping.status_of({"state": said, "activationState": "CANCELED"}) is AppointmentStatus.CANCELLED
        assert mapping.status_of({"state": said, "deleted": True}) is AppointmentStatus.CANCELLED


@given(st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True))
def test_a_number_gets_its_plus_and_a_relatives_is_not_taken(digits: str) -> None:
    assert mapping.phone_of({"mobile": digits}) == f"+{digits}"
    assert mapping.phone_of({"mobile": f"+{digits}"}) == f"+{digits}"
    assert mapping.phone_of({"linkedClientMobile": digits}) is None


@given(objects(VISIT), st.integers(0, 99), st.integers(0, 99))
def test_a_records_digest_does_not_depend_on_its_version_or_the_order_of_its_members(row: dict[str, Any], one: int, other: int) -> None:
    first = reading.appointment({**row, "appointmentId": "a1", "version": one}, "B1")
    again = reading.appointment(dict(reversed(list({**row, "appointmentId": "a1", "version": other}.items()))), "B1")
    assert isinstance(first, PhorestRecord)
    assert isinstance(again, PhorestRecord)
    assert first.digest() == again.digest()


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6))
def test_a_booking_note_names_every_appointment_that_stands(services: list[str]) -> None:
    note = mapping.booking_note({"appointments": [{"serviceName": name, "price": 10} for name in services]})
    assert [line.removeprefix("- ") for line in note.split("\n")[1:]] == services
    assert f"{10 * len(services):.2f} in all" in note
