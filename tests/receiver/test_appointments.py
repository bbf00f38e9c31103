"""Appointments over the API: the row and its event in one transaction, and a life that goes only one way."""

import asyncio
import json
from typing import Any

import pytest

from outbox.kinds import TRANSITIONS, AppointmentChange, AppointmentStatus
from outbox.testing import Postroom
from tests.receiver.running import AS_OPERATOR, Talk, started

CUT = {"starts_at": "2027-01-05T10:00:00+01:00", "ends_at": "2027-01-05T11:00:00+01:00", "title": "Cut", "contact_id": "c1"}


async def made(talk: Talk, **fields: object) -> dict[str, Any]:
    answer = await talk.post("/api/appointments", {**CUT, **fields})
    assert answer.status_code == 201
    appointment: dict[str, Any] = answer.json()["appointment"]
    return appointment


async def patched(talk: Talk, appointment_id: str, **fields: object) -> Any:
    return await talk.client.patch(f"/api/appointments/{appointment_id}", headers=AS_OPERATOR, json=fields)


async def events(postroom: Postroom) -> list[tuple[str, str, AppointmentChange]]:
    return [(row["kind"], row["lane"], AppointmentChange.model_validate_json(row["payload"])) for row in await postroom.staged()]


async def test_an_appointment_and_its_event_are_one(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        answer = await talk.post("/api/appointments", CUT)
        appointment = answer.json()["appointment"]
        shown = await talk.get(f"/api/appointments/{appointment['id']}", viewer=True)
    assert answer.headers["location"] == f"/api/appointments/{appointment['id']}"
    assert shown.json() == appointment
    assert (appointment["status"], appointment["starts_at"]) == ("scheduled", "2027-01-05T09:00:00.000Z")
    [(kind, lane, change)] = await events(postroom)
    assert (kind, lane, change.previous) == ("appointment.created", f"appointment:{appointment['id']}", None)
    assert (change.appointment.id, change.appointment.status, change.appointment.title) == (appointment["id"], "scheduled", "Cut")
    assert await postroom.value("select id from outbox.events") == answer.json()["event_id"]


@pytest.mark.parametrize(("status", "is_customer"), [("completed", True), ("confirmed", False), ("cancelled", False)])
async def test_an_appointment_that_took_place_makes_its_contact_a_customer(postroom: Postroom, status: str, is_customer: bool) -> None:
    await postroom.pool.execute(
        "insert into crm.contacts (ghl_contact_id, changed_at, content_hash) values ('c1', now(), ''), ('c2', now(), '')"
    )
    async with started(postroom) as talk:
        appointment = await made(talk)
        assert (await patched(talk, appointment["id"], status=status)).status_code == 200
        assert (await patched(talk, (await made(talk, contact_id=None))["id"], status=status)).status_code == 200, "of nobody"
    customers = [row["ghl_contact_id"] for row in await postroom.rows("select * from crm.contacts where customer_since is not null")]
    assert customers == (["c1"] if is_customer else [])


async def test_no_row_is_left_when_its_event_cannot_be_staged(postroom: Postroom) -> None:
    await postroom.pool.execute("alter table outbox.events add constraint none_at_all check (false)")
    try:
        async with started(postroom) as talk:
            answer = await talk.post("/api/appointments", CUT)
    finally:
        await postroom.pool.execute("alter table outbox.events drop constraint none_at_all")
    assert answer.status_code == 500
    assert "none_at_all" not in answer.text
    assert await postroom.value("select count(*) from crm.appointments") == 0


@pytest.mark.parametrize("after", list(AppointmentStatus))
@pytest.mark.parametrize("before", list(AppointmentStatus))
async def test_only_legal_transitions_happen(postroom: Postroom, before: AppointmentStatus, after: AppointmentStatus) -> None:
    async with started(postroom) as talk:
        appointment = await made(talk)
        await postroom.pool.execute("update crm.appointments set status = $1", before)
        answer = await patched(talk, appointment["id"], status=after)
    now = await postroom.value("select status from crm.appointments")
    kinds = [kind for kind, _, _ in await events(postroom)][1:]
    if after == before:
        assert (answer.status_code, now, kinds) == (200, before, [])
        assert answer.json()["event_id"] is None
    elif after in TRANSITIONS[before]:
        assert (answer.status_code, now, kinds) == (200, after, [f"appointment.{after}"])
    else:
        assert (answer.status_code, now, kinds) == (409, before, [])
        assert answer.json()["allowed"] == sorted(TRANSITIONS[before])


async def test_a_change_carries_what_was_before(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        appointment = await made(talk, notes="by phone")
        answer = await patched(talk, appointment["id"], title="Cut and colour", notes=None, contact_id=None)
    assert (answer.json()["appointment"]["title"], answer.json()["appointment"]["notes"]) == ("Cut and colour", None)
    _, (kind, _, change) = await events(postroom)
    assert kind == "appointment.updated"
    assert change.previous is not None
    assert (change.previous.title, change.previous.notes, change.previous.contact_id) == ("Cut", "by phone", "c1")
    assert (change.appointment.title, change.appointment.notes, change.appointment.contact_id) == ("Cut and colour", None, None)


async def test_two_changes_at_once_are_one_after_the_other(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        appointment = await made(talk)
        answers = await asyncio.gather(*(patched(talk, appointment["id"], status=word) for word in ("cancelled", "completed")))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(await events(postroom)) == 2


async def test_every_act_is_in_the_audit(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        appointment = await made(talk)
        await patched(talk, appointment["id"], status="confirmed")
    audit = await postroom.rows("select who, what, target from outbox.audit order by id")
    assert [(row["who"], row["what"], row["target"]) for row in audit] == [
        ("otto", "create appointment", appointment["id"]),
        ("otto", "appointment confirmed", appointment["id"]),
    ]


async def test_a_repeat_under_the_same_key_is_the_same_appointment(postroom: Postroom) -> None:
    key = {"idempotency-key": "booking-4711"}
    async with started(postroom) as talk:
        answers = await asyncio.gather(*(talk.post("/api/appointments", CUT, headers=key) for _ in range(5)))
        other_key = await talk.post("/api/appointments", CUT, headers={"idempotency-key": "booking-4712"})
        changed = await patched(talk, answers[0].json()["appointment"]["id"], status="confirmed")
        after = await talk.post("/api/appointments", CUT, headers=key)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.json()["appointment"]["id"] for answer in answers}) == 1
    assert len({answer.json()["event_id"] for answer in answers}) == 1
    assert other_key.status_code == 201
    assert (after.status_code, after.json()["appointment"]) == (200, changed.json()["appointment"])
    assert [kind for kind, _, _ in await events(postroom)].count("appointment.created") == 2


async def test_the_same_key_for_another_appointment_is_a_conflict(postroom: Postroom) -> None:
    key = {"idempotency-key": "booking-4711"}
    async with started(postroom) as talk:
        await talk.post("/api/appointments", CUT, headers=key)
        other = await talk.post("/api/appointments", {**CUT, "title": "Colour"}, headers=key)
    assert (other.status_code, other.json()["type"]) == (409, "urn:postroom:key-reused")
    assert await postroom.value("select count(*) from crm.appointments") == 1


async def test_a_key_whose_event_was_forgotten_makes_no_second_event(postroom: Postroom) -> None:
    key = {"idempotency-key": "booking-4711"}
    async with started(postroom) as talk:
        await talk.post("/api/appointments", CUT, headers=key)
        await postroom.pool.execute("delete from outbox.keys")
        assert (await talk.post("/api/appointments", CUT, headers=key)).status_code == 409
        await postroom.pool.execute("delete from crm.appointments")
        assert (await talk.post("/api/appointments", CUT, headers=key)).status_code == 201
    assert len(await events(postroom)) == 2


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "caf\xe9", "a\tb"])
async def test_a_key_that_cannot_be_one_is_refused(postroom: Postroom, key: str) -> None:
    async with started(postroom) as talk:
        answer = await talk.client.post(
            "/api/appointments",
            headers=[(b"authorization", b"Bearer operator-token-for-tests-only"), (b"idempotency-key", key.encode("latin-1"))],
            json=CUT,
        )
    assert answer.status_code == 400
    assert await postroom.value("select count(*) from crm.appointments") == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""},
        {"title": None},
        {"title": "a\x00b"},
        {"ends_at": CUT["starts_at"]},
        {"starts_at": "2027-01-05T10:00:00"},
        {"starts_at": "tomorrow"},
        {"starts_at": 1_800_000_000},
        {"ends_at": "9999-12-31T23:59:59-12:00"},
        {"status": "cancelled"},
        {"status": "lost"},
        {"colour": "red"},
        {"notes": "x" * 4001},
    ],
)
async def test_an_appointment_that_cannot_be_is_a_422(postroom: Postroom, wrong: dict[str, object]) -> None:
    async with started(postroom) as talk:
        answer = await talk.post("/api/appointments", {**CUT, **wrong})
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert (await postroom.totals())["accepted"] == 0


@pytest.mark.parametrize(
    "wrong", [{"status": None}, {"title": None}, {"starts_at": "2027-01-05T12:00:00Z"}, {"id": "x"}, {"status": "lost"}]
)
async def test_a_change_that_cannot_be_is_a_422(postroom: Postroom, wrong: dict[str, object]) -> None:
    async with started(postroom) as talk:
        appointment = await made(talk)
        answer = await patched(talk, appointment["id"], **wrong)
    assert answer.status_code == 422
    assert len(await events(postroom)) == 1


async def test_appointments_are_found_by_status_and_contact_page_by_page(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        ids = [(await made(talk, contact_id=contact))["id"] for contact in ("c1", "c2", "c1")]
        await patched(talk, ids[0], status="confirmed")

        async def found(query: str = "") -> list[str]:
            return [one["id"] for one in (await talk.get(f"/api/appointments{query}", viewer=True)).json()["appointments"]]

        assert await found() == ids[::-1]
        assert await found("?contact_id=c1") == [ids[2], ids[0]]
        assert await found("?status=confirmed") == [ids[0]]
        page = (await talk.get("/api/appointments", limit=2)).json()
        rest = (await talk.get("/api/appointments", limit=2, before=page["next_before"])).json()
    assert [one["id"] for one in page["appointments"] + rest["appointments"]] == ids[::-1]
    assert rest["next_before"] is None


@pytest.mark.parametrize("which", ["x", "00000000-0000-0000-0000-00000000000g", "c7e3b4e7-5576-5c98-a118-b1c92f2bc988"])
async def test_an_unknown_appointment_is_a_404(postroom: Postroom, which: str) -> None:
    async with started(postroom) as talk:
        answers = [await talk.get(f"/api/appointments/{which}"), await patched(talk, which, status="confirmed")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert json.loads(answers[0].text)["status"] == 404
