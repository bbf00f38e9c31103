"""The doors to the outbox: every kind of connection that an app may have, with a transaction open on it, behind one face.

Synchronous drivers run in a thread, so that a test can watch one of two transactions wait for the other.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
import sqlalchemy
from psycopg.rows import dict_row
from pydantic import BaseModel
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from outbox import Event, stage


@dataclass(frozen=True, slots=True)
class Door:
    """An app's open transaction. `pid` is its server process."""

    stage: Callable[[Event], Awaitable[int]]
    commit: Callable[[], Awaitable[object]]
    rollback: Callable[[], Awaitable[object]]
    pid: int


Open = Callable[[str], AbstractAsyncContextManager[Door]]
PID = "select pg_backend_pid()"


class Restarting:
    """A transaction of asyncpg that begins anew when it has ended, as those of the other drivers do."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def begin(self) -> "Restarting":
        self._open = self._connection.transaction()
        await self._open.start()
        return self

    async def commit(self) -> None:
        await self._open.commit()
        await self.begin()

    async def rollback(self) -> None:
        await self._open.rollback()
        await self.begin()


@asynccontextmanager
async def over_asyncpg(dsn: str) -> AsyncIterator[Door]:
    connection = await asyncpg.connect(dsn)
    try:
        transaction = await Restarting(connection).begin()
        yield Door(lambda event: stage(connection, event), transaction.commit, transaction.rollback, connection.get_server_pid())
    finally:
        await connection.close()


@asynccontextmanager
async def over_asyncpg_pool(dsn: str) -> AsyncIterator[Door]:
    async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool, pool.acquire() as connection:
        transaction = await Restarting(connection).begin()
        yield Door(lambda event: stage(connection, event), transaction.commit, transaction.rollback, connection.get_server_pid())


@asynccontextmanager
async def over_plain_sql(dsn: str) -> AsyncIterator[Door]:
    """As any driver of any language does it."""
    connection = await asyncpg.connect(dsn)

    async def by_hand(event: Event) -> int:
        payload = event.payload.model_dump(mode="json") if isinstance(event.payload, BaseModel) else event.payload
        body = json.dumps(payload, ensure_ascii=False)
        query = "select outbox.stage($1, $2::jsonb, key => $3, lane => $4, due_at => coalesce($5::timestamptz, now()), source => $6)"
        return int(await connection.fetchval(query, event.kind, body, event.key, event.lane, event.due_at, event.source))

    try:
        transaction = await Restarting(connection).begin()
        yield Door(by_hand, transaction.commit, transaction.rollback, connection.get_server_pid())
    finally:
        await connection.close()


def in_thread(call: Callable[..., Any], *fixed: object) -> Callable[..., Awaitable[Any]]:
    """`call` as an awaitable, in a thread."""
    return lambda *values: asyncio.to_thread(call, *fixed, *values)


def over_psycopg(**settings: Any) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Door]:
        connection = await asyncio.to_thread(psycopg.connect, dsn, **settings)
        try:
            yield Door(
                in_thread(stage, connection), in_thread(connection.commit), in_thread(connection.rollback), connection.info.backend_pid
            )
        finally:
            connection.close()

    return opened


@asynccontextmanager
async def over_psycopg_async(dsn: str) -> AsyncIterator[Door]:
    connection = await psycopg.AsyncConnection.connect(dsn)
    try:
        yield Door(lambda event: stage(connection, event), connection.commit, connection.rollback, connection.info.backend_pid)
    finally:
        await connection.close()


def over_sqlalchemy(make: Callable[[sqlalchemy.Engine], Any]) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Door]:
        engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg:", 1), poolclass=NullPool)
        session: sqlalchemy.Connection | Session = make(engine)
        try:
            pid = session.execute(sqlalchemy.text(PID)).scalar_one()
            yield Door(in_thread(stage, session), in_thread(session.commit), in_thread(session.rollback), pid)
        finally:
            session.close()

    return opened


def over_sqlalchemy_async(driver: str, *, session: bool) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Door]:
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

        engine = create_async_engine(dsn.replace("postgresql:", f"postgresql+{driver}:", 1), poolclass=NullPool)
        async with AsyncSession(engine) if session else engine.connect() as app:
            pid = (await app.execute(sqlalchemy.text(PID))).scalar_one()
            yield Door(lambda event: stage(app, event), app.commit, app.rollback, pid)

    return opened


# Those that go through outbox.stage() of Python; plain SQL is the same function without Python's checks before it.
PYTHON_DOORS: dict[str, Open] = {
    "asyncpg": over_asyncpg,
    "asyncpg pool": over_asyncpg_pool,
    "psycopg": over_psycopg(),
    "psycopg with dict rows": over_psycopg(row_factory=dict_row),
    "psycopg async": over_psycopg_async,
    "sqlalchemy connection": over_sqlalchemy(sqlalchemy.Engine.connect),
    "sqlalchemy session": over_sqlalchemy(Session),
    "sqlalchemy async connection, asyncpg": over_sqlalchemy_async("asyncpg", session=False),
    "sqlalchemy async session, asyncpg": over_sqlalchemy_async("asyncpg", session=True),
    "sqlalchemy async session, psycopg": over_sqlalchemy_async("psycopg", session=True),
}
DOORS: dict[str, Open] = {**PYTHON_DOORS, "plain SQL": over_plain_sql}
