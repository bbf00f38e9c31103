"""What a person has at hand leads to events and lanes; and what is not there is explained."""

import pytest

from outbox import finding
from outbox.store import find
from outbox.testing import Postroom
from tests.outbox.engine import put

SOURCES = ("app", "ghl")


async def lanes_of(postroom: Postroom, text: str) -> list[tuple[str, int | None]]:
    return [(lane.name, lane.newest) for lane in (await find.lead(postroom.pool, text, known_sources=SOURCES)).lanes]


@pytest.fixture
async def contact(postroom: Postroom) -> int:
    """A contact with an appointment, and an event of it. The event's id."""
    await postroom.pool.execute(
        """insert into crm.contacts (ghl_contact_id, email, phone, changed_at, content_hash)
           values ('c1', 'Ada@example.com', '+1 (555) 010-0199', now(), '')"""
    )
    await postroom.pool.execute(
        """insert into crm.appointments (starts_at, ends_at, title, contact_id, ghl_appointment_id)
           values (now(), now() + interval '1 hour', 'Cut', 'c1', 'g1')"""
    )
    (event_id,) = await put(postroom, "ghl:contact:c1")
    return event_id


@pytest.mark.parametrize("text", ["c1", "ada@EXAMPLE.com", "555 010 0199", "+15550100199", " ghl:contact:c1 "])
async def test_whatever_names_a_contact_leads_to_its_lane(postroom: Postroom, contact: int, text: str) -> None:
    assert (await lanes_of(postroom, text))[0] == ("ghl:contact:c1", contact)


async def test_an_address_leads_to_the_appointments_of_its_contact_too(postroom: Postroom, contact: int) -> None:
    appointment = await postroom.value("select id::text from crm.appointments")
    lanes = [name for name, _ in await lanes_of(postroom, "ada@example.com")]
    assert lanes == ["ghl:contact:c1", f"appointment:{appointment}", "ghl:appointment:g1", "contact:c1"]
    assert [name for name, _ in await lanes_of(postroom, "g1")] == [f"appointment:{appointment}", "ghl:appointment:g1"]


@pytest.fixture
async def salon(postroom: Postroom, contact: int) -> str:
    """That contact, and its appointment, as Phorest has them. The appointment's id here."""
    await postroom.pool.execute(
        """insert into crm.phorest_records (kind, id, client_id, original, content_hash)
           values ('client', 'p1', null, '{}', ''), ('appointment', 'v1', 'p1', '{}', ''), ('booking', 'b1', 'p1', '{}', '')"""
    )
    await postroom.pool.execute(
        """insert into crm.links (kind, ours, theirs, destination) values
           ('phorest-client', 'p1', 'c1', 'ghl'), ('phorest-appointment', 'v1', 'g1', 'ghl'), ('phorest-booking', 'b1', 'n1', 'ghl')"""
    )
    return str(await postroom.value("select id::text from crm.appointments"))


async def test_what_phorest_calls_something_leads_to_its_lanes(postroom: Postroom, salon: str) -> None:
    assert [name for name, _ in await lanes_of(postroom, "p1")] == ["ghl:contact:c1", "phorest:client:p1"]
    assert [name for name, _ in await lanes_of(postroom, "b1")] == ["phorest:booking:b1"]


async def test_a_record_of_phorest_and_what_it_is_at_ghl_lead_to_each_other(postroom: Postroom, salon: str) -> None:
    there = {
        "phorest:client:p1": ["ghl:contact:c1"],
        "phorest:appointment:v1": [f"appointment:{salon}", "ghl:appointment:g1"],
        "phorest:booking:b1": [],
        "contact:c1": ["ghl:contact:c1", "phorest:client:p1"],
        "ghl:appointment:g1": [f"appointment:{salon}", "phorest:appointment:v1"],
    }
    for lane, others in there.items():
        thing = await find.thing(postroom.pool, lane, contact_id=None)
        assert thing is not None
        assert (thing["contact_id"], thing["others"]) == ("c1", others), lane


async def test_a_number_and_a_key_lead_to_their_event(postroom: Postroom) -> None:
    event_id = await postroom.value("select outbox.stage('a', '{}', key => 'delivery-1')")
    for text in (str(event_id), f"#{event_id}", "delivery-1"):
        assert (await find.lead(postroom.pool, text, known_sources=SOURCES)).ids == (event_id,)


async def test_a_short_number_is_no_phone(postroom: Postroom, contact: int) -> None:
    assert await lanes_of(postroom, "0199") == []


async def test_an_absence_shows_what_was_turned_away_and_who_last_spoke(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.sources (name, accepted, last_accepted_at) values ('ghl', 1, now())")
    await postroom.pool.execute(
        """insert into outbox.rejected (at, source, reason, detail, body_bytes, body_head)
           select now() - n * interval '20 hours', 'ghl', 'bad signature', '', 0, '' from generate_series(0, 2) n"""
    )
    told = await finding.found(postroom.pool, "nobody@example.com", known_sources=SOURCES)
    assert (told["events"], told["lanes"]) == ([], [])
    assert [(one["source"], one["reason"], one["requests"]) for one in told["absence"]["rejected"]] == [("ghl", "bad signature", 2)]
    assert [one["source"] for one in told["absence"]["sources"]] == ["ghl"]
    assert "nobody" not in str(told)
