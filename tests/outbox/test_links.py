"""crm.links: one thing has one other id at a destination, and the newest word counts."""

from outbox.store import links
from outbox.store.links import Link
from outbox.testing import Postroom


async def test_a_link_is_found_from_either_side(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        for _ in range(2):
            await links.put(connection, "appointment", ours="7", theirs="g1", destination="ghl")
    assert await links.theirs(postroom.pool, "appointment", "7") == Link("g1", "ghl")
    assert await links.ours(postroom.pool, "appointment", "g1", destination="ghl") == "7"
    assert await postroom.value("select count(*) from crm.links") == 1


async def test_an_id_means_one_thing_for_each_kind_and_destination(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        await links.put(connection, "appointment", ours="7", theirs="x", destination="ghl")
        await links.put(connection, "appointment", ours="8", theirs="x", destination="ghl:Loc2")
        await links.put(connection, "staff", ours="7", theirs="x", destination="ghl")
    assert await links.ours(postroom.pool, "appointment", "x", destination="ghl:Loc2") == "8"
    assert await links.ours(postroom.pool, "staff", "x", destination="ghl") == "7"
    assert await links.ours(postroom.pool, "appointment", "x", destination="phorest") is None


async def test_a_new_link_ends_what_either_side_was_linked_to(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        await links.put(connection, "appointment", ours="7", theirs="g1", destination="ghl")
        await links.put(connection, "appointment", ours="8", theirs="g2", destination="ghl")
        await links.put(connection, "appointment", ours="7", theirs="g2", destination="ghl")
    assert await postroom.rows("select ours, theirs from crm.links") == [{"ours": "7", "theirs": "g2"}]


async def test_a_link_is_forgotten_once(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection:
        await links.put(connection, "appointment", ours="7", theirs="g1", destination="ghl")
        assert await links.forget(connection, "appointment", "7")
        assert not await links.forget(connection, "appointment", "7")
    assert await links.theirs(postroom.pool, "appointment", "7") is None
