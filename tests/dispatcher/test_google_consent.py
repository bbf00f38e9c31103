"""A user's consent through the whole dispatcher: a code becomes a sealed pair, and what makes it of no use is said in words."""

import json
from collections.abc import AsyncIterator

import pytest

from outbox.testing import Postroom
from tests.dispatcher.connecting import SEALER
from tests.dispatcher.googling import VERIFIER, World, world
from tests.dispatcher.handling import fate
from tests.dispatcher.running import stage_all


@pytest.fixture
async def at(postroom: Postroom) -> AsyncIterator[World]:
    async with world(postroom) as made:
        yield made


async def connections(at: World) -> list[dict[str, object]]:
    return await at.postroom.rows("select destination, provider, account, state from outbox.connections")


async def test_a_consent_connects_a_user_and_keeps_the_pair_sealed(at: World) -> None:
    async with at.dispatching():
        event = await at.settled(at.code())
    assert json.loads((await fate(at.postroom, event)).why or "") == {"connected": "google:ada"}
    assert await connections(at) == [{"destination": "google:ada", "provider": "google", "account": "ada", "state": "active"}]
    sealed = bytes(await at.postroom.value("select sealed from outbox.connections"))
    pair = json.loads(SEALER.open(sealed).get_secret_value())
    assert pair["refresh_token"].startswith("1//0")
    assert pair["refresh_token"].encode() not in sealed
    assert await at.postroom.value("select off from outbox.syncs where name = 'google-contacts:ada'") is None


async def test_a_consent_of_one_whose_sync_is_on_begins_it(at: World) -> None:
    at.put("Ada")
    await at.connect(enabled=True)
    await at.postroom.pool.execute("truncate outbox.runs cascade")
    async with at.dispatching():
        await at.settled(at.code())
        await at.until(lambda: has_contacts(at))
    assert await at.contacts() == ["Ada"]


async def has_contacts(at: World) -> bool:
    return bool(await at.contacts())


@pytest.mark.parametrize("case", ["another verifier", "a code used before", "an unticked scope"])
async def test_a_consent_that_is_of_no_use_is_a_dead_letter_that_says_why(at: World, case: str) -> None:
    code = at.code(
        verifier="another-verifier" if case == "another verifier" else VERIFIER,
        scope="openid" if case == "an unticked scope" else None,
    )
    async with at.dispatching():
        if case == "a code used before":
            await at.settled(code)
            await at.postroom.pool.execute("delete from outbox.connections")
        event = await at.settled(code)
    found = await fate(at.postroom, event)
    words = {"another verifier": "verifier", "a code used before": "does not take the code", "an unticked scope": "ticked"}
    assert found.state == "dead"
    assert words[case] in (found.why or "")
    assert "postroom connect google" in (found.why or "")
    assert await connections(at) == []


async def test_a_wrong_client_secret_holds_the_consent_until_it_is_right(at: World) -> None:
    code = at.code()
    async with at.dispatching(google_client_secret="wrong"):
        [event] = await stage_all(at.postroom, code)
        await at.until(lambda: is_held(at, event))
    assert await at.postroom.value("select state from outbox.destinations where name = 'google-oauth'") == "unauthorised"


async def is_held(at: World, event_id: int) -> bool:
    return (await fate(at.postroom, event_id)).is_held
