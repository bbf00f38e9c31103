"""Connections through a transaction pooler (PgBouncer and its like), where the next transaction may meet another server process.

Owns how such a pooler is noticed and the connection that is right for it: no statement is prepared by name, and settings hold for a
transaction, in which the statement runs. Leaves nothing behind in a server process that is another client's the next moment.
"""

# ruff: noqa: ASYNC109 -- the driver's own signatures
import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import asyncpg

from outbox import arrays
from outbox.errors import ConfigError

if TYPE_CHECKING:
    Base = asyncpg.Connection[asyncpg.Record]
else:
    Base = asyncpg.Connection

T = TypeVar("T")

MARK = "pgbouncer"  # the parameter of a connection string by which other programs are told, too
ROLLBACK_S = 1.0  # a silent line is not asked for long; one on which a statement only waited is told to stop waiting
# A client that is frozen between two trips of one statement's transaction must not keep its locks, nor one of the few server connections.
IDLE_MS = 5_000


class Road(StrEnum):
    """What a connection string says of itself: `pgbouncer=true`, `pgbouncer=false`, or nothing."""

    POOLED = "true"
    SESSIONS = "false"
    UNKNOWN = ""


def read(dsn: str) -> tuple[str, Road]:
    """A connection string as the driver takes it, without our mark, and what the mark said. Raises ConfigError."""
    address, _, query = dsn.partition("?")
    parameters = parse_qsl(query, keep_blank_values=True)
    marks = [value for name, value in parameters if name == MARK]
    if not marks:
        return dsn, Road.UNKNOWN
    try:
        road = Road(marks[-1].lower())
    except ValueError:
        raise ConfigError(f"{MARK} in a connection string is true or false") from None
    rest = urlencode([(name, value) for name, value in parameters if name != MARK], quote_via=quote, safe="/")
    return f"{address}?{rest}" if rest else address, road


async def is_direct(connection: Base, settings: Mapping[str, str], *, sure: bool) -> bool:
    """Whether the server process at the other end is the one that was connected to; if so, `settings` are its session's from now on.

    One trip. A pooler must name a process of its own invention, because it is the pooler that a request to cancel is sent to; so this
    needs no trust in how it treats parameters that it does not know (it may refuse them, or drop them silently). `sure`: do not ask.
    """
    pairs = ", ".join(f"({_literal(name)}, {_literal(value)})" for name, value in settings.items())
    wanted = f"set_config(name, value, false) from (values {pairs}) s(name, value)" if pairs else ""
    same = "true" if sure else f"pg_backend_pid() = {connection.get_server_pid()}"
    return await connection.execute(f"select {wanted} where {same}") == f"SELECT {max(1, len(settings))}"


async def connect(dsn: str, *, name: str, timeout_s: float, settings: Mapping[str, str]) -> "PooledConnection":
    """A connection through a pooler, or as if through one."""
    connection: PooledConnection = await asyncpg.connect(
        dsn,
        timeout=timeout_s,
        command_timeout=timeout_s,
        connection_class=PooledConnection,
        statement_cache_size=0,
        server_settings={"application_name": name},
    )
    try:
        arrays.tell(connection)
        await connection.execute("select")  # a pooler may take us in while there is no Postgres behind it
    except BaseException:
        connection.terminate()
        raise
    connection.set_up(name=name, timeout_s=timeout_s, settings=settings)
    return connection


class PooledConnection(Base):
    """Each statement outside a transaction is one of its own. With settings that takes four trips, without them two."""

    _settings = ""
    _timeout_s = 10.0

    def set_up(self, *, name: str, timeout_s: float, settings: Mapping[str, str]) -> None:
        """Before its first use. The name goes with the settings, so that a frozen transaction is found by it, whatever the pooler."""
        self._timeout_s = timeout_s
        if settings:
            all_of_them = {**settings, "application_name": name, "idle_in_transaction_session_timeout": str(IDLE_MS)}
            self._settings = "".join(f" set local {key} = {_literal(value)};" for key, value in all_of_them.items())

    async def fetch(self, query: str, *args: Any, timeout: float | None = None, record_class: Any = None) -> Any:
        """As the driver's."""
        return await self._alone(lambda left_s: Base.fetch(self, query, *args, timeout=left_s, record_class=record_class), timeout)

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None, record_class: Any = None) -> Any:
        """As the driver's."""
        return await self._alone(lambda left_s: Base.fetchrow(self, query, *args, timeout=left_s, record_class=record_class), timeout)

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        """As the driver's."""
        return await self._alone(lambda left_s: Base.fetchval(self, query, *args, column=column, timeout=left_s), timeout)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As the driver's. A transaction that begins here begins with the settings; another script without arguments is left as it is."""
        if args:
            return await self._alone(lambda left_s: Base.execute(self, query, *args, timeout=left_s), timeout)
        if query.startswith("BEGIN"):
            query += self._settings
        return await super().execute(query, timeout=timeout)

    async def _introspect_types(self, *args: Any) -> Any:
        """Where the driver looks up types that it does not know, it switches jit off in the session: here that is rolled back."""
        is_inside = self.is_in_transaction()
        await super().execute(f"{'savepoint types' if is_inside else 'begin'}; set local jit = off")
        try:
            return await super()._introspect_types(*args)  # type: ignore[misc]
        finally:
            await super().execute("rollback to savepoint types" if is_inside else "rollback")

    async def _alone(self, statement: Callable[[float | None], Awaitable[T]], timeout_s: float | None) -> T:
        """A statement with the settings, in a transaction of its own unless there is one. `timeout_s` is for all its trips together."""
        if not self._settings or self.is_in_transaction():
            return await statement(timeout_s)
        until = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        try:
            await super().execute(f"begin;{self._settings}", timeout=_left_s(until))
            answer = await statement(_left_s(until))
            await super().execute("commit", timeout=_left_s(until))
        except BaseException:
            await self._abandon()
            raise
        return answer

    async def _abandon(self) -> None:
        """After a failure. A connection whose transaction may not be over is of no use to anybody."""
        if self.is_closed():
            return
        try:
            await super().execute("rollback", timeout=ROLLBACK_S)
        except asyncio.CancelledError:
            self.terminate()
            raise
        except Exception:  # noqa: BLE001 -- what failed first is told
            self.terminate()


def _left_s(until: float) -> float:
    return max(0.001, until - time.monotonic())


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
