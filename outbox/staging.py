"""`stage()`: puts an event into the outbox inside the caller's transaction, over whatever connection the caller has.

All doors lead to the SQL function outbox.stage(): asyncpg, psycopg (sync and async), SQLAlchemy (sync and async; sessions
and connections). It never commits, so the event exists if and only if the caller's transaction does (P3).
"""

from typing import Any, NoReturn

from outbox.errors import InvalidEvent, KeyReused
from outbox.event import Event

PARAMETERS = ("kind", "payload", "key", "lane", "due_at", "source")
SQL = "select outbox.stage({}, cast({} as jsonb), {}, {}, coalesce(cast({} as timestamptz), now()), {})"
DRIVERS = ("asyncpg", "psycopg", "sqlalchemy")
# Our statement is nothing but the call, so a data exception or a limit is always about what was staged.
INVALID = ("22", "54")


def stage(connection: Any, event: Event) -> Any:
    """Stage `event` in the transaction that is open on `connection`, and return its id.

    On an asyncpg connection, an async psycopg connection or an async SQLAlchemy session this is awaited:
    `await stage(conn, event)`. On a sync psycopg connection or SQLAlchemy session it returns the id at once.
    The same key with the same payload returns the first id. Raises KeyReused for the same key with another payload (the
    transaction is then failed, as after any SQL error), InvalidEvent for an event that breaks a rule.
    """
    values = (event.kind, event.payload_json(), event.key, event.lane, event.due_at, event.source)
    match _driver(connection), _is_async(connection):
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
        f"stage() works on connections of asyncpg, psycopg and SQLAlchemy, inside their transaction, not on a {type(connection).__name__} "
        f"of {type(connection).__module__}; with any other driver run: select outbox.stage(kind, payload, key, lane, due_at, source)"
    )


def _driver(connection: Any) -> str | None:
    """Whose connection it is; an app's own subclass is its driver's. None: nobody's that we know, or a pool or cursor of it."""
    if not hasattr(connection, "execute") or type(connection).__name__.endswith(("Pool", "Cursor")):
        return None
    families = (base.__module__.partition(".")[0] for base in type(connection).__mro__)
    return next((family for family in families if family in DRIVERS), None)


def _is_async(connection: Any) -> bool:
    return any("Async" in base.__name__ or base.__name__.startswith("async_") for base in type(connection).__mro__)


async def _asyncpg(connection: Any, values: tuple[Any, ...]) -> int:
    try:
        return int(await connection.fetchval(SQL.format("$1", "$2::text", "$3", "$4", "$5", "$6"), *values))
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


def _psycopg(connection: Any, values: tuple[Any, ...]) -> int:
    from psycopg import Cursor
    from psycopg.rows import scalar_row

    try:
        with Cursor(connection, row_factory=scalar_row) as cursor:  # whatever cursors and rows the app's connection is set to make
            return _id(cursor.execute(SQL.format(*["%s"] * 6), values).fetchone())
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


async def _psycopg_async(connection: Any, values: tuple[Any, ...]) -> int:
    from psycopg import AsyncCursor
    from psycopg.rows import scalar_row

    try:
        async with AsyncCursor(connection, row_factory=scalar_row) as cursor:
            await cursor.execute(SQL.format(*["%s"] * 6), values)
            return _id(await cursor.fetchone())
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


def _sqlalchemy(session: Any, values: tuple[Any, ...]) -> int:
    try:
        return int(session.execute(_statement(), dict(zip(PARAMETERS, values, strict=True))).scalar_one())
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


async def _sqlalchemy_async(session: Any, values: tuple[Any, ...]) -> int:
    try:
        return int((await session.execute(_statement(), dict(zip(PARAMETERS, values, strict=True)))).scalar_one())
    except Exception as problem:  # noqa: BLE001 -- every driver's errors; it re-raises
        _rename(problem)


def _id(value: Any) -> int:
    return int(value)


def _statement() -> Any:
    """The call as SQLAlchemy wants it. Without the type it tells asyncpg that due_at has no zone, and the driver refuses it."""
    from sqlalchemy import DateTime, bindparam, text

    return text(SQL.format(*(f":{name}" for name in PARAMETERS))).bindparams(bindparam("due_at", type_=DateTime(timezone=True)))


def _rename(problem: Exception) -> NoReturn:
    """Raises our name for what the SQL function said, whichever driver brought it; anything else as it came."""
    inner: Any = problem
    while inner is not None:
        code = getattr(inner, "sqlstate", None) or getattr(getattr(inner, "diag", None), "sqlstate", None) or ""
        if code == "PR001":
            raise KeyReused(_message(inner)) from problem
        if code.startswith(INVALID):
            raise InvalidEvent(_message(inner)) from problem
        inner = getattr(inner, "orig", None) or inner.__cause__
    raise problem


def _message(problem: Exception) -> str:
    """What the database said, without the driver's words around it."""
    said = str(problem)
    return said[max(0, said.find("outbox.stage: ")) :].splitlines()[0]
