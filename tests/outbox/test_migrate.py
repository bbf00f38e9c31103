"""Migrations: they build schema.sql, once, one at a time, whole or not at all, and never on ground that is not ours."""

import asyncio
import re
import subprocess
from pathlib import Path

import asyncpg
import pytest

import outbox
from outbox import migrate as module
from outbox.embedded import Embedded
from outbox.errors import ConfigError, SchemaMismatch
from outbox.migrate import check, migrate, migrations, version
from outbox.store import days
from outbox.testing import Postroom
from tests.outbox.waiting import until_it_waits_for_a_lock

SCHEMA = Path(outbox.__file__).parents[1] / "schema.sql"
# A dump's first and last words are a random password against injection, and partitions carry the day of their making.
RANDOM = re.compile(r"^\\(un)?restrict .*$", re.MULTILINE)
NEWEST = migrations()[-1][0]


def dump(server: Embedded, dsn: str) -> str:
    """The whole schema as SQL, privileges included."""
    command: list[str | Path] = [
        server.place.binaries.pg_dump,
        "--schema-only",
        "--exclude-table=*.*_2[0-9][0-9][0-9][0-9][0-9][0-9][0-9]",
        f"--dbname={dsn}",
    ]
    return RANDOM.sub("", subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


async def partitions(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    query = "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where c.relkind = 'r' order by 1"
    return [row[0] for row in await connection.fetch(query)]


async def test_migrating_an_empty_database_builds_what_schema_sql_says(
    own: Postroom, empty_database: str, postroom_server: Embedded
) -> None:
    name = empty_database.split("@/")[1].split("?")[0]
    await asyncio.to_thread(postroom_server.run_sql, SCHEMA.read_text("utf-8"), name)
    migrated, written = (
        await asyncio.to_thread(dump, postroom_server, own.dsn),
        await asyncio.to_thread(dump, postroom_server, empty_database),
    )
    assert "CREATE FUNCTION outbox.stage(" in written
    assert "CREATE TABLE outbox.busy" in written
    assert migrated == written


async def test_a_migrated_database_says_its_version_and_passes_the_check(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    assert await version(connection) == 0
    with pytest.raises(SchemaMismatch, match=rf"is at schema version 0, this code needs {NEWEST}: run `postroom migrate`"):
        await check(connection)
    assert await migrate(connection) == [f"{number:04} {name}" for number, name, _ in migrations()]
    assert await version(connection) == NEWEST
    await check(connection)
    assert [len([part for part in await partitions(connection) if part.startswith(table)]) for table in days.PARTITIONED] == [3, 3, 3]
    await connection.close()


async def test_migrating_again_changes_nothing(own: Postroom, postroom_server: Embedded) -> None:
    await own.pool.execute("select outbox.stage('a', '{}')")
    before = await asyncio.to_thread(dump, postroom_server, own.dsn)
    applied = await own.rows("select * from outbox.migrations")
    async with own.pool.acquire() as connection:
        assert await migrate(connection) == []
    assert await asyncio.to_thread(dump, postroom_server, own.dsn) == before
    assert await own.rows("select * from outbox.migrations") == applied
    assert len(await own.staged()) == 1


async def test_of_two_that_migrate_at_once_each_migration_is_done_by_one_of_them(empty_database: str) -> None:
    connections = [await asyncpg.connect(empty_database) for _ in range(2)]
    answers = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(answers[0] + answers[1]) == [f"{number:04} {name}" for number, name, _ in migrations()]
    assert await connections[0].fetchval("select count(*) from outbox.migrations") == len(migrations())
    for connection in connections:
        await connection.close()


async def test_a_migration_waits_for_the_one_that_has_the_lock(own: Postroom) -> None:
    async with own.pool.acquire() as other, own.pool.acquire() as connection:
        await other.execute("select pg_advisory_lock($1)", module.LOCK)
        waiting = asyncio.create_task(migrate(connection))
        await until_it_waits_for_a_lock(own, connection.get_server_pid())
        await other.execute("select pg_advisory_unlock($1)", module.LOCK)
        assert await waiting == []
    locks = (
        "select count(*) from pg_locks l join pg_stat_activity a using (pid) where locktype = 'advisory' and datname = current_database()"
    )
    assert await own.value(locks) == 0


async def test_a_newer_schema_is_refused_and_nothing_is_changed(own: Postroom, postroom_server: Embedded) -> None:
    await own.pool.execute("insert into outbox.migrations (version, name) values (9999, 'from_the_future')")
    before = await asyncio.to_thread(dump, postroom_server, own.dsn)
    async with own.pool.acquire() as connection:
        message = rf"is at schema version 9999, this code knows only {NEWEST}: deploy a newer Postroom"
        with pytest.raises(SchemaMismatch, match=message):
            await check(connection)
        with pytest.raises(SchemaMismatch, match=message + r"\. Nothing was changed"):
            await migrate(connection)
    assert await asyncio.to_thread(dump, postroom_server, own.dsn) == before


@pytest.mark.parametrize(
    "foreign",
    [
        "create schema outbox",
        "create schema crm",
        "create schema outbox; create table outbox.messages (id int)",
        "create schema outbox; create table outbox.migrations (id text primary key); insert into outbox.migrations values ('one')",
        "create schema outbox; create table outbox.migrations (version text); insert into outbox.migrations values ('one')",
    ],
)
async def test_a_schema_of_somebody_else_is_refused_and_left_as_it_is(empty_database: str, postroom_server: Embedded, foreign: str) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(foreign)
    before = await asyncio.to_thread(dump, postroom_server, empty_database)
    with pytest.raises(SchemaMismatch, match=r"a schema named outbox or crm that Postroom did not make; use another database"):
        await migrate(connection)
    assert await asyncio.to_thread(dump, postroom_server, empty_database) == before
    assert await connection.fetchval("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()") == 0
    await connection.close()


async def test_a_migration_that_fails_leaves_nothing_and_keeps_those_before_it(
    empty_database: str, postroom_server: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(empty_database)
    good = (NEWEST + 1, "good", "create table crm.good (id int)")
    bad = (NEWEST + 2, "bad", "create table crm.bad (id int); select 1/0; create table crm.never (id int)")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), good, bad])
    with pytest.raises(SchemaMismatch, match=rf"migration {NEWEST + 2:04} bad failed and was rolled back: division by zero"):
        await migrate(connection)
    tables = {row[0] for row in await connection.fetch("select tablename from pg_tables where schemaname = 'crm'")}
    assert "good" in tables
    assert not tables & {"bad", "never"}
    assert await version(connection) == NEWEST + 1

    mended = (NEWEST + 2, "bad", "create table crm.bad (id int)")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), good, mended])
    assert await migrate(connection) == [f"{NEWEST + 2:04} bad"]
    await check(connection)
    await connection.close()


async def test_a_first_migration_that_fails_leaves_an_empty_database(
    empty_database: str, postroom_server: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = await asyncio.to_thread(dump, postroom_server, empty_database)
    connection = await asyncpg.connect(empty_database)
    (number, name, statements), *_ = migrations()
    monkeypatch.setattr(module, "migrations", lambda: [(number, name, statements + "; select 1/0;")])
    with pytest.raises(SchemaMismatch, match="division by zero"):
        await migrate(connection)
    assert await asyncio.to_thread(dump, postroom_server, empty_database) == empty
    await connection.close()


async def test_a_role_that_may_not_read_the_schema_is_told_so(own: Postroom, stranger: str) -> None:
    async with own.pool.acquire() as connection:
        await connection.execute(f"set role {stranger}")
        with pytest.raises(
            ConfigError, match="the role in DATABASE_URL may not read the schema outbox; use the role that ran `postroom migrate`"
        ):
            await check(connection)
        await connection.execute("reset role")


def test_no_two_migrations_have_one_number() -> None:
    numbers = [number for number, _, _ in migrations()]
    assert numbers == sorted(set(numbers))
