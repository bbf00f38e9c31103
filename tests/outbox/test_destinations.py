"""What flows, what is paused by a person, what is open until one event has probed it."""

from typing import Any

import asyncpg
import pytest

from outbox.store import destinations
from outbox.testing import Postroom
from tests.dispatcher.running import eventually


async def ghl(postroom: Postroom) -> dict[str, Any]:
    (row,) = await destinations.every(postroom.pool)
    return dict(row)


async def due(postroom: Postroom) -> None:
    """The probe's time has come."""
    await postroom.pool.execute("update outbox.destinations set until = now()")


async def test_a_breaker_opens_counts_and_lets_one_event_probe_when_it_is_time(postroom: Postroom) -> None:
    assert await destinations.open_breaker(postroom.pool, "ghl", why="503", probe_in_s=30) == 1
    row = await ghl(postroom)
    assert (row["state"], row["why"], row["by_whom"], row["probe"]) == ("open", "503", None, None)
    assert 25 < row["until_s"] <= 30
    assert not await destinations.take_probe(postroom.pool, "ghl", 7), "it is not time"
    await due(postroom)
    assert await destinations.take_probe(postroom.pool, "ghl", 7)
    assert not await destinations.take_probe(postroom.pool, "ghl", 8), "one at a time"
    assert await destinations.take_probe(postroom.pool, "ghl", 7), "the same event may ask again"
    assert await destinations.open_breaker(postroom.pool, "ghl", why="still 503", probe_in_s=60) == 2
    row = await ghl(postroom)
    assert (row["why"], row["opened"], row["probe"]) == ("still 503", 2, None)


async def test_a_probe_that_never_reports_gives_its_right_up(postroom: Postroom) -> None:
    await destinations.open_breaker(postroom.pool, "ghl", why="503", probe_in_s=0)
    await due(postroom)
    assert await destinations.take_probe(postroom.pool, "ghl", 7)
    await postroom.pool.execute("update outbox.destinations set probe_at = now() - interval '10 min'")
    assert await destinations.take_probe(postroom.pool, "ghl", 8)
    await destinations.give_up_probe(postroom.pool, "ghl", 7)
    assert (await ghl(postroom))["probe"] == 8, "only its own event gives a probe up"
    await destinations.give_up_probe(postroom.pool, "ghl", 8)
    assert (await ghl(postroom))["probe"] is None


async def test_a_probe_that_succeeds_lets_it_flow_and_forgets_the_count(postroom: Postroom) -> None:
    await destinations.open_breaker(postroom.pool, "ghl", why="503", probe_in_s=0)
    await destinations.open_breaker(postroom.pool, "ghl", why="401", probe_in_s=0, unauthorised=True)
    assert (await ghl(postroom))["state"] == "unauthorised"
    await due(postroom)
    await destinations.take_probe(postroom.pool, "ghl", 7)
    assert await destinations.flow(postroom.pool, "ghl")
    assert not await destinations.flow(postroom.pool, "ghl")
    row = await ghl(postroom)
    assert (row["state"], row["why"], row["until_s"], row["probe"], row["opened"]) == ("flowing", None, None, None, 0)
    assert await destinations.open_breaker(postroom.pool, "ghl", why="503", probe_in_s=0) == 1
    assert not await destinations.flow(postroom.pool, "notion"), "what never stopped flows"


async def test_a_pause_by_a_person_stands_against_breaker_and_probe(postroom: Postroom) -> None:
    await destinations.open_breaker(postroom.pool, "ghl", why="503", probe_in_s=0)
    await destinations.pause(postroom.pool, "ghl", why="a migration", by="ada")
    assert await destinations.open_breaker(postroom.pool, "ghl", why="503", probe_in_s=0) is None
    await postroom.pool.execute("update outbox.destinations set until = now() where until is not null")
    assert not await destinations.take_probe(postroom.pool, "ghl", 7)
    assert not await destinations.flow(postroom.pool, "ghl")
    assert await destinations.end_pauses(postroom.pool) == [], "without an end a person decides"
    row = await ghl(postroom)
    assert (row["state"], row["why"], row["by_whom"], row["until_s"]) == ("paused", "a migration", "ada", None)
    assert await destinations.resume(postroom.pool, "ghl", by="bert")
    assert not await destinations.resume(postroom.pool, "ghl", by="bert")
    row = await ghl(postroom)
    assert (row["state"], row["why"], row["by_whom"]) == ("flowing", None, "bert")


async def test_a_pause_with_an_end_ends_by_itself(postroom: Postroom) -> None:
    await destinations.pause(postroom.pool, "ghl", why="lunch", by="ada", seconds=3600)
    await destinations.pause(postroom.pool, "notion", why="lunch", by="ada", seconds=3600)
    assert await destinations.end_pauses(postroom.pool) == []
    await postroom.pool.execute("update outbox.destinations set until = now() where name = 'ghl'")
    assert await destinations.end_pauses(postroom.pool) == ["ghl"]
    assert {row["name"]: row["state"] for row in await destinations.every(postroom.pool)} == {"ghl": "flowing", "notion": "paused"}


async def test_a_destination_that_flows_cannot_have_a_reason_or_a_probe(postroom: Postroom) -> None:
    for column, value in (("why", "'503'"), ("until", "now()"), ("probe", "1")):
        with pytest.raises(asyncpg.CheckViolationError):
            await postroom.pool.execute(f"insert into outbox.destinations (name, state, {column}) values ('ghl', 'flowing', {value})")


async def test_a_look_tells_what_changed_since_the_last_also_what_was_under_way_then(postroom: Postroom) -> None:
    await postroom.pool.execute(
        "insert into outbox.destinations (name, state, why) select 'google:u' || n, 'unauthorised', 'x' from generate_series(1, 50) n"
    )
    await postroom.pool.execute("insert into outbox.destinations (name) values ('notion')")
    seen, rows = await destinations.changed(postroom.pool, since=None)
    assert len(rows) == 50, "what flows is left out at first"
    async with postroom.pool.acquire() as other, other.transaction():
        await destinations.pause(other, "ghl", why="maintenance", by="ana")
        await destinations.resume(postroom.pool, "google:u7", by="ana")
        seen, rows = await destinations.changed(postroom.pool, since=seen)
        found = {row["name"]: row["state"] for row in rows}
        assert found["google:u7"] == "flowing"
        assert "ghl" not in found
    seen, rows = await destinations.changed(postroom.pool, since=seen)
    assert ("ghl", "paused") in [(row["name"], row["state"]) for row in rows]

    async def nothing_new() -> bool:
        nonlocal seen
        seen, rows = await destinations.changed(postroom.pool, since=seen)
        return rows == []

    await eventually(nothing_new)  # a transaction in another database of the server may still be open: then more is told than changed
