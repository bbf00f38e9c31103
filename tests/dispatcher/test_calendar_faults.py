"""An app's appointments in GHL's calendar, whatever call fails and whichever process dies: each effect happens once (P6)."""

import signal
from datetime import datetime
from typing import Any

import pytest

from dispatcher.config import DispatcherSettings
from outbox.store import destinations, links
from outbox.testing import Drain, Postroom
from simulators.ghl import GhlSimulator
from simulators.samples import DEMO_CALENDAR_ID
from tests.dispatcher.booking import BOOK, ONE, STARTS, Ghl, booked, change, said, statuses
from tests.dispatcher.handling import fate, is_over
from tests.dispatcher.running import WorkerProcess, dispatching, eventually, stage_all

# ── whatever is lost


FAULTS: dict[str, dict[str, Any]] = {
    "the answer is dropped after the work": {"kind": "drop", "after_work": True},
    "the request is dropped": {"kind": "drop"},
    "half an answer": {"kind": "cut"},
    "an answer that stops": {"kind": "truncate"},
    "an answer that is no JSON": {"kind": "garble"},
    "a gateway gives up after the work": {"kind": "answer", "status": 504, "after_work": True},
    "a gateway gives up": {"kind": "answer", "status": 503},
    "it breaks after the work": {"kind": "answer", "status": 500, "after_work": True},
    "it breaks": {"kind": "answer", "status": 500},
    "the rate is limited": {"kind": "answer", "status": 429, "headers": {"retry-after": "1"}},
}
PLACES = {
    "note": ("POST", "/contacts/*/notes"),
    "tags": ("POST", "/contacts/*/tags"),
    "fields": ("PUT", "/contacts/c1"),
    "task": ("POST", "/contacts/*/tasks"),
    "booking": ("POST", BOOK),
    "booking shown": ("GET", ONE),
    "contact shown": ("GET", "/contacts/c1"),
}
# The short form: every fault where a booking is made, and at every place an effect whose answer is lost or an answer that says nothing.
TELLING = {"POST": "the answer is dropped after the work", "PUT": "the answer is dropped after the work", "GET": "an answer that stops"}
WHERE = [
    pytest.param(fault, place, marks=() if place == "booking" or TELLING[method] == fault else pytest.mark.long)
    for fault in FAULTS
    for place, (method, _) in PLACES.items()
]


def check_once(simulator: GhlSimulator) -> None:
    kinds = simulator.effects.totals()["kinds"]
    assert (kinds["note"], kinds["task"], kinds["appointment"]) == (1, 1, 1)
    assert [len(kept["c1"]) for kept in (simulator.store.notes, simulator.store.tasks)] == [1, 1]
    assert len(booked(simulator)) == 1
    assert simulator.store.contacts["c1"]["tags"] == ["appointment-scheduled"]


@pytest.mark.parametrize(("fault", "place"), WHERE)
async def test_p6_whatever_happens_to_a_call_each_effect_happens_once(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl, fault: str, place: str
) -> None:
    method, path = PLACES[place]
    given = dict(FAULTS[fault])
    ghl[0].faults.add(given.pop("kind"), path, method=method, **given)
    [event_id] = await stage_all(postroom, change("created"))
    await drain(settings=booking, hurry=True)
    assert await said(postroom, event_id) == "booked"
    check_once(ghl[0])
    assert ghl[0].faults.as_json() == [], "it was met"
    assert await links.theirs(postroom.pool, "appointment", "a1") == links.Link(booked(ghl[0])[0]["id"], "ghl")


@pytest.mark.parametrize(
    "place", [pytest.param(one, marks=() if one in ("note", "booking", "contact shown") else pytest.mark.long) for one in PLACES]
)
async def test_p10_a_dead_token_holds_the_event_wherever_it_is_and_each_effect_happens_once(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl, place: str
) -> None:
    method, path = PLACES[place]
    ghl[0].faults.add("answer", path, method=method, status=401, body={"statusCode": 401, "message": "Invalid JWT"})
    [event_id] = await stage_all(postroom, change("created"))
    await drain(settings=booking)
    assert (await fate(postroom, event_id)).is_held
    await destinations.resume(postroom.pool, "ghl", by="ana")
    async with dispatching(postroom.dsn, settings=booking):
        await eventually(is_over(postroom, event_id))
    check_once(ghl[0])


@pytest.mark.parametrize("happened", [True, False], ids=["it had happened", "it had not"])
async def test_p6_a_change_whose_answer_is_lost_is_told_again_without_harm(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl, happened: bool
) -> None:
    await stage_all(postroom, change("created"))
    await drain(settings=booking)
    ghl[0].faults.add("drop", ONE, method="PUT", after_work=happened)
    [event_id] = await stage_all(postroom, change("cancelled", previous={}))
    await drain(settings=booking, hurry=True)
    assert await said(postroom, event_id) == "updated"
    assert statuses(ghl[0]) == ["cancelled"]
    titles = [task["title"] for task in ghl[0].store.tasks["c1"].values()]
    assert titles == ["Remind of the appointment", "Follow up on the cancelled appointment"]


@pytest.mark.parametrize("word", ["confirmed", "cancelled", "updated"])
async def test_p6_a_booking_that_nobody_noted_down_is_found_by_its_mark(
    postroom: Postroom, drain: Drain, booking: DispatcherSettings, ghl: Ghl, word: str
) -> None:
    """Its event ended between the booking and our note of it; another appointment of that day has a name that begins with its name."""
    await stage_all(postroom, change("created", "a11"))
    await drain(settings=booking)
    gone = {"statusCode": 404, "message": "Appointment with id X not found"}
    ghl[0].faults.add("answer", ONE, method="GET", status=404, body=gone)
    await stage_all(postroom, change("created"))
    await drain(settings=booking)
    assert await links.theirs(postroom.pool, "appointment", "a1") is None
    moved = "2027-02-05T10:00:00+00:00"
    [event_id] = await stage_all(postroom, change(word, previous={}, starts_at=moved))
    await drain(settings=booking)
    assert await said(postroom, event_id) == "updated"
    other, ours = booked(ghl[0])
    assert ours["description"] == "postroom:appointment/a1"
    assert (other["startTime"], datetime.fromisoformat(ours["startTime"]).isoformat()) != (other["startTime"], STARTS)
    assert await links.theirs(postroom.pool, "appointment", "a1") == links.Link(ours["id"], "ghl")


# ── a process that dies


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("POST", BOOK, id="while it books"),
        pytest.param("GET", ONE, id="before it notes the booking down", marks=pytest.mark.long),
    ],
)
async def test_p6_p9_a_dispatcher_that_dies_books_no_second_time(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl, method: str, path: str
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1")
    hang = simulator.faults.add("hang", path, method=method)
    [event_id] = await stage_all(postroom, change("created", calendar_id=DEMO_CALENDAR_ID))
    async with WorkerProcess(postroom.dsn, simulated) as first:
        await simulator.faults.wait_hanging()
        await first.end(signal.SIGKILL)
    simulator.faults.release(hang)  # a booking that was sent is carried out, though nobody waits for its answer
    async with WorkerProcess(postroom.dsn, simulated):
        await eventually(is_over(postroom, event_id), within_s=40)
    assert await said(postroom, event_id) == "booked"
    check_once(simulator)
    assert await links.theirs(postroom.pool, "appointment", "a1") == links.Link(booked(simulator)[0]["id"], "ghl")
