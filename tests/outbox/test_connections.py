"""Connections: one refresh at a time, of several pairs one counts, messages that come late change nothing, illegal rows do not exist."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from outbox.store import connections, destinations
from outbox.testing import Postroom

NAME = "ghl:cork"
NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)


async def connect(postroom: Postroom, *, at: datetime = NOW, expires_in_s: float = 86_400, **more: Any) -> int:
    given = {"provider": "ghl", "account": "cork", "sealed": b"pair 1", "expires_in_s": expires_in_s, "at": at}
    return await connections.connect(postroom.pool, NAME, **{**given, **more})


async def row(postroom: Postroom) -> dict[str, Any]:
    [found] = await postroom.rows("select * from outbox.connections where destination = $1", NAME)
    return found


async def install(postroom: Postroom, at: datetime) -> str:
    return await connections.install(
        postroom.pool, NAME, provider="ghl", account="cork", company_id="agency", label="Cork", why="waits for a consent", at=at
    )


async def test_the_right_to_refresh_is_one_callers_until_it_is_given_back_or_ends(postroom: Postroom) -> None:
    await connect(postroom)
    assert await connections.take(postroom.pool, NAME, version=1, lease_s=60)
    assert not await connections.take(postroom.pool, NAME, version=1, lease_s=60)
    await connections.give_back(postroom.pool, NAME, version=1, why="away", unfinished=False)
    assert (await row(postroom))["why"] == "away"
    assert await connections.take(postroom.pool, NAME, version=1, lease_s=-1)
    assert await connections.take(postroom.pool, NAME, version=1, lease_s=60)
    assert not await connections.take(postroom.pool, NAME, version=2, lease_s=60)


async def test_of_two_that_store_the_next_pair_the_first_counts(postroom: Postroom) -> None:
    await connect(postroom)
    assert await connections.store(postroom.pool, NAME, version=1, sealed=b"pair 2", expires_in_s=10) == 2
    assert await connections.store(postroom.pool, NAME, version=1, sealed=b"pair 2 again", expires_in_s=10) is None
    assert not await connections.give_up(postroom.pool, NAME, version=1, why="Invalid grant")
    found = await row(postroom)
    assert (bytes(found["sealed"]), found["state"]) == (b"pair 2", "active")


async def test_a_pair_that_comes_after_it_was_given_up_heals_the_connection(postroom: Postroom) -> None:
    """The one who was given it froze on the way, and another found only the old one."""
    await connect(postroom)
    assert await connections.give_up(postroom.pool, NAME, version=1, why="Invalid grant")
    assert (await row(postroom))["state"] == "inactive"
    assert await connections.store(postroom.pool, NAME, version=1, sealed=b"pair 2", expires_in_s=10) == 2
    assert ((await row(postroom))["state"], (await row(postroom))["why"]) == ("active", None)


async def test_a_pair_that_comes_after_an_uninstall_is_not_kept(postroom: Postroom) -> None:
    await connect(postroom)
    assert await connections.uninstall(postroom.pool, NAME, at=NOW, why="uninstalled")
    assert await connections.store(postroom.pool, NAME, version=2, sealed=b"pair 2", expires_in_s=10) is None
    assert (await row(postroom))["sealed"] is None


async def test_due_are_those_that_end_soon_and_those_whose_refresh_was_interrupted(postroom: Postroom) -> None:
    async def due() -> list[tuple[str, int]]:
        return await connections.due(postroom.pool, "ghl", within_s=600)

    await connect(postroom)
    assert await due() == []
    await postroom.pool.execute(
        "update outbox.connections set expires_at = now() + interval '9 minutes', refreshed_at = now() - interval '1 day'"
    )
    assert await due() == [(NAME, 1)]
    assert await connect(postroom, expires_in_s=300) == 2
    assert await due() == []  # a short life is not spent on refreshing: a quarter of it has to be left
    assert await connections.take(postroom.pool, NAME, version=2, lease_s=-1)
    assert await due() == [(NAME, 2)]
    await connections.give_back(postroom.pool, NAME, version=2, why="lost", unfinished=True)
    assert await due() == [(NAME, 2)]
    await connections.give_up(postroom.pool, NAME, version=2, why="Invalid grant")
    assert await due() == []
    assert await connections.due(postroom.pool, "google", within_s=600) == []


async def test_a_new_pair_lets_flow_what_waited_for_a_token_and_nothing_else(postroom: Postroom) -> None:
    async def state() -> str:
        return str(await postroom.value("select state from outbox.destinations where name = $1", NAME))

    await connect(postroom)
    for act in ("connect", "store"):
        await destinations.open_breaker(postroom.pool, NAME, why="401", probe_in_s=300, unauthorised=True)
        if act == "connect":
            await connect(postroom)
        else:
            await connections.store(postroom.pool, NAME, version=2, sealed=b"x", expires_in_s=10)
        assert await state() == "flowing"
    await destinations.open_breaker(postroom.pool, NAME, why="503", probe_in_s=300)
    await connect(postroom)
    assert await state() == "open"
    await destinations.pause(postroom.pool, NAME, why="holidays", by="maeve")
    await connections.uninstall(postroom.pool, NAME, at=NOW, why="uninstalled")
    assert await state() == "paused"


async def test_late_messages_change_no_state(postroom: Postroom) -> None:
    assert await install(postroom, NOW) == "inactive"
    await connect(postroom, at=NOW + timedelta(minutes=1))
    assert await install(postroom, NOW + timedelta(minutes=2)) == "active"
    assert not await connections.uninstall(postroom.pool, NAME, at=NOW - timedelta(minutes=1), why="uninstalled")
    assert await connections.uninstall(postroom.pool, NAME, at=NOW + timedelta(minutes=3), why="uninstalled")
    assert not await connections.uninstall(postroom.pool, NAME, at=NOW + timedelta(minutes=3), why="uninstalled")
    assert await install(postroom, NOW + timedelta(minutes=2)) == "uninstalled"
    assert await install(postroom, NOW + timedelta(minutes=4)) == "inactive"
    found = await row(postroom)
    assert (found["label"], found["company_id"], found["why"]) == ("Cork", "agency", "waits for a consent")


async def test_what_is_known_stays_when_it_is_not_said_again(postroom: Postroom) -> None:
    await connect(postroom, company_id="agency", label="Shop in Cork")
    assert await connect(postroom) == 2
    found = await row(postroom)
    assert (found["company_id"], found["label"]) == ("agency", "Shop in Cork")
    assert [one["account"] for one in await connections.of_company(postroom.pool, "ghl", "agency")] == ["cork"]
    assert [one["destination"] for one in await connections.every(postroom.pool)] == [NAME]


@pytest.mark.parametrize(
    "columns",
    ["state = 'active', sealed = null", "state = 'active', expires_at = null", "state = 'uninstalled'", "state = 'unheard of'"],
)
async def test_a_connection_without_a_meaning_is_refused(postroom: Postroom, columns: str) -> None:
    await connect(postroom)
    with pytest.raises(asyncpg.CheckViolationError):
        await postroom.pool.execute(f"update outbox.connections set {columns}")
