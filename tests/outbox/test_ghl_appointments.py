"""GHL's appointments in crm.appointments: newer states are applied, our own echo is known, and no webhook undoes what we say."""

import asyncio
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from outbox.db import Connection
from outbox.errors import DatabaseUnavailable
from outbox.kinds import AppointmentStatus
from outbox.store import appointments, ghl_appointments
from outbox.store.ghl_appointments import Applied, GhlAppointment, How
from outbox.testing import Postroom
from tests.outbox.booking import HOUR, TEN, fields, insert
from tests.outbox.waiting import until_it_waits_for_a_lock

SHOWN = GhlAppointment(
    "g1",
    AppointmentStatus.SCHEDULED,
    TEN,
    TEN + HOUR,
    TEN,
    ghl_status="new",
    calendar_id="cal",
    contact_id="c1",
    title="Cut",
    notes="by phone",
)
LATER = TEN + timedelta(minutes=1)
CONFIRMED = replace(SHOWN, status=AppointmentStatus.CONFIRMED, ghl_status="confirmed", changed_at=LATER)


async def apply(postroom: Postroom, theirs: GhlAppointment) -> Applied:
    async with postroom.pool.acquire() as connection, connection.transaction():
        return await ghl_appointments.apply(connection, theirs)


async def answered(postroom: Postroom, appointment_id: UUID, theirs: GhlAppointment, *, echo_of: int = 7) -> bool:
    async with postroom.pool.acquire() as connection, connection.transaction():
        return await ghl_appointments.answered(connection, appointment_id, theirs, echo_of=echo_of)


async def row(postroom: Postroom) -> dict[str, Any]:
    """The one that there is."""
    (one,) = await postroom.rows("select * from crm.appointments")
    return one


# ── what somebody does in GHL


async def test_an_appointment_that_is_new_to_us_is_made(postroom: Postroom) -> None:
    applied = await apply(postroom, SHOWN)
    made = await row(postroom)
    assert applied == Applied(made["id"], How.CREATED)
    assert (made["status"], made["ghl_status"], made["starts_at"], made["ends_at"]) == ("scheduled", "new", TEN, TEN + HOUR)
    assert (made["title"], made["notes"], made["contact_id"], made["calendar_id"]) == ("Cut", "by phone", "c1", "cal")
    assert (made["ghl_appointment_id"], made["changed_at"], made["echo_of"]) == ("g1", TEN, None)
    assert await postroom.staged() == [], "what GHL knows already is not told to it"


async def test_one_that_ended_before_we_saw_it_is_made_as_it_is(postroom: Postroom) -> None:
    await apply(postroom, replace(SHOWN, status=AppointmentStatus.COMPLETED, ghl_status="showed", title=None))
    made = await row(postroom)
    assert (made["status"], made["title"]) == ("completed", "Appointment")


async def test_only_what_is_newer_and_different_changes_ours(postroom: Postroom) -> None:
    await apply(postroom, CONFIRMED)
    assert (await apply(postroom, CONFIRMED)).how is How.UNCHANGED
    assert (await apply(postroom, replace(CONFIRMED, changed_at=LATER + HOUR))).how is How.UNCHANGED, "the same, stated later"
    assert (await apply(postroom, SHOWN)).how is How.UNCHANGED, "an older state"
    assert (await row(postroom))["status"] == "confirmed"
    assert (await apply(postroom, replace(CONFIRMED, title="Colour"))).how is How.UPDATED, "same time, other content"
    assert (await row(postroom))["title"] == "Colour"


async def test_the_zone_in_which_a_time_is_stated_is_no_change(postroom: Postroom) -> None:
    await apply(postroom, SHOWN)
    dublin = timezone(timedelta(hours=1))
    assert (await apply(postroom, replace(SHOWN, starts_at=TEN.astimezone(dublin), changed_at=LATER))).how is How.UNCHANGED


async def test_what_ghl_does_not_say_stays(postroom: Postroom) -> None:
    await apply(postroom, SHOWN)
    await apply(postroom, replace(CONFIRMED, starts_at=TEN + HOUR / 2, calendar_id=None, contact_id=None, title=None, notes=None))
    now = await row(postroom)
    assert (now["status"], now["starts_at"]) == ("confirmed", TEN + HOUR / 2)
    assert (now["calendar_id"], now["contact_id"], now["title"], now["notes"]) == ("cal", "c1", "Cut", "by phone")


async def test_a_status_that_cannot_be_any_more_stays_ours_and_is_told(postroom: Postroom) -> None:
    await apply(postroom, replace(SHOWN, status=AppointmentStatus.CANCELLED, ghl_status="noshow"))
    applied = await apply(postroom, replace(CONFIRMED, title="Colour"))
    now = await row(postroom)
    assert (applied.how, applied.kept_status) == (How.UPDATED, AppointmentStatus.CANCELLED)
    assert (now["status"], now["ghl_status"], now["title"]) == ("cancelled", "confirmed", "Colour")


async def test_two_that_see_a_new_appointment_at_once_make_one(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as one, postroom.pool.acquire() as other:

        async def see(connection: Connection, theirs: GhlAppointment) -> Applied:
            async with connection.transaction():
                return await ghl_appointments.apply(connection, theirs)

        async with one.transaction():
            first = await ghl_appointments.apply(one, SHOWN)
            waiting = asyncio.create_task(see(other, CONFIRMED))
            await until_it_waits_for_a_lock(postroom, other.get_server_pid())
        second = await waiting
    assert (first.how, second.how) == (How.CREATED, How.UPDATED)
    assert first.appointment_id == second.appointment_id == (await row(postroom))["id"]


async def test_what_is_double_booked_in_ghl_is_kept_without_its_resource(postroom: Postroom) -> None:
    ours = await insert(postroom.pool)
    applied = await apply(postroom, replace(SHOWN, resource="chair 1"))
    assert (applied.how, applied.in_the_way) == (How.CREATED, ours)
    assert await postroom.rows("select resource from crm.appointments where ghl_appointment_id = 'g1'") == [{"resource": None}]

    moved = await apply(postroom, replace(SHOWN, starts_at=TEN + HOUR, ends_at=TEN + 2 * HOUR, changed_at=LATER, resource="chair 1"))
    assert (moved.how, moved.in_the_way) == (How.UPDATED, None)
    back = await apply(postroom, replace(SHOWN, changed_at=LATER + HOUR))
    assert (back.how, back.in_the_way) == (How.UPDATED, ours)
    assert await postroom.value("select starts_at from crm.appointments where ghl_appointment_id = 'g1'") == TEN


@pytest.mark.parametrize(("before", "after"), [("scheduled", "cancelled"), ("confirmed", "cancelled"), ("completed", "completed")])
async def test_one_that_is_deleted_in_ghl_is_cancelled_unless_it_had_ended(postroom: Postroom, before: str, after: str) -> None:
    await apply(postroom, replace(SHOWN, status=AppointmentStatus(before)))
    async with postroom.pool.acquire() as connection:
        gone = await ghl_appointments.gone(connection, "g1")
        assert gone is not None
        assert gone["status"] == after
        assert await ghl_appointments.gone(connection, "g2") is None
    now = await row(postroom)
    assert (now["id"], now["status"], now["ghl_status"], now["ghl_appointment_id"]) == (gone["id"], after, "deleted", "g1")


# ── what we do there ourselves


async def test_what_we_wrote_comes_back_as_an_echo_as_often_as_it_comes(postroom: Postroom) -> None:
    ours = await insert(postroom.pool, resource=None)
    assert await answered(postroom, ours, SHOWN)
    for later in range(3):
        echo = await apply(postroom, replace(SHOWN, changed_at=TEN + later * HOUR))
        assert echo == Applied(ours, How.ECHO, echo_of=7)
    assert await answered(postroom, ours, CONFIRMED, echo_of=8)
    assert await apply(postroom, CONFIRMED) == Applied(ours, How.ECHO, echo_of=8)


async def test_a_change_of_somebody_else_is_no_echo_nor_is_what_follows_it(postroom: Postroom) -> None:
    ours = await insert(postroom.pool, resource=None)
    await answered(postroom, ours, SHOWN)
    assert await apply(postroom, CONFIRMED) == Applied(ours, How.UPDATED)
    assert await apply(postroom, CONFIRMED) == Applied(ours, How.UNCHANGED)
    back = replace(SHOWN, changed_at=LATER + HOUR, title="Colour")
    assert await apply(postroom, back) == Applied(ours, How.UPDATED, kept_status=AppointmentStatus.CONFIRMED)


async def test_the_answer_to_our_write_takes_nothing_back_that_was_said_since(postroom: Postroom) -> None:
    """The event of the first booking is handled while that of the move waits behind it: the slot of the move is not given away."""
    ours = await insert(postroom.pool)
    async with postroom.pool.acquire() as connection:
        await appointments.change(connection, ours, **fields(3, status="confirmed"))
    await answered(postroom, ours, SHOWN)
    now = await row(postroom)
    assert (now["starts_at"], now["status"], now["resource"]) == (TEN + 3 * HOUR, "confirmed", "chair 1")
    assert (now["ghl_appointment_id"], now["ghl_status"], now["calendar_id"], now["echo_of"]) == ("g1", "new", "cal", 7)


async def test_an_answer_that_is_older_than_what_we_have_seen_is_not_kept(postroom: Postroom) -> None:
    ours = await insert(postroom.pool, resource=None)
    await answered(postroom, ours, SHOWN)
    await apply(postroom, CONFIRMED)
    assert await answered(postroom, ours, replace(SHOWN, title="late"), echo_of=9)
    assert (await row(postroom))["echo_of"] is None
    assert (await apply(postroom, CONFIRMED)).how is How.UNCHANGED


async def test_an_answer_for_a_row_that_is_not_ours_is_told_to_be_so(postroom: Postroom) -> None:
    await apply(postroom, SHOWN)
    assert not await answered(postroom, UUID(int=7), SHOWN)
    assert (await row(postroom))["ghl_appointment_id"] == "g1"


async def test_a_webhook_that_was_quicker_than_our_answer_leaves_one_row(postroom: Postroom) -> None:
    ours = await insert(postroom.pool)
    twin = await apply(postroom, replace(SHOWN, resource="chair 1"))
    assert (twin.how, twin.in_the_way) == (How.CREATED, ours)
    assert await answered(postroom, ours, SHOWN)
    now = await row(postroom)
    assert (now["id"], now["resource"], now["echo_of"]) == (ours, "chair 1", 7)
    assert await apply(postroom, SHOWN) == Applied(ours, How.ECHO, echo_of=7)


async def test_what_somebody_changed_before_our_answer_was_kept_is_not_lost(postroom: Postroom) -> None:
    ours = await insert(postroom.pool, resource=None)
    await apply(postroom, replace(CONFIRMED, title="Colour"))
    assert await answered(postroom, ours, SHOWN)
    now = await row(postroom)
    assert (now["id"], now["status"], now["title"], now["echo_of"]) == (ours, "confirmed", "Colour", None)
    assert await apply(postroom, replace(CONFIRMED, title="Colour")) == Applied(ours, How.UNCHANGED)


async def test_a_webhook_at_the_same_moment_as_our_answer_leaves_one_row(postroom: Postroom) -> None:
    ours = await insert(postroom.pool, resource=None)
    async with postroom.pool.acquire() as one, postroom.pool.acquire() as other:

        async def keep() -> bool:
            async with other.transaction():
                return await ghl_appointments.answered(other, ours, SHOWN, echo_of=7)

        async with one.transaction():
            await ghl_appointments.apply(one, SHOWN)
            waiting = asyncio.create_task(keep())
            await until_it_waits_for_a_lock(postroom, other.get_server_pid())
        assert await waiting
    assert ((await row(postroom))["id"], (await row(postroom))["echo_of"]) == (ours, 7)


async def test_a_stricter_transaction_that_came_too_late_is_to_be_run_again(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        await connection.execute("select 1")
        await apply(postroom, SHOWN)
        with pytest.raises(DatabaseUnavailable):
            await ghl_appointments.apply(connection, CONFIRMED)
    assert (await row(postroom))["status"] == "scheduled"


async def test_an_appointment_of_ours_is_never_taken_for_a_twin(postroom: Postroom) -> None:
    first, second = await insert(postroom.pool, resource=None), await insert(postroom.pool, resource=None)
    await answered(postroom, second, SHOWN)
    with pytest.raises(DatabaseUnavailable, match="g1 of GHL changed under our hands"):
        await answered(postroom, first, SHOWN)
    assert await postroom.value("select count(*) from crm.appointments") == 2
