"""Appointments of a resource over the API: one stands at a time, and who comes too late is told by whom and when it is taken."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.kinds import AppointmentChange
from outbox.testing import Postroom
from tests.receiver.running import AS_OPERATOR, Talk, started

TEN = datetime(2027, 1, 5, 10, tzinfo=UTC)


def told(hour: float = 0, *, hours: float = 1, **more: object) -> dict[str, Any]:
    starts_at = TEN + timedelta(hours=hour)
    ends_at = starts_at + timedelta(hours=hours)
    return {"starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat(), "title": "Cut", "resource": "chair 1", **more}


async def made(talk: Talk, hour: float = 0, **more: Any) -> dict[str, Any]:
    answer = await talk.post("/api/appointments", told(hour, **more))
    assert answer.status_code == 201, answer.text
    appointment: dict[str, Any] = answer.json()["appointment"]
    return appointment


async def patched(talk: Talk, appointment_id: str, **changes: object) -> Any:
    return await talk.client.patch(f"/api/appointments/{appointment_id}", headers=AS_OPERATOR, json=changes)


async def words(postroom: Postroom) -> Counter[str]:
    return Counter(event["kind"].removeprefix("appointment.") for event in await postroom.staged())


async def test_who_books_a_taken_slot_is_told_by_whom_and_when_it_is_taken(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        first = await made(talk)
        second = await talk.post("/api/appointments", told(0.5), headers={"idempotency-key": "booking-1"})
        elsewhere = await talk.post("/api/appointments", told(0.5, resource="chair 2"), headers={"idempotency-key": "booking-1"})
    problem = second.json()
    assert (second.status_code, second.headers["content-type"]) == (409, "application/problem+json")
    assert (problem["type"], problem["resource"]) == ("urn:postroom:slot-taken", "chair 1")
    assert problem["conflict"] == {name: first[name] for name in ("id", "starts_at", "ends_at")}
    assert problem["detail"] == (
        f"'chair 1' is taken by appointment {first['id']}, 2027-01-05 10:00 to 2027-01-05 11:00 UTC; "
        "choose another time or another resource."
    )
    assert elsewhere.status_code == 201, "what was refused has not used up its key"
    assert await words(postroom) == {"created": 2}
    assert await postroom.value("select count(*) from crm.appointments") == 2
    assert await postroom.value("select count(*) from outbox.audit") == 2


async def test_back_to_back_and_without_a_resource_nothing_is_in_the_way(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        for hour in (1, 0, 2):
            await made(talk, hour)
        for _ in range(2):
            await made(talk, 0, resource=None)
    assert await words(postroom) == {"created": 5}


async def test_of_20_clients_that_book_one_slot_at_once_exactly_one_gets_it(postroom: Postroom) -> None:
    async with started(postroom) as one, started(postroom) as other:
        answers = await asyncio.gather(
            *(
                (one if n % 2 else other).post(
                    "/api/appointments", told(n / 100), headers={"idempotency-key": f"client-{n}"} if n % 3 else {}
                )
                for n in range(20)
            )
        )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}
    (winner,) = [answer.json()["appointment"] for answer in answers if answer.status_code == 201]
    assert {answer.json()["conflict"]["id"] for answer in answers if answer.status_code == 409} == {winner["id"]}
    assert await postroom.rows("select id::text, starts_at from crm.appointments") == [
        {"id": winner["id"], "starts_at": datetime.fromisoformat(winner["starts_at"])}
    ]
    assert await words(postroom) == {"created": 1}


@pytest.mark.parametrize("end", ["cancelled", "completed"])
async def test_the_slot_of_one_that_ended_is_free_at_once(postroom: Postroom, end: str) -> None:
    async with started(postroom) as talk:
        first = await made(talk)
        assert (await patched(talk, first["id"], status=end)).status_code == 200
        second = await made(talk)
        assert second["id"] != first["id"]
        late = await patched(talk, first["id"], notes="came late")
    assert late.status_code == 200, "what has ended takes no slot, so it may still be changed"
    assert await words(postroom) == {"created": 2, end: 1, "updated": 1}


async def test_a_slot_that_is_cancelled_while_20_ask_for_it_goes_to_one_of_them(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        first = await made(talk)
        answers = await asyncio.gather(
            patched(talk, first["id"], status="cancelled"), *(talk.post("/api/appointments", told()) for _ in range(20))
        )
    made_then = [answer for answer in answers[1:] if answer.status_code == 201]
    assert answers[0].status_code == 200
    assert len(made_then) <= 1
    assert {answer.status_code for answer in answers[1:]} <= {201, 409}
    assert await postroom.value("select count(*) from crm.appointments where status = 'scheduled'") == len(made_then)
    assert await words(postroom) == Counter({"created": 1 + len(made_then), "cancelled": 1})


async def test_an_appointment_is_moved_onto_its_own_time_but_not_onto_another(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        first, second = await made(talk, 0), await made(talk, 2)
        own = await patched(talk, first["id"], starts_at=told(0.5)["starts_at"], ends_at=told(0.5)["ends_at"])
        onto = await patched(talk, first["id"], starts_at=told(1.5)["starts_at"], ends_at=told(1.5)["ends_at"])
        shown = await talk.get(f"/api/appointments/{first['id']}")
        away = await patched(talk, first["id"], starts_at=told(1.5)["starts_at"], ends_at=told(1.5)["ends_at"], resource="chair 2")
    assert (own.status_code, onto.status_code, away.status_code) == (200, 409, 200)
    assert onto.json()["conflict"]["id"] == second["id"]
    assert shown.json() == own.json()["appointment"], "nothing was changed"
    assert away.json()["appointment"]["resource"] == "chair 2"
    assert await words(postroom) == {"created": 2, "updated": 2}


async def test_giving_a_resource_to_two_that_overlap_is_a_conflict_and_taking_it_away_frees_it(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        first, second = await made(talk), await made(talk, 0.5, resource=None)
        assert (await patched(talk, second["id"], resource="chair 1")).status_code == 409
        assert (await patched(talk, first["id"], resource=None)).status_code == 200
        assert (await patched(talk, second["id"], resource="chair 1")).json()["appointment"]["resource"] == "chair 1"


async def test_an_illegal_transition_is_told_in_words_and_for_programs(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        first = await made(talk)
        await patched(talk, first["id"], status="confirmed")
        answer = await patched(talk, first["id"], status="scheduled")
    problem = answer.json()
    assert (answer.status_code, problem["type"], problem["allowed"]) == (409, "urn:postroom:transition", ["cancelled", "completed"])
    assert problem["detail"] == "An appointment that is confirmed cannot become scheduled; it can become cancelled or completed."


async def test_a_repeat_under_its_key_finds_its_appointment_though_the_slot_went_to_another(postroom: Postroom) -> None:
    key = {"idempotency-key": "booking-1"}
    async with started(postroom) as talk:
        first = (await talk.post("/api/appointments", told(), headers=key)).json()["appointment"]
        await patched(talk, first["id"], status="cancelled")
        await made(talk)
        again = await talk.post("/api/appointments", told(), headers=key)
    assert (again.status_code, again.json()["appointment"]["id"], again.json()["appointment"]["status"]) == (200, first["id"], "cancelled")


async def test_where_it_is_and_what_it_takes_are_in_the_row_the_event_and_the_answer(postroom: Postroom) -> None:
    where: dict[str, Any] = {"location_id": "Loc2", "calendar_id": "cal", "resource": "chair 1"}
    async with started(postroom) as talk:
        first = await made(talk, **where)
        await postroom.pool.execute("update crm.appointments set ghl_appointment_id = 'g1', ghl_status = 'new'")
        answer = await patched(talk, first["id"], calendar_id=None)
    now = answer.json()["appointment"]
    assert {name: first[name] for name in where} == where
    assert (now["calendar_id"], now["location_id"], now["ghl_appointment_id"], now["ghl_status"]) == (None, "Loc2", "g1", "new")
    created, updated = [event["payload"] for event in await postroom.staged()]
    told_first, told_then = AppointmentChange.model_validate_json(created), AppointmentChange.model_validate_json(updated)
    assert {name: getattr(told_first.appointment, name) for name in where} == where
    assert (told_then.appointment.calendar_id, told_then.appointment.location_id, told_then.appointment.resource) == (
        None,
        "Loc2",
        "chair 1",
    )
    assert told_then.previous is not None
    assert told_then.previous.calendar_id == "cal"


@pytest.mark.parametrize("wrong", [{"resource": ""}, {"resource": "x" * 201}, {"resource": "a\x00"}, {"resource": 7}, {"location_id": ""}])
async def test_names_that_cannot_be_are_a_422(postroom: Postroom, wrong: dict[str, Any]) -> None:
    async with started(postroom) as talk:
        answers = [await talk.post("/api/appointments", told(**wrong))]
        first = await made(talk)
        answers.append(await patched(talk, first["id"], **wrong))
    assert [answer.status_code for answer in answers] == [422, 422]
    assert await words(postroom) == {"created": 1}


async def test_the_location_of_an_appointment_stays(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        first = await made(talk)
        assert (await patched(talk, first["id"], location_id="Loc2")).status_code == 422


async def test_appointments_are_found_by_resource_location_and_time(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        ids = [(await made(talk, hour, location_id=location))["id"] for hour, location in ((0, "Loc1"), (1, "Loc1"), (2, "Loc2"))]
        ids.append((await made(talk, 1, resource="chair 2"))["id"])

        async def found(**asked: Any) -> list[int]:
            answer = await talk.get("/api/appointments", **asked)
            assert answer.status_code == 200, answer.text
            return [ids.index(one["id"]) for one in answer.json()["appointments"]]

        assert await found(resource="chair 1") == [2, 1, 0]
        assert await found(location_id="Loc1") == [1, 0]
        assert await found(starts_from=told(1)["starts_at"]) == [3, 2, 1]
        assert await found(starts_before=told(1)["starts_at"]) == [0]
        assert await found(starts_from=told(1)["starts_at"], starts_before=told(2)["starts_at"], resource="chair 1") == [1]
