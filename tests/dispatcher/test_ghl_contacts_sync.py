"""ghl-contacts against a simulated GHL: what changed, what was deleted, what must not be believed."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from dispatcher.config import DispatcherSettings
from dispatcher.syncs import ghl_contacts
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS
from outbox import db
from outbox.store import syncs
from outbox.testing import Postroom
from simulators.ghl import GhlSimulator
from tests.dispatcher.syncing import asked, carried_out, register, run_row
from tests.dispatcher.test_contact_handler import check_same

Ghl = tuple[GhlSimulator, str]
NAME = GHL_CONTACTS.name


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few contacts are several pages."""
    monkeypatch.setattr(ghl_contacts, "PAGE", 3)
    monkeypatch.setattr(ghl_contacts, "SWEEP_PAGE", 2)


async def ran(postroom: Postroom, settings: DispatcherSettings, type_: str = "incremental", **more: Any) -> dict[str, Any]:
    """A run from its request to its end."""
    await register(postroom, GHL_CONTACTS, settings=settings)
    run_id = await asked(postroom, NAME, type_, **more)
    await carried_out(postroom, GHL_CONTACTS, settings=settings)
    return await run_row(postroom, run_id)


def counts(row: dict[str, Any]) -> dict[str, int]:
    names = ("created", "updated", "unchanged", "deleted", "errors")
    return {name: row[name] for name in names if row[name]}


async def ids(postroom: Postroom, where: str = "deleted_at is null") -> list[str]:
    return [row["ghl_contact_id"] for row in await postroom.rows(f"select ghl_contact_id from crm.contacts where {where} order by 1")]


async def test_the_first_run_brings_all_and_the_next_what_changed(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    field = simulator.store.custom_fields[0]
    for n in range(7):
        simulator.put_contact(f"c{n}", firstName=f"Name {n}", tags=["vip"], customFields=[{"id": field["id"], "value": n}])
    row = await ran(postroom, simulated)
    assert (row["state"], counts(row), row["pages"]) == ("done", {"created": 7}, 3)
    assert (row["progress"], row["expected"], row["calls"]) == (7, 7, 5)  # the fields, three pages, and the end
    assert row["quota_left"] is not None
    for n in range(7):
        await check_same(postroom, simulator, f"c{n}")
    custom = await postroom.value("select custom_fields from crm.contacts where ghl_contact_id = 'c3'")
    assert json.loads(custom) == {"appointment_status": 3}

    simulator.put_contact("c3", firstName="Renamed")
    simulator.put_contact("c8", firstName="New")
    await postroom.pool.execute("update outbox.syncs set watermark = now() - interval '1 ms'")
    row = await ran(postroom, simulated)
    assert (counts(row)["created"], counts(row)["updated"]) == (1, 1)
    await check_same(postroom, simulator, "c3")


async def test_what_lies_before_the_overlap_is_not_asked_for_again(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1", firstName="Ada")
    await ran(postroom, simulated)
    await postroom.pool.execute("update outbox.syncs set watermark = now() + interval '11 min'")
    assert counts(await ran(postroom, simulated)) == {}
    await postroom.pool.execute("update outbox.syncs set watermark = now() + interval '9 min'")
    assert counts(await ran(postroom, simulated)) == {"unchanged": 1}
    assert counts(await ran(postroom, simulated, hours_back=2)) == {"unchanged": 1}


async def test_older_news_of_the_search_index_does_not_replace_newer_of_a_webhook(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1", firstName="Old")
    await ran(postroom, simulated)
    newer = datetime.fromisoformat(simulator.store.contacts["c1"]["dateUpdated"]) + timedelta(seconds=5)
    await postroom.pool.execute("update crm.contacts set first_name = 'New', changed_at = $1, content_hash = '\\x00'", newer)
    assert counts(await ran(postroom, simulated)) == {"unchanged": 1}
    assert await postroom.value("select first_name from crm.contacts") == "New"


async def test_a_full_run_marks_what_ghl_has_no_more_and_only_that(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    for n in range(8):
        simulator.put_contact(f"c{n}", firstName=f"Name {n}")
    await ran(postroom, simulated)
    for contact_id in ("c2", "c5", "c6"):
        simulator.remove_contact(contact_id)
    await postroom.pool.execute(
        "insert into crm.contacts (ghl_contact_id, location_id, changed_at, content_hash) values ('x', 'elsewhere', now(), '')"
    )
    row = await ran(postroom, simulated, "full")
    assert (row["state"], counts(row)) == ("done", {"unchanged": 5, "deleted": 3})
    assert await ids(postroom, "deleted_at is not null") == ["c2", "c5", "c6"]
    assert await postroom.value("select count(*) from outbox.run_seen") == 0


async def test_a_contact_that_the_search_overlooks_is_not_taken_for_deleted(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    for n in range(4):
        simulator.put_contact(f"c{n}", firstName=f"Name {n}")
    await ran(postroom, simulated)
    overlooked = {"contacts": [], "total": 0}
    simulator.faults.add("answer", "/contacts/search", status=200, body=overlooked)
    row = await ran(postroom, simulated, "full")
    assert (row["state"], counts(row)) == ("done", {"unchanged": 4})
    assert await ids(postroom) == ["c0", "c1", "c2", "c3"]


async def test_too_many_deletions_stop_at_the_brake_until_a_person_allows_them(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    for n in range(12):
        simulator.put_contact(f"c{n:02}", firstName=f"Name {n}")
    await ran(postroom, simulated)
    before = await postroom.value("select watermark from outbox.syncs")
    for n in range(9):
        simulator.remove_contact(f"c{n:02}")
    row = await ran(postroom, simulated, "full")
    assert row["state"] == "braked"
    assert row["reason"] == (
        "GHL shows 9 of our 12 contacts no more; more than 5 are marked as deleted only if a person allows it: "
        "postroom syncs release ghl-contacts --deletions 9"
    )
    assert len(await ids(postroom)) == 12
    assert await postroom.value("select watermark from outbox.syncs") == before

    async with db.transaction(postroom.pool) as connection:
        await syncs.allow(connection, NAME, deletions=9)
    row = await ran(postroom, simulated, "full")
    assert (row["state"], counts(row)) == ("done", {"unchanged": 3, "deleted": 9})
    assert await postroom.value("select may_delete from outbox.syncs") is None


async def test_a_rehearsal_of_a_full_run_says_what_it_would_delete(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    for n in range(4):
        simulator.put_contact(f"c{n}", firstName=f"Name {n}")
    await ran(postroom, simulated)
    simulator.remove_contact("c1")
    simulator.put_contact("c9")
    row = await ran(postroom, simulated, "full", dry_run=True)
    assert (row["state"], counts(row)) == ("done", {"created": 1, "unchanged": 3, "deleted": 1})
    assert await ids(postroom) == ["c0", "c1", "c2", "c3"]


async def test_an_outage_in_the_middle_costs_no_page_twice(postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    for n in range(9):
        simulator.put_contact(f"c{n}", firstName=f"Name {n}")
    await register(postroom, GHL_CONTACTS, settings=simulated)
    run_id = await asked(postroom, NAME)
    simulator.faults.add("garble", "/contacts/search", probability=0.5, times=3)
    await carried_out(postroom, GHL_CONTACTS, settings=simulated)
    row = await run_row(postroom, run_id)
    assert (row["state"], counts(row), row["pages"]) == ("done", {"created": 9}, 3)


async def test_a_revoked_key_holds_the_run_with_its_reason_and_the_watermark_stays(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    ghl[0].put_contact("c1")
    revoked = simulated.model_copy(update={"ghl_api_key": SecretStr("pit-revoked")})
    await register(postroom, GHL_CONTACTS, settings=revoked)
    run_id = await asked(postroom, NAME)
    await carried_out(postroom, GHL_CONTACTS, settings=revoked, until="state = 'waiting'")
    row = await run_row(postroom, run_id)
    assert "401" in row["reason"]
    assert await postroom.value("select watermark from outbox.syncs") is None
    assert await postroom.value("select state from outbox.destinations where name = 'ghl'") == "unauthorised"


async def test_a_contact_without_an_id_is_an_error_of_its_own_and_no_obstacle(
    postroom: Postroom, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1", firstName="Ada")
    odd = {
        "contacts": [
            {"firstName": "?"},
            {"id": "c7", "firstName": "Eve", "dateUpdated": "2026-01-01T00:00:00.000Z", "searchAfter": [1, "c7"]},
        ]
    }
    simulator.faults.add("answer", "/contacts/search", status=200, body=odd)
    row = await ran(postroom, simulated)
    assert (row["state"], counts(row)) == ("done", {"created": 2, "errors": 1})
    assert row["errors_by"] == '{"validation": 1}'


async def test_without_a_key_the_sync_is_off_and_says_why(postroom: Postroom) -> None:
    await register(postroom, GHL_CONTACTS)
    assert await postroom.value("select off from outbox.syncs") == "GHL_API_KEY and GHL_LOCATION_ID are missing"
