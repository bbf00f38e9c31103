"""Phorest's clients and staff → GHL contacts: once each, families share, mergers are followed, refusals are told and no noise."""

import json

import pytest

from dispatcher.config import DispatcherSettings
from outbox import Event
from outbox.testing import Drain, Postroom
from tests.dispatcher.handling import fate
from tests.dispatcher.running import stage_all
from tests.dispatcher.salon import ADA, BEN, Ghl, Phorest, contacts, ends, import_clients


async def test_a_client_becomes_a_contact_with_the_tag_and_a_link_with_both_hashes(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA, birthDate="1990-01-02", address={"city": "Dublin"})
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    [contact] = contacts(ghl[0])
    assert (contact["firstName"], contact["email"], contact["phone"], contact["city"]) == (
        "Ada",
        "ada@example.com",
        "+353015550100",
        "Dublin",
    )
    assert (contact["tags"], contact["source"]) == (["phorest"], "Phorest client p1")
    [link] = await postroom.rows("select * from crm.links")
    assert (link["kind"], link["ours"], link["theirs"], link["made"], link["shared"]) == (
        "phorest-client",
        "p1",
        contact["id"],
        True,
        False,
    )
    assert link["our_hash"] == await postroom.value("select content_hash from crm.phorest_clients")
    assert link["their_hash"] == await postroom.value("select content_hash from crm.contacts")
    assert json.loads(await postroom.value("select original::text from crm.phorest_clients")) == phorest[0].store.documents["clients"]["p1"]


async def test_a_second_import_without_a_change_writes_nothing(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    written = ghl[0].effects.count()
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    assert ghl[0].effects.count() == written
    assert (await ends(postroom, "phorest.client"))[-1] == ("skipped", "GHL has it as it is")


async def test_a_change_updates_the_contact_and_leaves_others_tags_alone(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    [contact] = contacts(ghl[0])
    ghl[0].put_contact(contact["id"], tags=[*contact["tags"], "vip"])
    phorest[0].put_client("p1", lastName="Other", archived=True)
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    [contact] = contacts(ghl[0])
    assert (contact["lastName"], sorted(contact["tags"])) == ("Other", ["phorest", "phorest-archived", "vip"])
    assert await postroom.value("select made from crm.links") is True


async def test_a_contact_that_is_there_is_taken_over_and_not_counted_as_made_by_us(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    ghl[0].put_contact("c1", email="ada@example.com", firstName="A.")
    phorest[0].put_client("p1", **ADA)
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    [contact] = contacts(ghl[0])
    assert (contact["id"], contact["firstName"], contact["tags"]) == ("c1", "Ada", ["phorest"])
    assert await postroom.rows("select theirs, made from crm.links") == [{"theirs": "c1", "made": False}]


async def test_a_family_with_one_telephone_shares_the_contact_of_who_came_first(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    phorest[0].put_client("p2", **{**BEN, "mobile": ADA["mobile"]})
    for client in ("p1", "p2"):
        await import_clients(postroom, client)
        await drain(settings=salon)
    [contact] = contacts(ghl[0])
    assert contact["firstName"] == "Ada"
    links = await postroom.rows("select ours, theirs, made, shared from crm.links order by ours")
    assert links == [
        {"ours": "p1", "theirs": contact["id"], "made": True, "shared": False},
        {"ours": "p2", "theirs": contact["id"], "made": False, "shared": True},
    ]


async def test_a_lost_answer_to_a_create_makes_no_second_contact(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    ghl[0].faults.add("drop", "/contacts/", method="POST", after_work=True)
    await import_clients(postroom, "p1")
    await drain(settings=salon, hurry=True)
    assert ghl[0].effects.count("contact") == 1
    assert await postroom.value("select made from crm.links") is True


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (400, ["phone should not be empty"], "validation warning: missing phone"),
        (400, ["email must be an email"], "validation warning: email must be an email"),
        (422, ["email must be an email"], "GHL will not take it (422): email must be an email"),
    ],
)
async def test_a_refusal_skips_the_client_names_the_field_and_stays_at_the_record(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl, status: int, message: list[str], told: str
) -> None:
    phorest[0].put_client("p1", **ADA)
    ghl[0].faults.add("answer", "/contacts/", method="POST", status=status, body={"statusCode": status, "message": message})
    await import_clients(postroom, "p1")
    totals = await drain(settings=salon)
    assert (await ends(postroom, "phorest.client"), totals["dead"]) == ([("skipped", told)], 0)
    assert await postroom.value("select warning from crm.phorest_clients") == told
    phorest[0].put_client("p1", mobile="353015550199")
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    assert await postroom.rows("select warning, (select count(*)::int from crm.links) links from crm.phorest_clients") == [
        {"warning": None, "links": 1}
    ]


async def test_a_client_without_phone_and_email_is_a_warning_and_no_call(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", firstName="Ada", linkedClientMobile="353015550100")
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    assert await ends(postroom, "phorest.client") == [("skipped", "validation warning: missing phone and email")]
    assert ghl[0].requests.total == 0


@pytest.mark.parametrize("side", ["phorest", "ghl"])
async def test_a_rejected_credential_pauses_that_connection_and_buries_nothing(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl, side: str
) -> None:
    phorest[0].put_client("p1", **ADA)
    simulator = phorest[0] if side == "phorest" else ghl[0]
    simulator.faults.add("answer", status=401, times=None)
    await import_clients(postroom, "p1")
    totals = await drain(settings=salon)
    assert (totals["pending"], totals["dead"]) == (1, 0)
    assert await postroom.rows("select name, state from outbox.destinations where state <> 'flowing'") == [
        {"name": side, "state": "unauthorised"}
    ]


async def test_a_client_that_phorest_does_not_have_is_skipped(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest
) -> None:
    [event_id] = await import_clients(postroom, "p1")
    await drain(settings=salon)
    assert (await fate(postroom, event_id)).why == "Phorest has no such client"


async def test_a_merged_client_is_no_contact_of_its_own(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest, ghl: Ghl
) -> None:
    phorest[0].put_client("p1", **ADA)
    phorest[0].put_client("p2", **BEN)
    phorest[0].merge_client("p2", "p1")
    await import_clients(postroom, "p1", "p2")
    await drain(settings=salon)
    assert [contact["firstName"] for contact in contacts(ghl[0])] == ["Ada"]


async def test_an_older_version_never_replaces_a_newer_one(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest
) -> None:
    phorest[0].put_client("p1", **ADA)
    older = phorest[0].store.documents["clients"]["p1"]
    phorest[0].put_client("p1", lastName="Newer")
    await import_clients(postroom, "p1")
    await drain(settings=salon)
    phorest[0].store.documents["clients"]["p1"] = older
    [event_id] = await import_clients(postroom, "p1")
    await drain(settings=salon)
    assert (await fate(postroom, event_id)).why == '{"client": "unchanged"}'
    assert await postroom.value("select original ->> 'lastName' from crm.phorest_clients") == "Newer"


async def test_an_event_that_names_no_record_is_skipped(postroom: Postroom, drain: Drain, salon: DispatcherSettings) -> None:
    await stage_all(postroom, Event("phorest.client", {"id": "p1"}), Event("phorest.staff", {"id": "s1"}, lane="phorest:staff:s1"))
    totals = await drain(settings=salon)
    assert totals["skipped"] == 2
