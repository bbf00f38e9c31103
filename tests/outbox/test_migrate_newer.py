"""Deploys: older code on a newer schema works where the migrations say so, and a migration does not hold up those who are at work."""

import asyncio

import asyncpg
import pytest

from outbox import migrate as module
from outbox.errors import DatabaseUnavailable, SchemaMismatch
from outbox.migrate import check, migrate, migrations
from outbox.testing import Postroom
from tests.outbox.waiting import until_it_waits_for_a_lock

NEWEST = migrations()[-1][0]
NEXT, LAST = NEWEST + 1, NEWEST + 2
ADDED = (NEXT, "added", f"-- works with code from {NEWEST:04}\nalter table crm.contacts add column nickname text")


async def applied(own: Postroom, number: int, *, works_with: int | None) -> None:
    """As newer code than this leaves it."""
    await own.pool.execute("insert into outbox.migrations (version, name, works_with) values ($1, 'newer', $2)", number, works_with)


async def test_a_newer_schema_that_works_with_this_code_is_taken_and_there_is_nothing_to_migrate(own: Postroom) -> None:
    await applied(own, NEXT, works_with=NEWEST)
    await applied(own, LAST, works_with=1)
    async with own.pool.acquire() as connection:
        await check(connection)
        assert await migrate(connection) == []


@pytest.mark.parametrize("strict", [NEXT, LAST], ids=["the first", "the last"])
async def test_of_several_newer_migrations_the_strictest_decides(own: Postroom, strict: int) -> None:
    for number in (NEXT, LAST):
        await applied(own, number, works_with=NEXT if number == strict else 1)
    async with own.pool.acquire() as connection:
        for act in (check, migrate):
            with pytest.raises(
                SchemaMismatch, match=rf"is at schema version {LAST}, this code knows only {NEWEST}: deploy a newer Postroom"
            ):
                await act(connection)


async def test_a_newer_migration_that_says_nothing_is_for_code_that_knows_it(own: Postroom) -> None:
    await applied(own, NEXT, works_with=None)
    async with own.pool.acquire() as connection:
        with pytest.raises(SchemaMismatch, match="deploy a newer Postroom"):
            await check(connection)


async def test_what_a_migration_says_in_its_first_line_is_kept(own: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = (LAST, "changed", "create table crm.changed (id int)\n-- works with code from 0001")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), ADDED, silent])
    await own.pool.execute("alter table outbox.migrations drop column works_with")  # a database of before it was asked for
    async with own.pool.acquire() as connection:
        assert await migrate(connection) == [f"{NEXT:04} added", f"{LAST:04} changed"]
    rows = await own.rows("select version, works_with from outbox.migrations where version > $1 order by version", NEWEST)
    assert rows == [{"version": NEXT, "works_with": NEWEST}, {"version": LAST, "works_with": None}]


async def test_those_behind_a_migration_that_waits_for_a_table_get_through(own: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), ADDED])
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.5)
    async with own.pool.acquire() as reader, own.pool.acquire() as connection:
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("select from crm.contacts")
        migrating = asyncio.create_task(migrate(connection))
        await until_it_waits_for_a_lock(own, connection.get_server_pid())
        assert await asyncio.wait_for(own.pool.fetch("select from crm.contacts"), 5) == []  # it stood behind the migration in the queue
        assert not migrating.done()
        await reading.rollback()
        assert await migrating == [f"{NEXT:04} added"]


async def test_a_table_that_is_never_let_go_ends_the_migration_and_nothing_is_changed(
    own: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), ADDED])
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "LOCK_PATIENCE_S", 0.0)
    async with own.pool.acquire() as reader, own.pool.acquire() as connection, reader.transaction():
        await reader.fetch("select from crm.contacts")
        with pytest.raises(DatabaseUnavailable) as caught:
            await migrate(connection)
        assert isinstance(caught.value.__cause__, asyncpg.LockNotAvailableError)
    async with own.pool.acquire() as connection:
        assert await module.version(connection) == NEWEST
