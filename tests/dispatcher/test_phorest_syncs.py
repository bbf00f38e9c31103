"""Phorest's syncs: what is there comes here once, what changed goes to GHL, a walk goes on, the audit finds what is missing."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.syncs.phorest import PHOREST_SYNCS
from dispatcher.syncs.phorest_audit import PHOREST_AUDIT
from dispatcher.syncs.table import SYNCS
from outbox import operators
from outbox.operators import Actor
from outbox.store import phorest_rollback as rollback
from outbox.testing import Drain, Postroom
from simulators.phorest_store import PhorestStore
from tests.dispatcher.salon import ADA, BEN, Ghl, Phorest, booked, contacts
from tests.dispatcher.syncing import asked, register, run_row

ANA = Actor("ana", "api")
BY_NAME = {sync.name: sync for sync in (*PHOREST_SYNCS, PHOREST_AUDIT)}


Pull = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def pull(postroom: Postroom, drain: Drain, salon: DispatcherSettings) -> Pull:
    """A run of a sync to its end, and what it staged with it. `alone`: GHL is not set up, so phase two waits."""

    async def run(name: str, type_: str | None = None, *, alone: bool = False, **more: Any) -> dict[str, Any]:
        settings = salon.model_copy(update={"ghl_api_key": None}) if alone else salon
        await register(postroom, BY_NAME[name], settings=settings)
        run_id = await asked(postroom, name, type_ or BY_NAME[name].types[0], **more)
        await drain(settings=settings, hurry=True, timeout_s=90)
        return await run_row(postroom, run_id)

    return run


def test_every_sync_has_the_cron_that_was_agreed_and_none_of_them_meets_another() -> None:
    crons = {name: next(iter(SYNCS[name].schedules.values())).cadence.expression for name in BY_NAME}  # type: ignore[union-attr]
    assert crons == {
        "phorest-clients": "2 */2 * * *",
        "phorest-appointments": "5-59/10 * * * *",
        "phorest-bookings": "35 */2 * * *",
        "phorest-checkins": "8,38 * * * *",
        "phorest-loyalty": "45 */12 * * *",
        "phorest-staff": "30 6 * * *",
        "phorest-products": "15 5 * * *",
        "phorest-audit": "0 1 * * *",
    }


async def test_clients_come_here_with_their_originals_and_only_what_changed_is_staged(
    postroom: Postroom, pull: Pull, phorest: Phorest
) -> None:
    for n in range(150):
        phorest[0].put_client(f"p{n:03}", firstName=f"N{n}", deleted=n == 7, archived=n == 8)
    run = await pull("phorest-clients", alone=True)
    assert (run["state"], run["created"], run["pages"]) == ("done", 150, 2)
    assert await postroom.value("select count(*)::int from crm.phorest_clients where deleted") == 1
    assert len(await postroom.staged("phorest.client")) == 150
    phorest[0].put_client("p003", firstName="Other")
    run = await pull("phorest-clients", alone=True)
    assert run["updated"] == 1
    assert len(await postroom.staged("phorest.client")) == 151
    assert await postroom.rows("select distinct urgency::int from outbox.busy") == [{"urgency": 1}]


async def test_a_walk_whose_rows_shift_goes_over_them_again(
    postroom: Postroom, pull: Pull, phorest: Phorest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(120):
        phorest[0].put_client(f"p{n:03}")
    real, seen = PhorestStore.rows, 0

    def shifting(self: PhorestStore, collection: str, branch_id: str | None = None) -> list[Any]:
        """The first row goes away before the second page is asked for, so that another one slips past."""
        nonlocal seen
        seen += 1
        return real(self, collection, branch_id)[seen > 1 :]

    monkeypatch.setattr(PhorestStore, "rows", shifting)
    await pull("phorest-clients", "full", alone=True)
    assert await postroom.value("select count(*)::int from crm.phorest_clients") == 120


async def test_an_interrupted_import_goes_on_at_its_page(postroom: Postroom, pull: Pull, phorest: Phorest) -> None:
    for n in range(250):
        phorest[0].put_client(f"p{n:03}")
    phorest[0].faults.add(
        "answer", "**/client", status=200, body={"page": {"size": 100, "totalElements": 250, "totalPages": 3, "number": 0}}
    )
    phorest[0].faults.add("drop", "**/client")
    run = await pull("phorest-clients", alone=True)
    assert (run["state"], run["created"], run["pages"]) == ("done", 250, 3)
    assert phorest[0].requests.count("GET", "**/client") == 5  # three pages, and the two that failed


@pytest.mark.parametrize("name", ["phorest-appointments", "phorest-staff", "phorest-audit"])
async def test_a_branch_that_the_business_has_not_pauses_the_sync_and_is_named(
    postroom: Postroom, pull: Pull, phorest: Phorest, name: str
) -> None:
    phorest[0].store.branches = {"other": "Another Salon"}
    run = await pull(name)
    assert run["state"] == "failed"
    paused = await postroom.value("select paused_why from outbox.syncs where name = $1", name)
    assert "correct PHOREST_BRANCHES" in paused


async def test_a_rehearsal_counts_and_keeps_nothing(postroom: Postroom, pull: Pull, phorest: Phorest) -> None:
    phorest[0].put_client("p1", **ADA)
    run = await pull("phorest-clients", dry_run=True)
    assert run["created"] == 1
    assert await postroom.value("select count(*)::int from crm.phorest_records") == 0
    assert await postroom.staged("phorest.client") == []


async def test_a_salon_goes_to_ghl_whole(postroom: Postroom, pull: Pull, phorest: Phorest, ghl: Ghl) -> None:
    simulator, today = phorest[0], await postroom.value("select now()::date::text")
    ghl[0].store.add_custom_field("contact.loyalty_points", "Loyalty points", location_id=ghl[0].settings.location_id)
    simulator.put_client("p1", **ADA, loyaltyCard={"serial": None, "points": 120})
    simulator.put_appointment("a1", clientId="p1", bookingId="b1", appointmentDate=today, state="PAID")
    simulator.put_appointment("a2", clientId="p1", bookingId="b1", appointmentDate=today, startTime="11:00:00.000", endTime="12:00:00.000")
    simulator.put("staffs", "s1", email="sam@example.com")
    simulator.put("products", "x1", name="Shampoo  Gold")
    for name in BY_NAME:
        if name != "phorest-audit":
            assert (await pull(name))["state"] == "done", name
    totals = await postroom.totals()
    assert (totals["pending"], totals["dead"]) == (0, 0)
    assert sorted(contact["firstName"] for contact in contacts(ghl[0])) == ["Ada", "Sam"]
    ada = next(contact for contact in contacts(ghl[0]) if contact["firstName"] == "Ada")
    assert sorted(event["appointmentStatus"] for event in booked(ghl[0])) == ["new", "showed"]
    notes = sorted(note["body"].split("\n")[0] for note in ghl[0].store.notes[ada["id"]].values())
    assert notes == ["Booking: 2 appointments, 110.00 in all", f"Checked in: Cut & finish, {today} 10:00"]
    assert [field["value"] for field in ada["customFields"]] == [120]
    assert [tag["name"] for tag in ghl[0].store.tags.values()] == ["shampoo gold"]
    written = ghl[0].effects.count()
    for name in ("phorest-clients", "phorest-checkins", "phorest-bookings", "phorest-products"):
        await pull(name, "full")
    assert ghl[0].effects.count() == written  # nothing of it was new


async def test_the_audit_finds_and_mends_what_is_missing_on_either_side(postroom: Postroom, pull: Pull, phorest: Phorest, ghl: Ghl) -> None:
    for name, who in (("p1", ADA), ("p2", BEN), ("p3", {"firstName": "Cat", "mobile": "353015550103"})):
        phorest[0].put_client(name, **who)
    await pull("phorest-clients")
    # p1 was never imported, p2 is gone from Phorest, p3's contact from GHL; all of it an hour ago, for GHL's index lags.
    await postroom.pool.execute("delete from crm.phorest_clients where id = 'p1'")
    phorest[0].remove("clients", "p2")
    gone = await postroom.value("select theirs from crm.links where ours = 'p3'")
    ghl[0].remove_contact(gone)
    await postroom.pool.execute("update crm.links set created_at = now() - interval '1 hour'")
    await postroom.pool.execute(
        "update crm.phorest_records set created_at = now() - interval '1 hour', imported_at = now() - interval '1 hour'"
    )
    run = await pull("phorest-audit")
    assert run["state"] == "done", run["reason"]
    assert await postroom.rows("select id, gap, repair is not null mended from crm.audit_gaps order by id") == [
        {"id": "p1", "gap": "not here", "mended": True},
        {"id": "p2", "gap": "not in phorest", "mended": True},
        {"id": "p3", "gap": "not in ghl", "mended": True},
    ]
    counts = json.loads(await postroom.value("select counts::text from crm.audits where ended_at is not null"))
    assert (counts["there"]["client"], counts["there"]["ghl contacts"]) == (2, 2)
    assert await postroom.value("select deleted from crm.phorest_clients where id = 'p2'") is True
    assert sorted(contact["firstName"] for contact in contacts(ghl[0])) == ["Ada", "Ben", "Cat"]
    assert await postroom.value("select count(*)::int from crm.phorest_clients") == 3


@pytest.mark.parametrize("name", sorted(BY_NAME))
async def test_a_sync_without_credentials_is_off_and_says_what_is_missing(postroom: Postroom, name: str) -> None:
    await register(postroom, BY_NAME[name])
    off = await postroom.value("select off from outbox.syncs where name = $1", name)
    assert off == "PHOREST_USERNAME and PHOREST_PASSWORD and PHOREST_BUSINESS_ID and PHOREST_BRANCHES are missing"


async def test_a_rollback_deletes_exactly_what_we_made_and_stopped_goes_on_when_it_is_asked_again(
    postroom: Postroom, pull: Pull, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    ghl[0].put_contact("c1", email=BEN["email"])
    phorest[0].put_client("p1", **ADA)
    phorest[0].put_client("p2", **BEN)
    today = await postroom.value("select now()::date::text")
    for n, client in enumerate(("p1", "p2")):
        phorest[0].put_appointment(f"a{n}", clientId=client, bookingId=f"b{n}", appointmentDate=today, state="CHECKED_IN")
    phorest[0].put("products", "x1")
    for name in ("phorest-clients", "phorest-bookings", "phorest-checkins", "phorest-products"):
        await pull(name)
    assert await rollback.left(postroom.pool) == {"appointment": 2, "booking": 2, "checkin": 2, "client": 1, "product": 1}
    staged, paused = await operators.roll_back_phorest(postroom.pool, ANA)
    assert (staged, "phorest-clients" in paused) == (8, True)
    await operators.stop_phorest_rollback(postroom.pool, ANA)
    await drain(settings=salon, hurry=True, timeout_s=60)
    assert sum((await rollback.left(postroom.pool)).values()) == 8, "what was stopped deletes nothing"
    for _ in range(2):
        assert (await operators.roll_back_phorest(postroom.pool, ANA))[0] == 8
    totals = await drain(settings=salon, hurry=True, timeout_s=60)
    assert (totals["dead"], await rollback.left(postroom.pool)) == (0, {})
    assert ([contact["id"] for contact in contacts(ghl[0])], booked(ghl[0]), ghl[0].store.tags) == (["c1"], [], {})
    assert not ghl[0].store.notes.get("c1")
    assert ghl[0].effects.count("contact.delete") == 1
