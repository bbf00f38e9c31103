"""Which client speaks for which location: a matter of the event alone, with a budget for each location, shared by all dispatchers."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.clients.accounts import location_of
from dispatcher.clients.oauth import NotConnected
from dispatcher.errors import ConsentLost, Unauthorised
from dispatcher.routes import ROUTES, Route
from outbox import Claimed
from outbox.seal import Sealer
from outbox.store import connections
from outbox.testing import Postroom
from simulators.samples import DEMO_LOCATION_ID
from tests.dispatcher import patient
from tests.dispatcher.connecting import CORK, DUBLIN, World, world
from tests.dispatcher.handling import returning

CONTACT = ROUTES["ghl.ContactUpdate"]


def event(payload: Any, *, source: str = "ghl") -> Claimed:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Claimed(1, 1, 0, 1, 0, 0, source, "ghl.ContactUpdate", None, None, raw, datetime.now(UTC))


@pytest.fixture
async def at(postroom: Postroom) -> AsyncIterator[World]:
    async with world(postroom) as made:
        yield made


@pytest.mark.parametrize(
    ("payload", "location"),
    [
        ({"locationId": CORK, "id": "c1"}, CORK),
        ({"data": {"locationId": CORK}}, CORK),
        ({"appointment": {"id": "a1", "location_id": CORK}}, CORK),
        ({"appointment": {"id": "a1"}, "locationId": CORK}, CORK),
        ({"appointment": {"id": "a1", "location_id": None}}, None),
        ({"locationId": ""}, None),
        ({"locationId": ["x"]}, None),
        ({"appointment": "a1"}, None),
        ([CORK], None),
        (b"no json", None),
    ],
)
def test_a_location_is_read_where_it_stands(payload: Any, location: str | None) -> None:
    assert location_of(event(payload)) == location


def test_a_workflow_is_not_believed_whose_location_it_speaks_for() -> None:
    assert location_of(event({"locationId": CORK}, source="ghl-workflow")) is None


@patient
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.sampled_from(["locationId", "data", "appointment", "location_id"]), inner, max_size=4),
    )
)
def test_no_payload_can_break_the_reading_of_its_location(payload: Any) -> None:
    found = location_of(event(payload))
    assert found is None or isinstance(found, str)


async def test_a_destination_is_named_by_the_event_alone(at: World) -> None:
    async with at.services(at.with_key()) as shared:
        assert shared.destination_of(CONTACT, event({"locationId": CORK})) == f"ghl:{CORK}"
        assert shared.destination_of(CONTACT, event({"locationId": DEMO_LOCATION_ID})) == "ghl"
        assert shared.destination_of(CONTACT, event({})) == "ghl"
        assert shared.destination_of(CONTACT, event({"locationId": "../etc/passwd"})) == "ghl"
        assert shared.destination_of(ROUTES["notion.page.created"], event({"locationId": CORK})) == "notion"
        assert shared.destination_of(Route(returning(None)), event({"locationId": CORK})) is None
        assert shared.has(f"ghl:{CORK}")
    async with at.services(at.settings(ghl_client_id=None, ghl_api_key="pit-x", ghl_location_id=DUBLIN)) as shared:
        assert shared.destination_of(CONTACT, event({"locationId": CORK})) == f"ghl:{CORK}"
        assert (shared.has("ghl"), shared.has("ghl-oauth")) == (True, False)
    async with at.services(at.settings(ghl_client_id=None)) as shared:
        assert shared.destination_of(CONTACT, event({"locationId": CORK})) == "ghl"
        assert not shared.has("ghl")


async def test_a_location_that_is_not_connected_has_no_client(at: World) -> None:
    async with at.accounts(at.with_key()) as accounts:
        assert (await accounts.client(None)).destination == (await accounts.client(DEMO_LOCATION_ID)).destination == "ghl"
        for location in (CORK, "../etc/passwd", "x" * 100):
            with pytest.raises(NotConnected):
                await accounts.client(location)
        assert at.ghl.requests.total == 0


async def test_a_client_is_made_once_and_the_database_asked_now_and_then(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await at.connect()
    looks: list[str] = []
    one = connections.one

    async def watched(pool: Any, name: str) -> Any:
        looks.append(name)
        return await one(pool, name)

    monkeypatch.setattr(connections, "one", watched)
    async with at.accounts() as accounts:
        clients = [await accounts.client(CORK) for _ in range(100)]
    assert len({id(client) for client in clients}) == 1
    assert len(looks) == 1


async def test_connected_locations_wait_while_this_dispatcher_lacks_the_apps_credentials(at: World) -> None:
    await at.connect()
    for settings, sealer in (
        (at.settings(ghl_client_secret=None, ghl_api_key="pit-x", ghl_location_id=DUBLIN), None),
        (at.with_key(), Sealer(())),
    ):
        more = {} if sealer is None else {"sealer": sealer}
        async with at.accounts(settings, **more) as accounts:
            with pytest.raises(Unauthorised, match="GHL_CLIENT_ID") as caught:
                await accounts.client(CORK)
            assert caught.value.destination == f"ghl:{CORK}"


async def test_a_location_that_waits_for_a_consent_says_why(at: World) -> None:
    await connections.install(
        at.postroom.pool, f"ghl:{CORK}", provider="ghl", account=CORK, company_id=None, label=None, why="waits", at=datetime.now(UTC)
    )
    async with at.accounts() as accounts:
        with pytest.raises(ConsentLost, match="waits"):
            await accounts.client(CORK)


async def test_one_budget_a_location_shared_by_all_dispatchers_live_first(at: World) -> None:
    """Two dispatchers, two locations: each location's calls are counted together, and bulk work leaves room for live work."""
    await at.connect(CORK)
    await at.connect(DUBLIN)
    contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
    await at.postroom.pool.execute("delete from outbox.budgets")
    async with at.accounts() as first, at.accounts() as second:
        ours = [await accounts.client(CORK) for accounts in (first, second)]
        await asyncio.gather(*(client.get_contact(contact["id"]) for client in ours * 5))
        await (await second.client(DUBLIN)).custom_fields()
        used = {row["credential"]: row["used"] for row in await at.postroom.rows("select credential, used from outbox.budgets")}
        assert used == {f"ghl:{CORK}": 10, f"ghl:{DUBLIN}": 1}
        # Four left in the bucket: live work may take them, bulk work may not.
        await at.postroom.pool.execute("update outbox.budgets set tokens = 4, at = clock_timestamp() where credential = $1", f"ghl:{CORK}")
        order: list[str] = []

        async def call(name: str, client: Any) -> None:
            await client.get_contact(contact["id"])
            order.append(name)

        bulk = asyncio.create_task(call("bulk", ours[0].for_bulk()))
        await asyncio.gather(*(call("live", ours[1]) for _ in range(3)))
        await bulk
    assert order == ["live"] * 3 + ["bulk"]
