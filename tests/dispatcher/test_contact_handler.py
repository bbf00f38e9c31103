"""GHL contact events → crm.contacts: the webhook is a hint, what GHL answers counts, and older never replaces newer."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.handlers.ghl_contacts import refresh_contact
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
from tests.dispatcher.connecting import CORK, DUBLIN, world
from tests.dispatcher.handling import everything_is_over, fate
from tests.dispatcher.locations import settle
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


async def row_of(postroom: Postroom, contact_id: str = "c1") -> dict[str, Any]:
    [row] = await postroom.rows("select * from crm.contacts where ghl_contact_id = $1", contact_id)
    return row


def as_ghl_has_it(simulator: GhlSimulator, contact: JsonObject) -> dict[str, Any]:
    """The columns of a row, from the contact as the simulator keeps it."""
    keys = {field["id"]: field["fieldKey"].removeprefix("contact.") for field in simulator.store.custom_fields}
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
        "custom_fields": {keys.get(field["id"], field["id"]): field["value"] for field in contact["customFields"]},
        "added_at": datetime.fromisoformat(contact["dateAdded"]),
        "changed_at": datetime.fromisoformat(contact["dateUpdated"]),
        "deleted_at": None,
    }


async def check_same(postroom: Postroom, simulator: GhlSimulator, contact_id: str = "c1") -> None:
    """The row equals what the far side has."""
    row = await row_of(postroom, contact_id)
    expected = as_ghl_has_it(simulator, simulator.store.contacts[contact_id])
    assert {**{name: row[name] for name in expected}, "custom_fields": json.loads(row["custom_fields"])} == expected


async def webhook(postroom: Postroom, kind: str, contact: JsonObject) -> int:
    return await ghl_webhook(postroom, samples.ghl_contact_event(kind, contact, app_id=samples.DEMO_APP_ID))


async def test_a_new_contact_becomes_a_lead(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    field_id = simulator.store.custom_fields[0]["id"]
    contact = simulator.put_contact("c1", **ADA, customFields=[{"id": field_id, "value": "confirmed"}])
    event_id = await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == '{"contact": "created"}'
    await check_same(postroom, simulator)
    assert (await row_of(postroom))["tags"] == ["vip", "colour"]


async def test_a_changed_contact_changes_its_lead(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl) -> None:
    simulator = ghl[0]
    await webhook(postroom, "ContactCreate", simulator.put_contact("c1", **ADA))
    await drain(settings=simulated)
    event_id = await webhook(postroom, "ContactUpdate", simulator.put_contact("c1", firstName="Augusta", phone=None, source=""))
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == '{"contact": "updated"}'
    await check_same(postroom, simulator)
    row = await row_of(postroom)
    assert (row["first_name"], row["phone"], row["source"]) == ("Augusta", None, None)


@pytest.mark.parametrize("kind", ["ContactTagUpdate", "ContactDndUpdate"])
async def test_changed_tags_reach_the_lead(postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl, kind: str) -> None:
    simulator = ghl[0]
    await webhook(postroom, "ContactCreate", simulator.put_contact("c1", **ADA))
    await drain(settings=simulated)
    await webhook(postroom, kind, simulator.put_contact("c1", tags=["Blocked", " ", "VIP"]))
    await drain(settings=simulated)
    await check_same(postroom, simulator)
    assert (await row_of(postroom))["tags"] == ["blocked", "vip"]


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
    assert (await fate(postroom, event_id)).why == '{"contact": "deleted"}'
    row = await row_of(postroom)
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
    assert (await fate(postroom, event_id)).why == "the contact is as new as GHL's"
    await check_same(postroom, simulator)


async def test_a_contact_gone_before_it_was_ever_seen_is_skipped(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    contact = ghl[0].put_contact("c1", **ADA)
    ghl[0].remove_contact("c1")
    event_id = await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).why == "the contact is gone from GHL and was not known here"
    assert await postroom.value("select count(*) from crm.contacts") == 0


async def test_an_older_webhook_after_a_newer_state_changes_nothing(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    old = simulator.put_contact("c1", **ADA)
    new = simulator.put_contact("c1", firstName="Augusta")
    await webhook(postroom, "ContactUpdate", new)
    await drain(settings=simulated)
    before = await row_of(postroom)
    event_id = await webhook(postroom, "ContactCreate", old)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "skipped"
    assert await row_of(postroom) == before


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
    assert (await row_of(postroom))["first_name"] == "Ada"


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
    row = await row_of(postroom)
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
    assert (await fate(postroom, event_id)).why == '{"contact": "created"}'
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


async def test_custom_fields_are_kept_by_key_and_by_id_where_the_location_does_not_say_it(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    field = next(field for field in simulator.store.custom_fields if field["fieldKey"] == "contact.appointment_status")
    simulator.put_contact("c1", **ADA, customFields=[{"id": field["id"], "value": "confirmed"}])
    simulator.store.contacts["c1"]["customFields"].append({"id": "NobodyKnowsThis00001", "value": 7})
    await webhook(postroom, "ContactCreate", simulator.store.contacts["c1"])
    await drain(settings=simulated)
    assert json.loads((await row_of(postroom))["custom_fields"]) == {"appointment_status": "confirmed", "NobodyKnowsThis00001": 7}


async def test_a_token_that_may_not_read_custom_fields_loses_no_contact(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    simulator = ghl[0]
    field_id = simulator.store.custom_fields[0]["id"]
    refusal = {"statusCode": 401, "message": "The token is not authorized for this scope."}
    simulator.faults.add("answer", "/locations/*/customFields", status=401, body=refusal, times=None)
    contact = simulator.put_contact("c1", **ADA, customFields=[{"id": field_id, "value": "confirmed"}])
    event_id = await webhook(postroom, "ContactCreate", contact)
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "done"
    assert json.loads((await row_of(postroom))["custom_fields"]) == {field_id: "confirmed"}


async def test_contacts_of_a_connected_location_are_fetched_with_its_token_and_others_are_skipped(postroom: Postroom) -> None:
    async with world(postroom) as there:
        await there.connect(CORK)
        cork = await webhook(postroom, "ContactCreate", there.ghl.put_contact("c1", locationId=CORK))
        dublin = await webhook(postroom, "ContactCreate", there.ghl.put_contact("c2", locationId=DUBLIN))
        await settle(there, cork, dublin)
        assert (await fate(postroom, cork)).why == '{"contact": "created"}'
        assert (await fate(postroom, dublin)).why == f"location {DUBLIN} is not connected"
    assert [row["location_id"] for row in await postroom.rows("select * from crm.contacts")] == [CORK]


async def test_a_workflow_of_another_location_deletes_no_contact_of_that_location(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    """It is read with the default location's token, which does not see that contact."""
    await postroom.pool.execute(
        "insert into crm.contacts (ghl_contact_id, location_id, changed_at, content_hash) values ('c9', 'elsewhere', now(), '')"
    )
    event_id = await ghl_workflow_webhook(postroom, samples.ghl_workflow_body(samples.ghl_contact("c9")))
    await drain(settings=simulated)
    assert (await fate(postroom, event_id)).state == "skipped"
    assert (await row_of(postroom, "c9"))["deleted_at"] is None


async def test_a_hostile_contact_id_reaches_no_other_path(
    postroom: Postroom, drain: Drain, simulated: DispatcherSettings, ghl: Ghl
) -> None:
    lanes = [f"ghl:contact:{name}" for name in ("../locations", "a/b", "..", "c1?x=1", "é" * 90)]
    ids = await stage_all(postroom, *(Event("ghl.ContactUpdate", {}, lane=lane, source="ghl") for lane in lanes))
    await drain(settings=simulated)
    assert {(await fate(postroom, event_id)).state for event_id in ids} <= {"skipped", "dead"}
    assert await postroom.value("select count(*) from crm.contacts") == 0
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
    row = await row_of(postroom)
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
    assert "appointment-confirmed" in (await row_of(postroom))["tags"]


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
        totals = await drain({"ghl.ContactUpdate": Route(refresh_contact, "ghl", coalesce="ghl.contact")}, settings=settings)
    assert totals["done"] + totals["skipped"] == 18
    for n in range(5):
        await check_same(postroom, simulator, f"c{n}")
    assert await postroom.value("select count(*) from crm.contacts") == 5
    assert ROUTES["ghl.ContactUpdate"].handler is refresh_contact
