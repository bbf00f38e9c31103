"""What GHL's misbehaving costs Phorest's notes, tags and points: nothing is made twice, and a thing that is gone there is no noise."""

from typing import Any

import pytest

from dispatcher.config import DispatcherSettings
from outbox import db
from outbox.store import links
from outbox.store import phorest as store
from outbox.store.phorest import Kind, PhorestRecord, event_for
from outbox.testing import Drain, Postroom
from tests.dispatcher.running import stage_all
from tests.dispatcher.salon import ADA, Ghl, ends

RECORDS: dict[Kind, dict[str, Any]] = {
    Kind.CHECKIN: {"serviceName": "Cut", "appointmentDate": "2027-01-05", "startTime": "10:00:00.000"},
    Kind.BOOKING: {"bookingId": "x1", "appointments": [{"serviceName": "Cut", "price": 10}]},
    Kind.LOYALTY: {"points": 120},
    Kind.PRODUCT: {"name": "Shampoo"},
}


async def sent(postroom: Postroom, drain: Drain, salon: DispatcherSettings, kind: Kind, **changed: Any) -> dict[str, int]:
    """A record about the contact c1, as an import leaves it, on its way."""
    async with db.transaction(postroom.pool) as connection:
        await store.apply(connection, Kind.CLIENT, [PhorestRecord(Kind.CLIENT, "x1", ADA)])
        await store.apply(connection, kind, [PhorestRecord(kind, "x1", RECORDS[kind] | changed, client_id="x1")])
        await links.join(connection, Kind.CLIENT.link, ours="x1", theirs="c1", destination="ghl", our_hash=None)
    await stage_all(postroom, event_for(kind, "x1"))
    return await drain(settings=salon, hurry=True)


@pytest.mark.parametrize(
    ("kind", "path", "effect"),
    [(Kind.CHECKIN, "/contacts/*/notes", "note"), (Kind.BOOKING, "/contacts/*/notes", "note"), (Kind.PRODUCT, "/locations/*/tags", "tag")],
)
@pytest.mark.parametrize("fault", ["drop", "truncate"])
async def test_an_answer_that_is_lost_is_looked_up_and_nothing_is_made_twice(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, ghl: Ghl, kind: Kind, path: str, effect: str, fault: str
) -> None:
    ghl[0].put_contact("c1")
    ghl[0].faults.add(fault, path, method="POST", after_work=True)
    totals = await sent(postroom, drain, salon, kind)
    assert (ghl[0].effects.count(effect), totals["dead"], totals["pending"]) == (1, 0, 0)
    assert await postroom.value("select made from crm.links where kind = $1", kind.link) is True


async def test_a_booking_that_changes_keeps_its_one_note(postroom: Postroom, drain: Drain, salon: DispatcherSettings, ghl: Ghl) -> None:
    ghl[0].put_contact("c1")
    await sent(postroom, drain, salon, Kind.BOOKING)
    await sent(postroom, drain, salon, Kind.BOOKING, appointments=[{"serviceName": "Cut", "deleted": True}])
    assert [note["body"] for note in ghl[0].store.notes["c1"].values()] == ["Booking cancelled\n- Cut"]
    assert await postroom.value("select made from crm.links where kind = 'phorest-booking'") is True


@pytest.mark.parametrize("kind", [Kind.CHECKIN, Kind.LOYALTY])
async def test_a_contact_that_was_deleted_in_ghl_is_told_and_kept_as_a_warning(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, ghl: Ghl, kind: Kind
) -> None:
    ghl[0].store.add_custom_field("contact.loyalty_points", "Loyalty points", location_id=ghl[0].settings.location_id)
    totals = await sent(postroom, drain, salon, kind)
    [(state, why)] = await ends(postroom, f"phorest.{kind}")
    assert (state, (why or "").startswith("its client is not in GHL"), totals["dead"]) == ("skipped", True, 0)
    assert await postroom.value("select warning from crm.phorest_records where kind = $1", kind.value) == why


async def test_points_without_a_field_to_put_them_are_no_fault_of_the_record(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, ghl: Ghl
) -> None:
    ghl[0].put_contact("c1")
    await sent(postroom, drain, salon, Kind.LOYALTY)
    assert await ends(postroom, "phorest.loyalty") == [("skipped", "not set up: the location has no custom field loyalty_points")]
    assert await postroom.value("select warning from crm.phorest_loyalty") is None


async def test_a_tag_that_is_there_is_taken_over(postroom: Postroom, drain: Drain, salon: DispatcherSettings, ghl: Ghl) -> None:
    ghl[0].store.tags["t1"] = {"id": "t1", "name": "shampoo", "locationId": ghl[0].settings.location_id}
    await sent(postroom, drain, salon, Kind.PRODUCT)
    assert (ghl[0].effects.count("tag"), await postroom.value("select made from crm.links where kind = 'phorest-product'")) == (0, False)
