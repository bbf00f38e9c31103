"""outbox.alerts: what people were last told of each thing that can be wrong."""

from dataclasses import dataclass
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool
from outbox.queries import load

Q = load("alerts")


@dataclass(frozen=True, slots=True)
class Told:
    """`state` is what people were told `since` then; it has looked like `seen` for `seen_s` seconds."""

    name: str
    state: str
    since: datetime
    seen: str
    seen_s: float
    detail: str


async def lock(connection: Connection) -> bool:
    """In the caller's transaction: whether this one may look."""
    return bool(await db.fetchval(connection, Q["lock"]))


async def every(connection: Connection | Pool) -> dict[str, Told]:
    """All that is not as it should be, or was not a moment ago, by name."""
    return {row["name"]: Told(**dict(row)) for row in await db.fetch(connection, Q["all"])}


async def see(connection: Connection, name: str, *, was: str, now: str, detail: str) -> None:
    """In the caller's transaction: it looks like `now`. `was`: what people believe, if nothing is known of it yet."""
    await db.fetch(connection, Q["see"], name, was, now, detail)


async def tell(connection: Connection, name: str) -> datetime:
    """In the caller's transaction: people are told what was seen. Returns since when."""
    since = await db.fetchval(connection, Q["tell"], name)
    assert isinstance(since, datetime)
    return since


async def forget(connection: Connection, name: str) -> None:
    """In the caller's transaction: all is well there."""
    await db.fetch(connection, Q["forget"], name)
