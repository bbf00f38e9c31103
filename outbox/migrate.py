"""`postroom migrate`: brings a database to this code's schema. Idempotent, one at a time, never backwards.

Owns the order of the migrations and the refusals. Drops nothing, and touches no schema that it did not make.

A deploy migrates first, so for a while older code works on a newer schema: on one to which everything since was only added. A migration
says so in its first line: `-- works with code from 0003` is the oldest schema version whose code it breaks nothing for. Without such
a line it is for code that knows it, and everything older refuses to begin.
"""

import asyncio
import re
import time
from importlib.resources import files

import asyncpg

from outbox import db
from outbox.db import Connection
from outbox.errors import ConfigError, SchemaMismatch

LOCK = 7310
FILE = re.compile(r"(\d{4})_(\w+)\.sql")
WORKS_WITH = re.compile(r"-- works with code from (\d{4})\b")
# Whoever waits for a table makes everybody behind it wait, too: shortly at a time, and again. Below Postgres's deadlock_timeout of 1 s,
# so that of two that wait for each other it is the migration that gives up.
LOCK_TIMEOUT_S, LOCK_PAUSE_S, LOCK_PATIENCE_S = 0.5, 1.0, 120.0
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
    """Raises SchemaMismatch unless this code can work on the database: at its own version, or at a newer one that says so."""
    have, want = await version(connection), migrations()[-1][0]
    if have < want:
        raise SchemaMismatch(f"the database is at schema version {have}, this code needs {want}: run `postroom migrate`")
    if have > want and await _oldest_code(connection) > want:
        raise SchemaMismatch(_too_new(have, want))


async def _oldest_code(connection: Connection) -> int:
    """The schema version that code must know to work on this database."""
    return int(await db.fetchval(connection, "select max(coalesce(works_with, version))::int from outbox.migrations"))


def _too_new(have: int, want: int) -> str:
    return f"the database is at schema version {have}, this code knows only {want}: deploy a newer Postroom"


async def migrate(connection: Connection) -> list[str]:
    """Applies what is missing, each migration in a transaction of its own, under a lock. Returns the names applied.

    Raises SchemaMismatch when the database is too new for this code or holds a foreign schema `outbox` or `crm` (nothing is changed
    then), or when a migration fails (that one is rolled back whole). Of two that migrate at once each applies what the other has not.
    Raises DatabaseUnavailable when a table that is to be changed is not let go for two minutes.
    """
    applied: list[str] = []
    with db.mapped():
        while (name := await _apply_patiently(connection)) is not None:
            applied.append(name)
    return applied


async def _apply_patiently(connection: Connection) -> str | None:
    """Lets go of everything between two tries, so that those who queued up behind us pass."""
    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return await _apply_next(connection)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if time.monotonic() > until:
                raise
        await asyncio.sleep(LOCK_PAUSE_S)


async def _apply_next(connection: Connection) -> str | None:
    """The first that is missing; None: there is none. The lock is the transaction's, so that a transaction pooler may be in between."""
    known = migrations()
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", LOCK, timeout=60)
        have = await version(connection)
        if have > (want := known[-1][0]) and await _oldest_code(connection) > want:
            raise SchemaMismatch(f"{_too_new(have, want)}. Nothing was changed")
        if have == 0 and await connection.fetchval("select coalesce(to_regnamespace('outbox'), to_regnamespace('crm')) is not null"):
            raise SchemaMismatch(FOREIGN)
        for number, name, statements in known:
            if number > have:
                await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_S}s'")
                await _apply(connection, number, name, statements)
                return f"{number:04} {name}"
    return None


async def _apply(connection: Connection, number: int, name: str, statements: str) -> None:
    try:
        await connection.execute(statements, timeout=300)
        said = WORKS_WITH.match(statements)
        works_with = int(said[1]) if said else None
        await connection.execute("alter table outbox.migrations add column if not exists works_with int")  # of before it was asked for
        await connection.execute("insert into outbox.migrations (version, name, works_with) values ($1, $2, $3)", number, name, works_with)
    except db.UNAVAILABLE:
        raise
    except asyncpg.PostgresError as problem:
        raise SchemaMismatch(
            f"migration {number:04} {name} failed and was rolled back: {problem}. Mend what it says and run `postroom migrate` again"
        ) from problem
