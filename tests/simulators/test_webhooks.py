"""Webhooks out: signed, retried, doubled, shuffled, and raised by the changes that would raise them at the provider."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulators import samples
from simulators.ghl import GhlSettings, GhlSimulator
from simulators.notion import NotionSettings, NotionSimulator
from simulators.serving import serve
from simulators.shapes import JsonObject
from simulators.signing import GhlSigner, sign_notion
from simulators.webhooks import WebhookSender
from tests.simulators.clients import GHL_HEADERS, NOTION_HEADERS, open_api

SIGNER = GhlSigner.generate()
TOKEN = "token-of-this-test"
AT_ONCE = (0.0, 0.0, 0.0)


class Inbox:
    """A receiver that keeps what it gets and answers with the next of its statuses, 202 when there is none left.

    It answers only when `together` requests are there, so that a sender which sends fewer at once gets stuck.
    """

    def __init__(self, *statuses: int, together: int = 1) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._statuses = list(statuses)
        self._barrier = asyncio.Barrier(together)
        self.first = asyncio.Event()

    @property
    def events(self) -> list[JsonObject]:
        return [json.loads(body) for body in self.bodies]

    async def take(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        self.headers.append(dict(request.headers))
        self.first.set()
        await self._barrier.wait()
        return Response(status_code=self._statuses.pop(0) if self._statuses else 202)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Inbox"]:
        async with serve(Starlette(routes=[Route("/hook", self.take, methods=["POST"])])) as running:
            self.url = f"{running.base_url}/hook"
            yield self


async def test_a_ghl_webhook_is_signed_over_the_bytes_that_arrive() -> None:
    event = samples.ghl_contact_event(contact=samples.ghl_contact(firstName="Áda"))
    async with Inbox().open() as inbox, WebhookSender.ghl(inbox.url, SIGNER) as sender:
        delivery = await sender.deliver(event)
    assert (delivery.was_accepted, delivery.statuses, delivery.event_id) == (True, (202,), event["webhookId"])
    assert inbox.headers[0]["x-ghl-signature"] == SIGNER.headers(inbox.bodies[0])["X-GHL-Signature"]
    assert inbox.headers[0]["content-type"] == "application/json"
    assert inbox.events == [event]
    assert "Áda".encode() in inbox.bodies[0]


async def test_ghl_repeats_the_same_bytes_until_they_are_accepted() -> None:
    async with Inbox(503, 429).open() as inbox, WebhookSender.ghl(inbox.url, SIGNER, retry_delays_s=AT_ONCE) as sender:
        delivery = await sender.deliver(samples.ghl_contact_event())
    assert delivery.statuses == (503, 429, 202)
    assert len(set(inbox.bodies)) == 1


async def test_notion_counts_its_attempts_inside_the_signed_body() -> None:
    async with Inbox(500, 302).open() as inbox, WebhookSender.notion(inbox.url, TOKEN, retry_delays_s=AT_ONCE) as sender:
        await sender.deliver(samples.notion_page_event())
    assert [event["attempt_number"] for event in inbox.events] == [1, 2, 3]
    assert len({event["id"] for event in inbox.events}) == 1
    for body, headers in zip(inbox.bodies, inbox.headers, strict=True):
        assert headers["x-notion-signature"] == sign_notion(body, TOKEN)["X-Notion-Signature"]


async def test_a_handshake_is_sent_as_it_is() -> None:
    async with Inbox().open() as inbox, WebhookSender.notion(inbox.url, TOKEN) as sender:
        await sender.deliver(samples.notion_handshake(TOKEN))
    assert inbox.bodies == [b'{"verification_token":"token-of-this-test"}']


async def test_a_receiver_that_never_accepts_is_given_up() -> None:
    async with Inbox(500, 500, 500, 500).open() as inbox, WebhookSender.ghl(inbox.url, SIGNER, retry_delays_s=AT_ONCE) as sender:
        delivery = await sender.deliver(samples.ghl_contact_event())
    assert (delivery.was_accepted, delivery.statuses) == (False, (500,) * 4)


async def test_a_receiver_that_is_not_there_is_tried_again() -> None:
    async with serve(Starlette()) as running:
        url = running.base_url
    async with WebhookSender.ghl(url, SIGNER, retry_delays_s=(0.0,)) as sender:
        delivery = await sender.deliver(samples.ghl_contact_event())
    assert (delivery.was_accepted, delivery.statuses) == (False, (None, None))


async def test_events_arrive_in_order_each_as_often_as_asked() -> None:
    events = [samples.ghl_contact_event() for _ in range(5)]
    async with Inbox().open() as inbox, WebhookSender.ghl(inbox.url, SIGNER) as sender:
        await sender.send_all(events, copies=2)
    assert inbox.events == [event for event in events for _ in range(2)]


async def test_events_can_be_shuffled_and_sent_in_batches() -> None:
    events = [samples.ghl_contact_event() for _ in range(12)]
    async with Inbox(together=6).open() as inbox, WebhookSender.ghl(inbox.url, SIGNER) as sender:
        deliveries = await sender.send_all(events, shuffle=random.Random(1), at_once=6)
    ids = [event["webhookId"] for event in events]
    assert sorted(event["webhookId"] for event in inbox.events) == sorted(ids)
    assert [delivery.event_id for delivery in deliveries] != ids


async def test_held_events_wait_for_the_flush() -> None:
    async with Inbox().open() as inbox, WebhookSender.ghl(inbox.url, SIGNER, holds=True) as sender:
        simulator = GhlSimulator(webhooks=sender)
        for name in ("Ada", "Ben"):
            simulator.put_contact(firstName=name)
        await sender.drain()
        assert inbox.bodies == []
        deliveries = await sender.flush(copies=2)
    assert [event["firstName"] for event in inbox.events] == ["Ada", "Ada", "Ben", "Ben"]
    assert (len(deliveries), sender.held) == (4, [])


async def test_leaving_waits_for_what_is_under_way() -> None:
    async with Inbox(503).open() as inbox:
        async with WebhookSender.ghl(inbox.url, SIGNER, retry_delays_s=(0.01,)) as sender:
            for _ in range(150):  # more than the client has connections
                sender.send(samples.ghl_contact_event())
        assert sum(delivery.was_accepted for delivery in sender.deliveries) == 150


async def test_an_error_in_the_block_cancels_what_is_under_way() -> None:
    async with Inbox(503).open() as inbox:
        sender = WebhookSender.ghl(inbox.url, SIGNER, retry_delays_s=(60.0,))

        async def fail_while_it_waits_for_its_retry() -> None:
            async with sender:
                sender.send(samples.ghl_contact_event())
                await inbox.first.wait()
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            await fail_while_it_waits_for_its_retry()
    assert sender.deliveries == []


async def test_a_sender_must_be_entered_first() -> None:
    with pytest.raises(RuntimeError, match="not entered"):
        WebhookSender.ghl("http://127.0.0.1:9", SIGNER).send(samples.ghl_contact_event())


async def raised(
    simulate: Callable[[WebhookSender], GhlSimulator], change: Callable[[GhlSimulator, httpx.AsyncClient], object]
) -> list[JsonObject]:
    """The events that reach a receiver when `change` happens."""
    async with Inbox().open() as inbox, WebhookSender.ghl(inbox.url, SIGNER, holds=True) as sender:
        simulator = simulate(sender)
        async with open_api(simulator.app, GHL_HEADERS | {"Version": "v3"}) as client:
            outcome = change(simulator, client)
            if asyncio.iscoroutine(outcome):
                await outcome
        await sender.flush()
        return inbox.events


async def everything(simulator: GhlSimulator, client: httpx.AsyncClient) -> None:
    """Every change that the API can make, once."""
    location = samples.DEMO_LOCATION_ID
    contact = (await client.post("/contacts/", json={"locationId": location, "firstName": "Ada", "email": "ada@example.com"})).json()[
        "contact"
    ]
    path = f"/contacts/{contact['id']}"
    await client.put(path, json={"city": "Dublin"})
    await client.put(path, json={"city": "Dublin"})  # changes nothing
    await client.post(f"{path}/tags", json={"tags": ["vip"]})
    await client.post(f"{path}/tags", json={"tags": ["vip"]})  # changes nothing
    note = (await client.post(f"{path}/notes", json={"body": "hello"})).json()["note"]
    await client.put(f"{path}/notes/{note['id']}", json={"body": "bye"})
    await client.delete(f"{path}/notes/{note['id']}")
    task = (await client.post(f"{path}/tasks", json={"title": "call", "body": "x", "dueDate": "2026-11-09", "completed": False})).json()[
        "task"
    ]
    await client.put(f"{path}/tasks/{task['id']}", json={"title": "call today"})  # raises nothing: there is no TaskUpdate
    await client.put(f"{path}/tasks/{task['id']}/completed", json={"completed": True})
    await client.put(f"{path}/tasks/{task['id']}/completed", json={"completed": True})  # completes nothing
    visit = {"calendarId": "c", "locationId": location, "contactId": contact["id"], "startTime": "2026-11-09T10:00:00Z"}
    appointment = (await client.post("/calendars/events/appointments", json=visit)).json()
    await client.put(f"/calendars/events/appointments/{appointment['id']}", json={"appointmentStatus": "cancelled"})
    await client.request("DELETE", f"/calendars/events/{appointment['id']}")
    await client.delete(path)


async def test_with_echo_every_change_through_the_api_raises_its_webhook() -> None:
    events = await raised(lambda sender: GhlSimulator(GhlSettings(echo=True), webhooks=sender), everything)
    assert [event["type"] for event in events] == [
        "ContactCreate",
        "ContactUpdate",
        "ContactTagUpdate",
        "NoteCreate",
        "NoteUpdate",
        "NoteDelete",
        "TaskCreate",
        "TaskComplete",
        "AppointmentCreate",
        "AppointmentUpdate",
        "AppointmentDelete",
        "ContactDelete",
    ]
    for event in events:
        assert event["locationId"] == samples.DEMO_LOCATION_ID
        assert event["appId"] == samples.DEMO_APP_ID
        assert None not in event.values()
    assert len({event["webhookId"] for event in events}) == len(events)


async def test_without_echo_the_api_raises_nothing() -> None:
    assert await raised(lambda sender: GhlSimulator(webhooks=sender), everything) == []


def by_hand(simulator: GhlSimulator, _: httpx.AsyncClient) -> None:
    contact = simulator.put_contact(firstName="Ada")
    simulator.put_contact(contact["id"], city="Dublin")
    simulator.put_contact(contact["id"], city="Dublin")
    appointment = simulator.put_appointment(contactId=contact["id"])
    simulator.put_appointment(appointment["id"], appointmentStatus="cancelled")
    simulator.remove_appointment(appointment["id"])
    simulator.remove_contact(contact["id"])


async def test_changes_by_hand_raise_webhooks_with_or_without_echo() -> None:
    events = await raised(lambda sender: GhlSimulator(webhooks=sender), by_hand)
    contact, appointment = ["ContactCreate", "ContactUpdate"], ["AppointmentCreate", "AppointmentUpdate", "AppointmentDelete"]
    assert [event["type"] for event in events] == [*contact, *appointment, "ContactDelete"]
    assert events[3]["appointment"]["appointmentStatus"] == "cancelled"


async def test_notion_raises_one_event_for_each_kind_of_change() -> None:
    async with Inbox().open() as inbox, WebhookSender.notion(inbox.url, TOKEN, holds=True) as sender:
        simulator = NotionSimulator(webhooks=sender)
        page = simulator.put_page(values={"Name": "Ada"})
        simulator.put_page(page["id"], values={"Name": "Ada", "Contact email": "ada@example.com"})
        simulator.put_page(page["id"], content=["hello"])
        simulator.put_page(page["id"], in_trash=True)
        simulator.put_page(page["id"], in_trash=False)
        simulator.put_page(page["id"], is_shared=False)
        simulator.put_page(page["id"], values={"Name": "unseen"})
        await sender.flush()
    kinds = ["page.created", "page.properties_updated", "page.content_updated", "page.deleted", "page.undeleted"]
    assert [event["type"] for event in inbox.events] == kinds
    assert {event["entity"]["id"] for event in inbox.events} == {page["id"]}
    assert inbox.events[1]["data"]["updated_properties"] == ["XGe%40"]
    assert inbox.events[0]["data"]["parent"]["data_source_id"] == samples.DEMO_DATA_SOURCE_ID
    assert b"ada@example.com" not in b"".join(inbox.bodies)


@pytest.mark.parametrize("echo", [True, False])
async def test_the_bots_own_edits_raise_events_only_with_echo(echo: bool) -> None:
    async with Inbox().open() as inbox, WebhookSender.notion(inbox.url, TOKEN, holds=True) as sender:
        simulator = NotionSimulator(NotionSettings(echo=echo), webhooks=sender)
        page = simulator.put_page()
        sender.held.clear()
        async with open_api(simulator.app, NOTION_HEADERS) as client:
            await client.patch(f"/v1/pages/{page['id']}", json={"properties": {"Visits": {"number": 1}}})
        await sender.flush()
    assert [event["authors"] for event in inbox.events] == ([[{"id": samples.DEMO_BOT_ID, "type": "bot"}]] if echo else [])
