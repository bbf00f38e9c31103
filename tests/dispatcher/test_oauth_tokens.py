"""Tokens of connected accounts: refreshed once however many ask in however many processes, and no pair is ever lost that can be kept."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from dispatcher.clients import oauth
from dispatcher.clients.oauth import NotConnected
from dispatcher.errors import AnswerLost, ConsentLost, Suspended, Unauthorised
from outbox.errors import DatabaseUnavailable
from outbox.seal import Sealer, new_key
from outbox.store import connections
from outbox.testing import Postroom
from simulators.samples import DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_COMPANY_ID
from tests.dispatcher.connecting import BACK, CORK, KEY, SEALER, World, world
from tests.dispatcher.running import eventually


@pytest.fixture
async def at(postroom: Postroom) -> AsyncIterator[World]:
    """A world in which Cork is connected, and whose keepers look only when a test lets them."""
    async with world(postroom) as made:
        await made.connect()
        made.ghl.requests.clear()
        yield made


@pytest.fixture(autouse=True)
def keepers_that_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the tests that are about them, nothing happens that a test did not ask for."""

    async def nothing(*_: object, **__: object) -> list[tuple[str, int]]:
        return []

    monkeypatch.setattr(connections, "due", nothing)


def wake_keepers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "due", DUE)
    monkeypatch.setattr(oauth, "LOOK_S", 0.05)


DUE = connections.due


async def test_twenty_callers_in_four_dispatchers_refresh_an_expired_token_once(at: World) -> None:
    await at.expire()
    async with AsyncExitStack() as stack:
        dispatchers = [await stack.enter_async_context(at.accounts()) for _ in range(4)]
        clients = [await accounts.client(CORK) for accounts in dispatchers for _ in range(5)]
        contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
        found = await asyncio.gather(*(client.get_contact(contact["id"]) for client in clients))
    assert {one.first_name for one in found} == {"Ada"}
    assert (at.ghl.oauth.refreshed, at.asked) == (1, 1)
    assert at.ghl.requests.count("GET", "/contacts/*") == 20
    assert (await at.row())["version"] == 2


async def test_a_token_that_is_refused_before_its_time_is_refreshed_once_and_each_call_is_made_again(at: World) -> None:
    contact = at.ghl.put_contact(locationId=CORK, firstName="Ada")
    async with AsyncExitStack() as stack:
        dispatchers = [await stack.enter_async_context(at.accounts()) for _ in range(2)]
        clients = [await accounts.client(CORK) for accounts in dispatchers]
        for client in clients:
            await client.get_contact(contact["id"])  # both hold the token
        at.ghl.oauth.expire(CORK)
        notes = await asyncio.gather(*(client.create_note(contact["id"], f"note {n}") for n, client in enumerate(clients * 5)))
    assert len({note.id for note in notes}) == 10
    assert at.ghl.effects.count("note") == 10
    assert (at.ghl.oauth.refreshed, at.asked) == (1, 1)


async def test_a_token_that_is_refused_for_ever_is_asked_for_once_and_not_in_circles(at: World) -> None:
    at.ghl.faults.add("answer", "/contacts/**", status=401, times=None)
    async with at.accounts() as accounts:
        with pytest.raises(Unauthorised):
            await (await accounts.client(CORK)).get_contact("c1")
    assert at.asked == 1
    assert at.ghl.requests.count("GET", "/contacts/c1") == 2


async def test_a_missing_scope_refreshes_nothing(at: World) -> None:
    body = {"statusCode": 401, "message": "The token is not authorized for this scope.", "error": "Unauthorized"}
    at.ghl.faults.add("answer", "/contacts/**", status=401, body=body)
    async with at.accounts() as accounts:
        with pytest.raises(Exception, match="not authorized for this scope"):
            await (await accounts.client(CORK)).get_contact("c1")
    assert at.asked == 0


async def test_a_refresh_whose_answer_was_lost_is_asked_for_again_and_has_the_same_answer(at: World) -> None:
    await at.expire()
    at.ghl.faults.add("drop", "/oauth/token", after_work=True)
    async with at.accounts() as accounts:
        await (await accounts.client(CORK)).custom_fields()
    assert (at.ghl.oauth.refreshed, at.asked) == (1, 2)
    assert (await at.row())["state"] == "active"


async def test_a_refresh_that_stays_without_an_answer_is_finished_by_whoever_looks_first(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.expire()
    at.ghl.faults.add("drop", "/oauth/token", after_work=True, times=2)
    async with at.accounts() as accounts:
        with pytest.raises(AnswerLost) as caught:
            await (await accounts.client(CORK)).custom_fields()
    assert (caught.value.destination, at.ghl.oauth.refreshed) == (f"ghl:{CORK}", 1)
    assert (await at.row())["version"] == 1
    wake_keepers(monkeypatch)
    async with at.accounts():
        await eventually(lambda: at_version(at, 2))
    assert at.ghl.oauth.refreshed == 1


async def test_a_process_that_dies_between_ghls_answer_and_the_commit_is_followed_within_the_time_of_grace(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.expire()
    environment = {
        **os.environ,
        "DATABASE_URL": at.postroom.dsn,
        "KEY": KEY,
        "LOCATION": CORK,
        "GHL_CLIENT_ID": DEMO_CLIENT_ID,
        "GHL_CLIENT_SECRET": DEMO_CLIENT_SECRET,
        "GHL_API_BASE_URL": at.base_url,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.dispatcher.refreshing_process", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        assert await asyncio.wait_for(child.stdout.readline(), 30) == b"answered\n"
    finally:
        child.send_signal(signal.SIGKILL)
        await child.communicate()
    assert (at.ghl.oauth.refreshed, (await at.row())["version"]) == (1, 1)
    wake_keepers(monkeypatch)
    async with at.accounts() as accounts:
        await eventually(lambda: at_version(at, 2))
        await (await accounts.client(CORK)).custom_fields()
    assert (at.ghl.oauth.refreshed, at.asked) == (1, 2)


async def at_version(at: World, version: int) -> bool:
    return bool((await at.row())["version"] == version)


async def test_an_old_refresh_token_that_was_used_before_ends_the_connection_and_says_so(at: World) -> None:
    before = (await at.row())["sealed"]
    await at.expire()
    async with at.accounts() as accounts:
        await (await accounts.client(CORK)).custom_fields()
    # A restored backup has the pair of yesterday.
    await at.postroom.pool.execute("update outbox.connections set sealed = $1, expires_at = now()", before)
    at.clock.advance(31)
    async with at.accounts() as accounts:
        with pytest.raises(ConsentLost, match="refresh token is invalid"):
            await (await accounts.client(CORK)).custom_fields()
        asked = at.asked
        with pytest.raises(ConsentLost):
            await (await accounts.client(CORK)).custom_fields()
    assert at.asked == asked  # nobody knocks at a closed door
    row = await at.row()
    assert (row["state"], row["why"]) == ("inactive", "Invalid grant: refresh token is invalid")


async def test_a_suspended_location_keeps_its_pair_and_works_later(at: World) -> None:
    await at.expire()
    at.ghl.oauth.locations[CORK].is_active = False
    async with at.accounts() as accounts:
        client = await accounts.client(CORK)
        with pytest.raises(Suspended) as caught:
            await client.custom_fields()
        assert caught.value.destination == f"ghl:{CORK}"
        row = await at.row()
        assert (row["state"], row["why"], row["version"], row["refreshing_until"]) == ("active", "Location is not active", 1, None)
        at.clock.advance(7 * 86_400)
        at.ghl.oauth.locations[CORK].is_active = True
        await client.custom_fields()
    row = await at.row()
    assert (row["state"], row["why"], row["version"]) == ("active", None, 2)


async def test_wrong_credentials_of_the_app_lock_out_but_end_no_consent(at: World) -> None:
    await at.expire()
    async with at.accounts(at.settings(ghl_client_secret="wrong")) as accounts:
        with pytest.raises(Unauthorised, match="client credentials") as caught:
            await (await accounts.client(CORK)).custom_fields()
        assert type(caught.value) is Unauthorised
    assert (await at.row())["state"] == "active"
    async with at.accounts() as accounts:
        await (await accounts.client(CORK)).custom_fields()


async def test_what_the_token_endpoint_cannot_read_locks_out_and_buries_nothing(at: World) -> None:
    await at.expire()
    at.ghl.faults.add("answer", "/oauth/token", status=400, body={"statusCode": 400, "message": "Missing parameter: clientId"})
    async with at.accounts() as accounts:
        with pytest.raises(Unauthorised, match="no fresh token"):
            await (await accounts.client(CORK)).custom_fields()
    assert (await at.row())["refreshing_until"] is None


async def test_a_caller_that_gives_up_does_not_stop_the_refresh(at: World) -> None:
    await at.expire()
    at.ghl.faults.add("hang", "/oauth/token")
    async with at.accounts() as accounts:
        client = await accounts.client(CORK)
        impatient = asyncio.create_task(client.custom_fields())
        await at.ghl.faults.wait_hanging()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        at.ghl.faults.release()
        await client.custom_fields()
    assert (at.ghl.oauth.refreshed, at.asked, (await at.row())["version"]) == (1, 1, 2)


async def test_a_stopping_process_stores_what_it_was_given(at: World) -> None:
    await at.expire()
    at.ghl.faults.add("delay", "/oauth/token", delay_s=0.3)
    async with at.accounts() as accounts:
        asking = asyncio.create_task((await accounts.client(CORK)).custom_fields())
        await eventually(lambda: is_refreshing(at))
        asking.cancel()
    assert (await at.row())["version"] == 2


async def is_refreshing(at: World) -> bool:
    return (await at.row())["refreshing_until"] is not None


async def test_a_pair_that_cannot_be_stored_at_once_is_stored_when_the_database_is_back(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await at.expire()
    store, away = connections.store, [3]

    async def shaky(*args: object, **more: object) -> int | None:
        if away[0]:
            away[0] -= 1
            raise DatabaseUnavailable("away")
        return await store(*args, **more)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(connections, "store", shaky)
    async with at.accounts() as accounts:
        await (await accounts.client(CORK)).custom_fields()
    assert (away[0], at.ghl.oauth.refreshed, (await at.row())["version"]) == (0, 1, 2)


async def test_a_pair_is_stored_before_it_is_used(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await at.expire()
    seen: list[int] = []
    store = connections.store

    async def watched(*args: object, **more: object) -> int | None:
        seen.append(at.ghl.requests.count("GET", "/locations/**"))
        return await store(*args, **more)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(connections, "store", watched)
    async with at.accounts() as accounts:
        await (await accounts.client(CORK)).custom_fields()
    assert (seen, at.ghl.requests.count("GET", "/locations/**")) == ([0], 1)


async def test_keepers_refresh_well_before_the_end_while_everybody_goes_on(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    wake_keepers(monkeypatch)
    await at.postroom.pool.execute(
        "update outbox.connections set expires_at = now() + interval '9 minutes', refreshed_at = now() - interval '1 day'"
    )
    async with at.accounts(), at.accounts():
        await eventually(lambda: at_version(at, 2))
        await asyncio.sleep(0.2)  # some looks more, of both
    assert (at.ghl.oauth.refreshed, at.asked) == (1, 1)


async def test_a_key_that_is_missing_stops_the_location_and_keeps_the_pair(at: World) -> None:
    async with at.accounts(sealer=Sealer([SecretStr(new_key())])) as accounts:
        with pytest.raises(Suspended, match="POSTROOM_ENCRYPTION_KEYS"):
            await (await accounts.client(CORK)).custom_fields()
    async with at.accounts() as accounts:
        await (await accounts.client(CORK)).custom_fields()


async def test_a_location_without_a_refresh_token_of_its_own_is_refreshed_by_its_agency(at: World) -> None:
    code = SEALER.seal(at.ghl.oauth.consent_agency(DEMO_COMPANY_ID, redirect_uri=BACK))
    async with at.accounts() as accounts:
        granted = await accounts.exchange(code, redirect_uri=BACK)
        async with at.postroom.pool.acquire() as connection, connection.transaction():
            await accounts.keep(connection, granted, at=(await at.row())["updated_at"])
    pair = {"access_token": "eyJ-old", "refresh_token": None}
    await at.postroom.pool.execute(
        "update outbox.connections set sealed = $1, expires_at = now() where destination = $2", SEALER.seal(json.dumps(pair)), f"ghl:{CORK}"
    )
    async with at.accounts() as accounts:
        await (await accounts.client(CORK)).custom_fields()
    assert at.ghl.requests.count("POST", "/oauth/locationToken") == 1
    await at.postroom.pool.execute("delete from outbox.connections where account = $1", DEMO_COMPANY_ID)
    await at.postroom.pool.execute(
        "update outbox.connections set sealed = $1, expires_at = now() where destination = $2", SEALER.seal(json.dumps(pair)), f"ghl:{CORK}"
    )
    async with at.accounts() as accounts:
        with pytest.raises(ConsentLost, match="came without one to refresh with"):
            await (await accounts.client(CORK)).custom_fields()


async def test_an_account_that_is_removed_meanwhile_is_not_connected(at: World) -> None:
    async with at.accounts() as accounts:
        client = await accounts.client(CORK)
        await at.postroom.pool.execute("delete from outbox.connections")
        with pytest.raises(NotConnected):
            await client.custom_fields()


async def test_no_token_and_no_code_is_ever_in_the_database_as_it_is(at: World) -> None:
    [row] = await at.postroom.rows("select c::text from outbox.connections c")
    access = SEALER.open(bytes((await at.row())["sealed"])).get_secret_value()
    assert json.loads(access)["access_token"] not in row["c"]
