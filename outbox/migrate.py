"""`postroom migrate`: brings a database to this code's schema. Idempotent, one at a time, never backwards.

Owns the order of the migrations and the refusals. Drops nothing, and touches no schema that it did not make.
"""

import re
from importlib.resources import files

import asyncpg

from outbox import db
from outbox.db import Connection
from outbox.errors import ConfigError, SchemaMismatch

LOCK = 7310
FILE = re.compile(r"(\d{4})_(\w+)\.sql")
FOREIGN = "the database has a schema named outbox or crm that Postroom did not make; use another database. Nothing was changed"


def migrations() -> list[tuple[int, str, str]]:
    """(version, name, statements), in order."""
    named = ((entry, FILE.fullmatch(entry.name)) for entry in files("outbox.migrations").iterdir())
    return sorted((int(match[1]), match[2], entry.read_text("utf-8")) for entry, match in named if match)


async def version(connection: Connection) -> int:
    """The database's schema version; 0 when it has none.

    Raises SchemaMismatch when `outbox.migrations` is not ours, ConfigError when this role may not read it.
    """
    try:
        if await db.fetchval(connection, "select to_regclass('outbox.migrations')") is None:
            return 0
        return int(await db.fetchval(connection, "select coalesce(max(version), 0)::int from outbox.migrations"))
    except asyncpg.InsufficientPrivilegeError:
        raise ConfigError(
            "the role in DATABASE_URL may not read the schema outbox; use the role that ran `postroom migrate`, or a member of it"
        ) from None
    except (asyncpg.SyntaxOrAccessError, asyncpg.DataError):
        raise SchemaMismatch(FOREIGN) from None


async def check(connection: Connection) -> None:
    """Raises SchemaMismatch unless the database is at this code's version."""
    have, want = await version(connection), migrations()[-1][0]
    if have < want:
        raise SchemaMismatch(f"the database is at schema version {have}, this code needs {want}: run `postroom migrate`")
    if have > want:
        raise SchemaMismatch(f"the database is at schema version {have}, this code knows only {want}: deploy a newer Postroom")


async def migrate(connection: Connection) -> list[str]:
    """Applies what is missing, each migration in a transaction of its own, under a lock. Returns the names applied.

    Raises SchemaMismatch when the database is newer than this code or holds a foreign schema `outbox` or `crm` (nothing is changed
    then), or when a migration fails (that one is rolled back whole). Needs a session of its own: not through a transaction pooler.
    """
    applied: list[str] = []
    known = migrations()
    with db.mapped():
        await connection.execute("select pg_advisory_lock($1)", LOCK, timeout=60)
        try:
            have = await version(connection)
            if have > known[-1][0]:
                raise SchemaMismatch(
                    f"the database is at schema version {have}, this code knows only {known[-1][0]}: deploy a newer Postroom. "
                    "Nothing was changed"
                )
            if have == 0 and await connection.fetchval("select coalesce(to_regnamespace('outbox'), to_regnamespace('crm')) is not null"):
                raise SchemaMismatch(FOREIGN)
            for number, name, statements in known:
                if number > have:
                    await _apply(connection, number, name, statements)
                    applied.append(f"{number:04} {name}")
        finally:
            if not connection.is_closed():
                await connection.execute("select pg_advisory_unlock($1)", LOCK)
    return applied


async def _apply(connection: Connection, number: int, name: str, statements: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(statements, timeout=300)
            await connection.execute("insert into outbox.migrations (version, name) values ($1, $2)", number, name)
    except db.UNAVAILABLE:
        raise
    except asyncpg.PostgresError as problem:
        raise SchemaMismatch(
            f"migration {number:04} {name} failed and was rolled back: {problem}. Mend what it says and run `postroom migrate` again"
        ) from problem
