"""How the tables lie on disk: dead rows, sizes, vacuum and the server's settings, and the one thing done about it here.

A look at the whole; doctor and a health page tell it. What is wrong with a setting is for the person who runs the server.
"""

from dataclasses import dataclass
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool
from outbox.log import get_logger
from outbox.queries import load

Q = load("storage")
OVERSIZE_BYTES = 64 * 1024 * 1024
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Table:
    """`alive` and `dead` rows are as the statistics have them. `vacuumed_at` None: never. `is_off`: its autovacuum is switched off."""

    name: str
    alive: int
    dead: int
    heap_bytes: int
    index_bytes: int
    vacuumed_at: datetime | None
    is_off: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """`without_durability`: roles whose synchronous_commit is switched off for this database."""

    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    synchronous_commit_from: str
    autovacuum: bool
    track_counts: bool
    without_durability: list[str]


@dataclass(frozen=True, slots=True)
class Wraparound:
    """Transactions (and multixacts) since the oldest row that is not frozen, and where Postgres begins to freeze by force."""

    xids: int
    multixacts: int
    forced_at: int
    multixacts_forced_at: int
    oldest_table: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """Undone rows that name no event, in one table."""

    place: str
    events: int
    example: int


async def tables(connection: Connection | Pool) -> list[Table]:
    """Those that swing between empty and large."""
    return [Table(**row) for row in await db.fetch(connection, Q["tables"])]


async def settings(connection: Connection | Pool) -> Settings:
    """What durability and vacuum depend on."""
    row = await db.fetchrow(connection, Q["settings"])
    assert row is not None
    return Settings(**row)


async def wraparound(connection: Connection | Pool) -> Wraparound:
    """How old the oldest row is."""
    row = await db.fetchrow(connection, Q["wraparound"])
    assert row is not None
    return Wraparound(**row)


async def strangers(connection: Connection | Pool) -> list[Stranger]:
    """Undone rows that name no event. Reads all undone work."""
    return [Stranger(**row) for row in await db.fetch(connection, Q["strangers"], timeout_s=60)]


async def shrink(connection: Connection) -> list[str]:
    """Cuts off the empty end of tables that somebody's old snapshot blew up, after it is gone. Returns their names.

    Vacuum itself is told not to, because these tables swing all day; here it is told once they stand empty. It needs a lock that it only
    takes when nobody else has the table, and gives up when somebody comes. Not inside a transaction.
    """
    found = [str(row["name"]) for row in await db.fetch(connection, Q["oversized"], OVERSIZE_BYTES)]
    for name in found:
        with db.mapped():
            await connection.execute(f"vacuum (truncate on) outbox.{name}")
        log.info("an oversized table was cut", table=name)
    return found
