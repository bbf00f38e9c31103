"""What is kept in step: a row changes only to something newer, and says whether it did."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from outbox.store import appointments, clients
from outbox.store.clients import Client
from outbox.testing import Postroom

NOON = datetime(2027, 1, 5, 12, tzinfo=UTC)
PAGE = UUID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")
CLIENT = Client(PAGE, NOON, name="Ada", products_services=("cut",), properties={"p1": 7})
BOOKING: dict[str, Any] = {
    "status": "scheduled",
    "starts_at": NOON,
    "ends_at": NOON + timedelta(hours=1),
    "contact_id": "c1",
    "title": "Cut",
    "notes": None,
}


async def test_a_client_with_an_equal_edit_time_is_decided_by_its_content(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        assert await clients.apply(connection, CLIENT) is True
        assert await clients.apply(connection, CLIENT) is None
        assert await clients.apply(connection, replace(CLIENT, name="Eve")) is False
        assert await clients.apply(connection, replace(CLIENT, name="Old", edited_at=NOON - timedelta(minutes=1))) is None
        assert await clients.apply(connection, replace(CLIENT, name="Eve", in_trash=True)) is False
        row = await clients.one(connection, PAGE)
    assert row is not None
    assert (row["name"], row["in_trash"], row["properties"]) == ("Eve", True, '{"p1": 7}')


async def test_an_appointment_is_created_changed_under_its_lock_and_listed(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        made = await appointments.create(connection, **BOOKING)
        async with connection.transaction():
            locked = await appointments.lock(connection, made["id"])
            assert locked == made
            changed = await appointments.change(connection, made["id"], **{**BOOKING, "status": "confirmed", "notes": "by phone"})
        assert (changed["status"], changed["notes"], changed["created_at"]) == ("confirmed", "by phone", made["created_at"])
        assert await appointments.one(connection, made["id"]) == changed
        assert [row["id"] for row in await appointments.find(connection, status="confirmed", contact_id="c1")] == [made["id"]]
        assert await appointments.find(connection, status="scheduled") == []
        assert await appointments.lock(connection, PAGE) is None
        assert await appointments.one(connection, PAGE) is None


async def test_an_appointment_under_a_given_id_is_made_once(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        made = await appointments.create_once(connection, PAGE, **BOOKING)
        assert made is not None
        assert made["id"] == PAGE
        assert await appointments.create_once(connection, PAGE, **{**BOOKING, "title": "Other"}) is None
        assert await appointments.one(connection, PAGE) == made


async def test_two_changes_of_one_appointment_happen_one_after_the_other(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        made = await appointments.create(connection, **BOOKING)

    async def confirm() -> str:
        async with postroom.pool.acquire() as connection, connection.transaction():
            row = await appointments.lock(connection, made["id"])
            assert row is not None
            await appointments.change(connection, made["id"], **{**BOOKING, "status": "confirmed"})
            return str(row["status"])

    assert sorted(await asyncio.gather(confirm(), confirm())) == ["confirmed", "scheduled"]


async def test_the_next_appointment_of_a_contact_is_the_first_that_still_stands(postroom: Postroom) -> None:
    soon = datetime.now(UTC).replace(microsecond=0)
    async with postroom.pool.acquire() as connection:
        for status, hours in (("cancelled", 1), ("confirmed", 3), ("scheduled", 2), ("scheduled", -5)):
            starts_at = soon + timedelta(hours=hours)
            await appointments.create(
                connection, **{**BOOKING, "status": status, "starts_at": starts_at, "ends_at": starts_at + timedelta(minutes=30)}
            )
        assert await appointments.next_of_contact(connection, "c1") == soon + timedelta(hours=2)
        assert await appointments.next_of_contact(connection, "c2") is None


@pytest.mark.parametrize("wrong", [{"status": "no-show"}, {"ends_at": NOON}])
async def test_an_impossible_appointment_is_refused_by_the_schema(postroom: Postroom, wrong: dict[str, Any]) -> None:
    async with postroom.pool.acquire() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await appointments.create(connection, **{**BOOKING, **wrong})
