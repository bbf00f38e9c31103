"""What the server counted for one database: WAL, transactions and transaction ids, read when the dispatchers have left it.

The WAL is the whole server's: exact only while nothing else happens there. Used by the benchmarks and by tests/gates.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from outbox import db
from outbox.db import Connection

PATIENCE_S: Final = 30
OURS: Final = """select count(*)::int from pg_stat_activity
                 where datname = current_database() and application_name like 'postroom:%' and pid <> pg_backend_pid()"""
COUNTED: Final = """select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint wal, xact_commit + xact_rollback transactions,
                           pg_snapshot_xmax(pg_current_snapshot())::text::bigint ids
                    from pg_stat_database where datname = current_database()"""


@dataclass(frozen=True, slots=True)
class Counted:
    """Since the server was made; `writes` are transactions that changed something."""

    wal_bytes: int
    transactions: int
    writes: int

    def __sub__(self, before: "Counted") -> "Counted":
        return Counted(self.wal_bytes - before.wal_bytes, self.transactions - before.transactions, self.writes - before.writes)


class Counter:
    """Reads the counts through a connection of its own, and leaves out what it asked itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked = 0

    async def ask(self, query: str, *values: object) -> Any:
        """One value, by a transaction that is not counted."""
        self._asked += 1
        return await db.fetchval(self._connection, query, *values)

    async def read(self) -> Counted:
        """Waits until no connection of ours is left: a session reports its last transactions when it ends."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.ask(OURS):  # the database has no event to wait for
                await asyncio.sleep(0.02)
        await self.ask("select pg_stat_force_next_flush()")
        asked = self._asked
        row = await db.fetchrow(self._connection, COUNTED)
        self._asked += 1
        assert row is not None
        return Counted(row["wal"], row["transactions"] - asked, row["ids"])
