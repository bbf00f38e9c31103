"""crm.contacts and its view of leads: only newer replaces older, our own echo is known, and a visit makes a customer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.store import appointments, contacts
from outbox.store.contacts import Applied, Contact
from outbox.store.ghl_appointments import How
from outbox.testing import Postroom

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SOON = timedelta(seconds=1)
ADA = Contact("c1", NOON, location_id="here", first_name="Ada", tags=("new",), custom_fields={"size": ["x"]})
CREATED, UPDATED, UNCHANGED = Applied(How.CREATED), Applied(How.UPDATED), Applied(How.UNCHANGED)
# As code before the table had its new name sends it.
OF_BEFORE = """
insert into crm.leads as l (ghl_contact_id, location_id, first_name, last_name, email, phone, company, source, tags, custom_fields,
                            added_at, changed_at, content_hash)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13)
on conflict (ghl_contact_id) do update
set location_id = excluded.location_id, first_name = excluded.first_name, last_name = excluded.last_name, email = excluded.email,
    phone = excluded.phone, company = excluded.company, source = excluded.source, tags = excluded.tags,
    custom_fields = excluded.custom_fields, added_at = excluded.added_at, changed_at = excluded.changed_at,
    content_hash = excluded.content_hash, deleted_at = null, synced_at = now()
where l.changed_at < excluded.changed_at or (l.changed_at = excluded.changed_at and l.content_hash <> excluded.content_hash)
   or l.deleted_at is not null
returning (xmax = 0) created"""


async def row_of(postroom: Postroom, contact_id: str = "c1") -> dict[str, Any]:
    [row] = await postroom.rows("select * from crm.contacts where ghl_contact_id = $1", contact_id)
    return row


async def applied(postroom: Postroom, contact: Contact = ADA, *, echo_of: int | None = None) -> Applied:
    async with postroom.pool.acquire() as connection, connection.transaction():
        return await contacts.apply(connection, contact, echo_of=echo_of)


async def test_a_contact_is_created_then_updated_by_what_is_newer_and_by_nothing_older(postroom: Postroom) -> None:
    assert await applied(postroom) == CREATED
    assert await applied(postroom) == UNCHANGED, "the same again"
    assert await applied(postroom, replace(ADA, changed_at=NOON + SOON, first_name="Eve")) == UPDATED
    assert await applied(postroom) == UNCHANGED, "an older state"
    assert await applied(postroom, replace(ADA, changed_at=NOON + SOON, first_name="Zoe")) == UPDATED, "same time, other content"
    row = await row_of(postroom)
    assert (row["first_name"], row["tags"], row["custom_fields"]) == ("Zoe", ["new"], '{"size": ["x"]}')
    assert await postroom.value("select count(*) from crm.contacts") == 1


async def test_the_order_of_tags_is_no_change_of_a_contact(postroom: Postroom) -> None:
    await applied(postroom, replace(ADA, tags=("a", "b")))
    assert await applied(postroom, replace(ADA, tags=("b", "a"))) == UNCHANGED


async def test_the_same_content_at_a_later_time_moves_only_the_version_on(postroom: Postroom) -> None:
    await applied(postroom)
    assert await applied(postroom, replace(ADA, changed_at=NOON + 2 * SOON)) == UNCHANGED
    assert (await row_of(postroom))["changed_at"] == NOON + 2 * SOON
    assert await applied(postroom, replace(ADA, changed_at=NOON + SOON, first_name="Old")) == UNCHANGED
    assert (await row_of(postroom))["first_name"] == "Ada"


async def test_a_deleted_contact_is_marked_once_and_comes_back_when_it_is_seen_again(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        assert not await contacts.mark_deleted(connection, "c1", location_id="here")
        await contacts.apply(connection, ADA)
        assert await contacts.mark_deleted(connection, "c1", location_id="here")
        assert not await contacts.mark_deleted(connection, "c1", location_id="here")
        assert (await row_of(postroom))["deleted_at"] is not None
        assert await contacts.apply(connection, ADA) == UPDATED
        row = await contacts.one(connection, "c1")
        assert row is not None
        assert row["deleted_at"] is None
        assert await contacts.one(connection, "c2") is None


async def test_another_location_that_does_not_know_a_contact_does_not_delete_it(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        await contacts.apply(connection, ADA)
        assert not await contacts.mark_deleted(connection, "c1", location_id="elsewhere")
        await contacts.apply(connection, Contact("c2", NOON))
        assert await contacts.mark_deleted(connection, "c2", location_id="elsewhere"), "of a contact whose location nobody said"


# ── echo


async def test_what_we_wrote_ourselves_is_an_echo_until_somebody_else_writes(postroom: Postroom) -> None:
    await applied(postroom)
    tagged = replace(ADA, changed_at=NOON + SOON, tags=("new", "appointment-confirmed"))
    assert await applied(postroom, tagged, echo_of=7) == UPDATED
    assert await applied(postroom, tagged) == Applied(How.ECHO, 7)
    assert await applied(postroom, tagged) == Applied(How.ECHO, 7), "a second webhook of the same write"
    foreign = replace(tagged, changed_at=NOON + 2 * SOON, first_name="Eve")
    assert await applied(postroom, foreign) == UPDATED
    assert (await row_of(postroom))["echo_of"] is None
    assert await applied(postroom, foreign) == UNCHANGED
    assert await applied(postroom, tagged) == UNCHANGED, "our own state, come late"


async def test_an_echo_that_came_before_we_wrote_it_down_is_one_from_then_on(postroom: Postroom) -> None:
    assert await applied(postroom) == CREATED
    assert await applied(postroom, echo_of=7) == UNCHANGED
    assert await applied(postroom) == Applied(How.ECHO, 7)
    assert await applied(postroom, echo_of=9) == UNCHANGED
    assert await applied(postroom) == Applied(How.ECHO, 9)


async def test_a_deleted_contact_is_no_echo(postroom: Postroom) -> None:
    await applied(postroom, echo_of=7)
    async with postroom.pool.acquire() as connection:
        await contacts.mark_deleted(connection, "c1", location_id="here")
    assert await applied(postroom) == UPDATED
    row = await row_of(postroom)
    assert (row["deleted_at"], row["echo_of"]) == (None, None)


# ── customers


async def test_the_first_appointment_that_took_place_makes_a_lead_a_customer(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        assert not await contacts.mark_customer(connection, "c1", NOON), "nobody knows it yet"
        await contacts.apply(connection, ADA)
        assert await postroom.value("select count(*) from crm.leads") == 1
        assert await contacts.mark_customer(connection, "c1", NOON)
        assert not await contacts.mark_customer(connection, "c1", NOON + SOON), "a later one"
        assert (await row_of(postroom))["customer_since"] == NOON
        assert await contacts.mark_customer(connection, "c1", NOON - SOON), "an earlier one, told later"
        assert (await row_of(postroom))["customer_since"] == NOON - SOON
    assert await postroom.value("select count(*) from crm.leads") == 0


async def test_nobody_is_a_customer_since_a_time_to_come(postroom: Postroom) -> None:
    await applied(postroom)
    async with postroom.pool.acquire() as connection:
        assert await contacts.mark_customer(connection, "c1", datetime(2100, 1, 1, tzinfo=UTC))
    assert await postroom.value("select customer_since between now() - interval '1 minute' and now() from crm.contacts")


async def test_a_customer_stays_one_whatever_ghl_says_of_it(postroom: Postroom) -> None:
    await applied(postroom)
    async with postroom.pool.acquire() as connection:
        await contacts.mark_customer(connection, "c1", NOON)
        await contacts.apply(connection, replace(ADA, changed_at=NOON + SOON, first_name="Eve"))
    assert (await row_of(postroom))["customer_since"] == NOON


@pytest.mark.parametrize("status", ["completed", "confirmed"])
async def test_a_contact_that_is_first_seen_after_its_appointment_took_place_is_a_customer(postroom: Postroom, status: str) -> None:
    booking: dict[str, Any] = {"starts_at": NOON, "ends_at": NOON + timedelta(hours=1), "contact_id": "c1", "title": "Cut", "notes": None}
    async with postroom.pool.acquire() as connection:
        await appointments.create(connection, **{**booking, "status": status})
        await contacts.apply(connection, ADA)
    assert (await row_of(postroom))["customer_since"] == (NOON if status == "completed" else None)


# ── crm.leads, for whoever knows only that


async def test_code_from_before_the_table_was_renamed_goes_on_writing_leads(postroom: Postroom) -> None:
    async def write(at: datetime, name: str, hashed: bytes) -> bool | None:
        values = ("c1", "here", name, None, None, None, None, None, ["new"], "{}", NOON, at, hashed)
        return await postroom.value(OF_BEFORE, *values)  # type: ignore[no-any-return]

    assert [await write(NOON, "Ada", b"1"), await write(NOON, "Ada", b"1"), await write(NOON + SOON, "Eve", b"2")] == [True, None, False]
    delete = "update crm.leads set deleted_at = now(), synced_at = now() where ghl_contact_id = $1 and deleted_at is null returning id"
    assert [await postroom.value(delete, "c1") is None, await postroom.value(delete, "c1") is None] == [False, True]
    await postroom.pool.execute("update crm.contacts set customer_since = now()")
    assert await write(NOON + 2 * SOON, "Zoe", b"3") is False, "a customer by now"
    row = await row_of(postroom)
    assert (row["first_name"], row["deleted_at"]) == ("Zoe", None)


# ── a page


async def page_applied(postroom: Postroom, *found: Contact) -> dict[str, How]:
    async with postroom.pool.acquire() as connection, connection.transaction():
        return await contacts.apply_many(connection, found)


async def test_of_a_page_only_what_is_newer_is_written_and_what_is_the_same_is_not_even_locked(postroom: Postroom) -> None:
    eve = replace(ADA, ghl_contact_id="c2", first_name="Eve")
    assert await page_applied(postroom, ADA, eve) == {"c1": How.CREATED, "c2": How.CREATED}
    before = await postroom.rows("select ghl_contact_id, xmin::text, xmax::text from crm.contacts order by 1")
    assert await page_applied(postroom, ADA, replace(eve, changed_at=NOON - SOON, first_name="Older")) == {}
    assert await postroom.rows("select ghl_contact_id, xmin::text, xmax::text from crm.contacts order by 1") == before
    changed = replace(ADA, changed_at=NOON + SOON, first_name="Zoe")
    assert await page_applied(postroom, changed, replace(eve, changed_at=NOON + SOON)) == {"c1": How.UPDATED}
    assert [row["changed_at"] for row in await postroom.rows("select changed_at from crm.contacts")] == [NOON + SOON] * 2


async def test_of_a_page_that_moves_an_echos_version_the_echo_stays_one(postroom: Postroom) -> None:
    await applied(postroom, echo_of=7)
    assert await page_applied(postroom, replace(ADA, changed_at=NOON + SOON)) == {}
    assert await applied(postroom, replace(ADA, changed_at=NOON + SOON)) == Applied(How.ECHO, 7)


async def test_a_page_brings_a_deleted_contact_back(postroom: Postroom) -> None:
    await applied(postroom)
    async with postroom.pool.acquire() as connection:
        await contacts.mark_deleted(connection, "c1", location_id="here")
    assert await page_applied(postroom, ADA) == {"c1": How.UPDATED}
    assert (await row_of(postroom))["deleted_at"] is None
