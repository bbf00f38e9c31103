"""GHL contact events → crm.leads: the webhook is a hint, what GHL answers counts, and older never replaces newer."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.handlers.ghl_contacts import refresh_lead
from dispatcher.routes import ROUTES, Route
from outbox import Event
from outbox.testing import Drain, Postroom
from simulators import samples
from simulators.ghl import GhlSettings, GhlSimulator
from simulators.serving import serve
from simulators.shapes import JsonObject
from simulators.signing import GhlSigner
from simulators.webhooks import WebhookSender
from tests.dispatcher.appointments import appointment
from tests.dispatcher.arriving import ghl_webhook, ghl_workflow_webhook
from tests.dispatcher.handling import everything_is_over, fate
from tests.dispatcher.running import dispatching, eventually, stage_all

Ghl = tuple[GhlSimulator, str]
ADA: dict[str, Any] = {
    "firstName": "Ada",
    "lastName": "Example",
    "email": "ada@example.com",
    "phone": "+353 1 555 0100",
    "companyName": "Example Salon",
    "source": "website",
    "tags": ["VIP", "colour"],
}


async def lead(postroom: Postroom, contact_id: str = "c1") -> dict[str, Any]:
    [row] = await postroom.rows("select * from crm.leads where ghl_contact_id = $1", contact_id)
    return row


def as_ghl_has_it(contact: JsonObject) -> dict[str, Any]:
    """The columns of a lead, from the contact as the simulator keeps it."""
    return {
        "ghl_contact_id": contact["id"],
        "location_id": contact["locationId"],
        "first_name": contact.get("firstName"),
        "last_name": contact.get("lastName"),
        "email": contact.get("email"),
        "phone": contact.get("phone"),
        "company": contact.get("companyName"),
        "source": contact.get("source"),
        "tags": contact["tags"],
        "custom_fields": {field["id"]: field["value"] for field in contact["customFields"]},
        "added_at": datetime.fromisoformat(contact["dateAdded"]),
        "changed_at": datetime.fromisoformat(contact["dateUpdated"]),
        "deleted_at": None,
    }


async def check_same(postroom: Postroom, simulator: GhlSimulator, contact_id: str = "c1") -> None:
    """The row equals what the far side has."""
    row = await lead(postroom, contact_id)
    expected = as_ghl_has_it(simulator.store.contacts[contact_id])
    assert {**{name: row[name] for name in expected}, "custom_fields": json.loads(row["custom_fields"])} == expected


async def webhook(postroom: Postroom, kind: str, contact: JsonObject) -> int:
    return await ghl_webhook(postroom, samples.ghl_contact_event(kind, contact, app_id=samples.DEMO_APP_ID))


async def test_a_new_contact_becomes_a_lead(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    field_id = simulator.store.custom_fields[0]["id"]
    contact = simulator.put_contact("c1", **ADA, customFields=[{"id": field_id, "value": "confirmed"}])
    event_id = await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == '{"lead": "created"}'
    await check_same(postroom, simulator)
    assert (await lead(postroom))["tags"] == ["vip", "colour"]


async def test_a_changed_contact_changes_its_lead(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    await webhook(postroom, "ContactCreate", simulator.put_contact("c1", **ADA))
    await drain(settings=simulated)
    event_id = await webhook(postroom, "ContactUpdate", simulator.put_contact("c1", firstName="Augusta", phone=None, source=""))
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == '{"lead": "updated"}'
    await check_same(postroom, simulator)
    row = await lead(postroom)
    assert (row["first_name"], row["phone"], row["source"]) == ("Augusta", None, None)


@pytest.mark.parametrize("kind", ["ContactTagUpdate", "ContactDndUpdate"])
async def test_changed_tags_reach_the_lead(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, kind: str) -> None:
    simulator = ghl[0]
    await webhook(postroom, "ContactCreate", simulator.put_contact("c1", **ADA))
    await drain(settings=simulated)
    await webhook(postroom, kind, simulator.put_contact("c1", tags=["Blocked", " ", "VIP"]))
    await drain(settings=simulated)
    await check_same(postroom, simulator)
    assert (await lead(postroom))["tags"] == ["blocked", "vip"]


async def test_a_deleted_contact_is_marked_and_its_data_stay(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    contact = simulator.put_contact("c1", **ADA)
    await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    simulator.remove_contact("c1")
    event_id = await webhook(postroom, "ContactDelete", contact)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == '{"lead": "deleted"}'
    row = await lead(postroom)
    assert row["deleted_at"] is not None
    assert row["first_name"] == "Ada"


async def test_a_contact_that_came_back_is_a_lead_again(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    contact = simulator.put_contact("c1", **ADA)
    await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    simulator.remove_contact("c1")
    await webhook(postroom, "ContactDelete", contact)
    await drain(settings=simulated)
    simulator.put_contact("c1", **ADA)
    await webhook(postroom, "ContactUpdate", contact)
    await drain(settings=simulated)
    await check_same(postroom, simulator)


async def test_a_late_deletion_does_not_delete_what_is_there(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    """Webhooks overtake each other: the contact was deleted, made again, and the deletion is told last."""
    simulator = ghl[0]
    contact = simulator.put_contact("c1", **ADA)
    await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    event_id = await webhook(postroom, "ContactDelete", contact)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == "the lead is as new as GHL's contact"
    await check_same(postroom, simulator)


async def test_a_contact_gone_before_it_was_ever_seen_is_skipped(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    contact = ghl[0].put_contact("c1", **ADA)
    ghl[0].remove_contact("c1")
    event_id = await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == "the contact is gone from GHL and was no lead here"
    assert await postroom.value("select count(*) from crm.leads") == 0


async def test_an_older_webhook_after_a_newer_state_changes_nothing(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    old = simulator.put_contact("c1", **ADA)
    new = simulator.put_contact("c1", firstName="Augusta")
    await webhook(postroom, "ContactUpdate", new)
    await drain(settings=simulated)
    before = await lead(postroom)
    event_id = await webhook(postroom, "ContactCreate", old)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "skipped"
    assert await lead(postroom) == before


async def test_an_answer_older_than_the_lead_is_not_applied(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    """GHL's own replicas may lag behind."""
    simulator = ghl[0]
    contact = simulator.put_contact("c1", **ADA)
    await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    stale = simulator.store.contacts["c1"]
    stale["dateUpdated"] = (datetime.fromisoformat(stale["dateUpdated"]) - timedelta(hours=1)).isoformat()
    stale["firstName"] = "Stale"
    event_id = await webhook(postroom, "ContactUpdate", contact)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "skipped"
    assert (await lead(postroom))["first_name"] == "Ada"


async def test_a_sparse_contact_is_a_lead_with_what_there_is(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    simulator.put_contact("c1", email="only@example.com")
    # The barest webhook ever seen: a type, an id and a location.
    await ghl_webhook(postroom, {"type": "ContactCreate", "id": "c1", "locationId": samples.DEMO_LOCATION_ID, "webhookId": "w1"})
    await drain(settings=simulated)
    await check_same(postroom, simulator)


async def test_an_answer_without_times_counts_as_of_its_webhook(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    bare = {"contact": {"id": "c1", "locationId": samples.DEMO_LOCATION_ID, "tags": None, "customFields": None, "phone": 35315550100}}
    simulator.faults.add("answer", "/contacts/c1", status=200, body=bare)
    await ghl_webhook(postroom, {"type": "ContactCreate", "id": "c1", "webhookId": "w1"})
    await drain(settings=simulated)
    row = await lead(postroom)
    assert (row["tags"], row["custom_fields"], row["phone"], row["added_at"]) == ([], "{}", "35315550100", None)
    assert row["changed_at"] == await postroom.value("select staged_at from outbox.events")


async def test_a_workflow_webhook_refreshes_the_lead_of_its_contact(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    """Its body is what a person mapped, and is not believed."""
    simulator = ghl[0]
    contact = simulator.put_contact("c1", **ADA)
    event_id = await ghl_workflow_webhook(postroom, {**samples.ghl_workflow_body(contact), "first_name": "Mallory"})
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == '{"lead": "created"}'
    await check_same(postroom, simulator)


async def test_an_event_that_names_no_contact_is_skipped_without_a_call(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    ids = await stage_all(
        postroom, Event("ghl.ContactUpdate", {}, source="ghl"), Event("ghl.ContactUpdate", {}, lane="ghl:appointment:a1", source="ghl")
    )
    await drain(settings=simulated)
    assert {(await fate(postroom, event_id)).why for event_id in ids} == {"the event names no contact"}
    assert ghl[0].requests.total == 0


async def test_a_hostile_contact_id_reaches_no_other_path(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    lanes = [f"ghl:contact:{name}" for name in ("../locations", "a/b", "..", "c1?x=1", "é" * 90)]
    ids = await stage_all(postroom, *(Event("ghl.ContactUpdate", {}, lane=lane, source="ghl") for lane in lanes))
    await drain(settings=simulated)
    assert {(await fate(postroom, event_id)).state for event_id in ids} <= {"skipped", "dead"}
    assert await postroom.value("select count(*) from crm.leads") == 0
    assert {seen.path.split("/")[1] for seen in ghl[0].requests.list()} == {"contacts"}


async def test_text_that_postgres_cannot_keep_does_not_lose_the_contact(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    odd = {
        **samples.ghl_contact("c1"),
        "firstName": "A\x00da",
        "tags": ["v\x00ip", "\x00"],
        "customFields": [{"id": "f1", "value": "x\x00"}],
    }
    simulator.faults.add("answer", "/contacts/c1", status=200, body={"contact": odd})
    await ghl_webhook(postroom, {"type": "ContactCreate", "id": "c1", "webhookId": "w1"})
    await drain(settings=simulated)
    row = await lead(postroom)
    assert (row["first_name"], row["tags"], json.loads(row["custom_fields"])) == ("Ada", ["vip"], {"f1": "x"})


async def test_a_delivery_that_came_twice_is_one_event(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    event = samples.ghl_contact_event("ContactCreate", ghl[0].put_contact("c1", **ADA), app_id=samples.DEMO_APP_ID)
    assert await ghl_webhook(postroom, event) == await ghl_webhook(postroom, event)
    assert (await drain(settings=simulated))["accepted"] == 1


async def test_our_own_writes_come_back_as_webhooks_and_end_there(postroom: Postroom) -> None:
    """An appointment changes the contact, GHL tells us so, the lead is refreshed: and nothing is written for it."""
    received: list[JsonObject] = []

    class Collecting(WebhookSender):
        def send(self, event: JsonObject) -> None:
            received.append(event)

    simulator = GhlSimulator(GhlSettings(echo=True), webhooks=Collecting("http://127.0.0.1:1/", GhlSigner.for_demo().headers))
    async with serve(simulator.app) as running:
        settings = DispatcherSettings.read(
            ghl_api_key=simulator.settings.token, ghl_location_id=simulator.settings.location_id, ghl_api_base_url=running.base_url
        )
        simulator.put_contact("c1", **ADA)
        async with dispatching(postroom.dsn, settings=settings):
            await stage_all(postroom, appointment("confirmed"))
            await eventually(everything_is_over(postroom))
            written = simulator.effects.totals()["total"]
            for event in received:
                await ghl_webhook(postroom, event)
            await eventually(everything_is_over(postroom))
    assert {event["type"] for event in received} == {"ContactCreate", "NoteCreate", "ContactTagUpdate", "ContactUpdate"}
    assert simulator.effects.totals()["total"] == written
    await check_same(postroom, simulator)
    assert "appointment-confirmed" in (await lead(postroom))["tags"]


async def test_leads_of_many_contacts_all_equal_what_ghl_has(postroom: Postroom, drain: Drain, ghl: Ghl) -> None:
    """Shuffled, doubled, late: whatever the order of the webhooks, the end is the same."""
    simulator = GhlSimulator(GhlSettings(burst_limit=10_000))
    async with serve(simulator.app) as running:
        settings = DispatcherSettings.read(
            ghl_api_key=simulator.settings.token, ghl_location_id=simulator.settings.location_id, ghl_api_base_url=running.base_url
        )
        waiting: list[JsonObject] = []
        for n in range(6):
            for word in ("Ada", "Augusta", "Byron"):
                contact = simulator.put_contact(f"c{n}", firstName=word, tags=[word, str(n)])
                waiting.append(samples.ghl_contact_event("ContactUpdate", contact))
        simulator.remove_contact("c5")
        for event in reversed(waiting):
            await ghl_webhook(postroom, event)
        totals = await drain({"ghl.ContactUpdate": Route(refresh_lead, "ghl", coalesce="ghl.contact")}, settings=settings)
    assert totals["done"] + totals["skipped"] == 18
    for n in range(5):
        await check_same(postroom, simulator, f"c{n}")
    assert await postroom.value("select count(*) from crm.leads") == 5
    assert ROUTES["ghl.ContactUpdate"].handler is refresh_lead
