"""contact.changed: staged by whatever changes a contact, in its transaction, while somebody takes it, and without personal data."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.db import Connection
from outbox.kinds import CONTACT_CHANGED, ContactChange
from outbox.store import contacts, wanted
from outbox.store.contacts import Contact
from outbox.testing import Postroom

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SOON = timedelta(seconds=1)
ADA = Contact("c1", NOON, location_id="here", first_name="Ada", email="ada@example.com", tags=("spa", "new"), custom_fields={"size": ["x"]})


@pytest.fixture
async def listening(postroom: Postroom) -> Postroom:
    """A database that somebody takes contact.changed from."""
    await wanted.want(postroom.pool, {CONTACT_CHANGED, "something.else"})
    return postroom


async def apply(postroom: Postroom, contact: Contact) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        await contacts.apply(connection, contact)


async def told(postroom: Postroom) -> list[ContactChange]:
    return [ContactChange.model_validate_json(event["payload"]) for event in await postroom.staged(CONTACT_CHANGED)]


async def test_nobody_takes_it_so_nothing_is_staged(postroom: Postroom) -> None:
    await wanted.want(postroom.pool, {"something.else"})
    await apply(postroom, ADA)
    assert await postroom.staged() == []


async def test_a_new_contact_is_told_with_all_that_it_has(listening: Postroom) -> None:
    await apply(listening, ADA)
    [event] = await listening.staged()
    assert (event["source"], event["kind"], event["key"], event["lane"]) == ("postroom", "contact.changed", None, "contact:c1")
    assert json.loads(event["payload"]) == {
        "contact_id": "c1",
        "location_id": "here",
        "change": "created",
        "fields": ["custom_fields.size", "email", "first_name", "location_id", "tags"],
        "tags": {"before": [], "after": ["new", "spa"]},
        "changed_at": "2026-01-05T12:00:00+00:00",
    }


async def test_a_new_contact_of_which_nothing_is_known_is_told_too(listening: Postroom) -> None:
    await apply(listening, Contact("c1", NOON))
    [change] = await told(listening)
    assert (change.change, change.fields) == ("created", frozenset())


async def test_it_names_fields_and_holds_no_values(listening: Postroom) -> None:
    await apply(listening, ADA)
    await apply(listening, replace(ADA, changed_at=NOON + SOON, email="countess@example.com", custom_fields={"size": ["y"], "club": "1"}))
    _, change = await told(listening)
    assert change.change == "updated"
    assert change.fields == {"email", "custom_fields.size", "custom_fields.club"}
    assert (change.tags.added, change.tags.removed) == (frozenset(), frozenset())
    written = "".join(event["payload"] for event in await listening.staged())
    assert "example.com" not in written
    assert "Ada" not in written


async def test_tags_are_told_before_and_after(listening: Postroom) -> None:
    await apply(listening, ADA)
    await apply(listening, replace(ADA, changed_at=NOON + SOON, tags=("gold", "spa")))
    _, change = await told(listening)
    assert change.fields == {"tags"}
    assert change.tags.added == {"gold"}
    assert change.tags.removed == {"new"}


async def test_what_is_the_same_or_older_or_only_in_another_order_is_no_change(listening: Postroom) -> None:
    await apply(listening, ADA)
    for same in (
        ADA,
        replace(ADA, changed_at=NOON + SOON),
        replace(ADA, changed_at=NOON - SOON, first_name="Eve"),
        replace(ADA, tags=("new", "spa")),
    ):
        await apply(listening, same)
    await listening.pool.execute("update crm.contacts set synced_at = now(), echo_of = 7, tags = '{new,spa}'")
    assert len(await told(listening)) == 1


async def test_a_deleted_contact_has_nothing_until_it_is_restored(listening: Postroom) -> None:
    await apply(listening, ADA)
    async with listening.pool.acquire() as connection:
        assert await contacts.mark_deleted(connection, "c1", location_id="here")
    await apply(listening, replace(ADA, changed_at=NOON + SOON, tags=("spa",)))
    _, deleted, restored = await told(listening)
    assert [deleted.change, restored.change] == ["deleted", "restored"]
    assert deleted.tags.removed == {"spa", "new"}
    assert deleted.tags.after == frozenset()
    assert restored.tags.added == {"spa"}
    assert "first_name" in deleted.fields & restored.fields


async def test_a_lead_that_becomes_a_customer_has_changed(listening: Postroom) -> None:
    await apply(listening, ADA)
    async with listening.pool.acquire() as connection:
        await contacts.mark_customer(connection, "c1", NOON)
    _, change = await told(listening)
    assert change.fields == {"customer_since"}


async def test_it_exists_only_if_the_change_does(listening: Postroom) -> None:
    class Regret(Exception):
        pass

    async def change(connection: Connection) -> None:
        async with connection.transaction():
            await contacts.apply(connection, ADA)
            raise Regret

    async with listening.pool.acquire() as connection:
        with pytest.raises(Regret):
            await change(connection)
    assert await listening.staged() == []


async def test_it_waits_behind_live_work(listening: Postroom) -> None:
    await apply(listening, ADA)
    assert await listening.rows("select urgency from outbox.pending") == [{"urgency": 1}]


async def test_a_statement_that_changes_many_tells_each(listening: Postroom) -> None:
    await listening.pool.execute(
        """insert into crm.contacts (ghl_contact_id, changed_at, content_hash, tags)
           select 'c' || n, now(), '', '{new}' from generate_series(1, 50) n"""
    )
    await listening.pool.execute("update crm.contacts set tags = '{old}' where ghl_contact_id in ('c3', 'c4')")
    changes = await told(listening)
    assert [change.change for change in changes] == ["created"] * 50 + ["updated"] * 2
    assert {change.contact_id for change in changes[50:]} == {"c3", "c4"}


async def test_a_page_that_adds_some_and_changes_others_tells_each_once(listening: Postroom) -> None:
    eve, zoe = replace(ADA, ghl_contact_id="c2"), replace(ADA, ghl_contact_id="c3")
    later = NOON + SOON
    async with listening.pool.acquire() as connection, connection.transaction():
        await contacts.apply_many(connection, [ADA, eve])
        await contacts.apply_many(connection, [replace(ADA, changed_at=later), replace(eve, tags=("gold",), changed_at=later), zoe])
    told_of = [(change.contact_id, change.change) for change in await told(listening)]
    assert sorted(told_of) == [("c1", "created"), ("c2", "created"), ("c2", "updated"), ("c3", "created")]


async def test_what_nobody_took_for_a_week_is_staged_no_more(listening: Postroom) -> None:
    assert await wanted.forget(listening.pool) == []
    await listening.pool.execute("update outbox.wanted set seen_at = now() - interval '8 days'")
    await wanted.want(listening.pool, {CONTACT_CHANGED})
    assert await wanted.forget(listening.pool) == [], "somebody is here again"
    await listening.pool.execute("update outbox.wanted set seen_at = now() - interval '8 days'")
    assert await wanted.forget(listening.pool) == [CONTACT_CHANGED]
    await apply(listening, ADA)
    assert await listening.staged() == []


async def test_who_is_here_is_written_down_once_an_hour_at_most(listening: Postroom) -> None:
    async def seen() -> Any:
        [row] = await wanted.every(listening.pool)
        return row["seen_at"]

    first = await seen()
    await wanted.want(listening.pool, {CONTACT_CHANGED})
    assert await seen() == first
    await listening.pool.execute("update outbox.wanted set seen_at = now() - interval '2 hours'")
    await wanted.want(listening.pool, {CONTACT_CHANGED})
    assert await seen() > first
