"""`stage()`: puts an event into the outbox inside the caller's transaction, over whatever connection the caller has.

All doors lead to the SQL function outbox.stage(): asyncpg, psycopg (sync and async), SQLAlchemy (sync and async; sessions
and connections). It never commits, so the event exists if and only if the caller's transaction does (P3).
"""

from collections.abc import Awaitable
from typing import Any, NoReturn

from outbox.errors import InvalidEvent, KeyReused
from outbox.event import Event

PARAMETERS = ("kind", "payload", "key", "lane", "due_at", "source")
SQL = "select outbox.stage({}, cast({} as jsonb), {}, {}, coalesce(cast({} as timestamptz), now()), {})"
INVALID = {"22023", "22004", "54000", "22P05", "22P02"}


def stage(connection: Any, event: Event) -> Any:
    """Stage `event` in the transaction that is open on `connection`, and return its id.

    On an asyncpg connection, an async psycopg connection or an async SQLAlchemy session this is awaited:
    `await stage(conn, event)`. On a sync psycopg connection or SQLAlchemy session it returns the id at once.
    The same key with the same payload returns the first id. Raises KeyReused for the same key with another payload (the
    transaction is then failed, as after any SQL error), InvalidEvent for an event that breaks a rule.
    """
    values = (event.kind, event.payload_json(), event.key, event.lane, event.due_at, event.source)
    family = type(connection).__module__.partition(".")[0]
    match family, _is_async(connection):
        case "asyncpg", _:
            return _asyncpg(connection, values)
        case "psycopg", True:
            return _psycopg_async(connection, values)
        case "psycopg", False:
            return _psycopg(connection, values)
        case "sqlalchemy", True:
            return _sqlalchemy_async(connection, values)
        case "sqlalchemy", False:
            return _sqlalchemy(connection, values)
    raise TypeError(
        f"stage() works on asyncpg, psycopg and SQLAlchemy connections, not on a {family} {type(connection).__name__}; "
        "with any other driver run: select outbox.stage(kind, payload, key, lane, due_at, source)"
    )


def _is_async(connection: Any) -> bool:
    return any("Async" in base.__name__ or base.__name__.startswith("async_") for base in type(connection).__mro__)


async def _asyncpg(connection: Any, values: tuple[Any, ...]) -> int:
    try:
        return int(await connection.fetchval(SQL.format("$1", "$2::text", "$3", "$4", "$5", "$6"), *values))
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


def _psycopg(connection: Any, values: tuple[Any, ...]) -> int:
    try:
        return int(connection.execute(SQL.format(*["%s"] * 6), values).fetchone()[0])
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


async def _psycopg_async(connection: Any, values: tuple[Any, ...]) -> int:
    try:
        cursor = await connection.execute(SQL.format(*["%s"] * 6), values)
        return int((await cursor.fetchone())[0])
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


def _sqlalchemy(session: Any, values: tuple[Any, ...]) -> int:
    from sqlalchemy import text

    try:
        return int(
            session.execute(text(SQL.format(*(f":{name}" for name in PARAMETERS))), dict(zip(PARAMETERS, values, strict=True))).scalar_one()
        )
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


async def _sqlalchemy_async(session: Any, values: tuple[Any, ...]) -> int:
    from sqlalchemy import text

    try:
        answer: Awaitable[Any] = session.execute(
            text(SQL.format(*(f":{name}" for name in PARAMETERS))), dict(zip(PARAMETERS, values, strict=True))
        )
        return int((await answer).scalar_one())
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


def _rename(problem: Exception) -> NoReturn:
    """Raises our name for what the SQL function said, whichever driver brought it; anything else as it came."""
    inner: Any = problem
    while inner is not None:
        code = getattr(inner, "sqlstate", None)
        if code == "PR001":
            raise KeyReused(str(inner).splitlines()[0]) from problem
        if code in INVALID and "outbox.stage" in str(inner):
            raise InvalidEvent(str(inner).splitlines()[0]) from problem
        inner = getattr(inner, "orig", None) or inner.__cause__
    raise problem
