"""outbox.destinations: what flows, what is paused, what waits for a probe."""

from collections.abc import Iterable

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("destinations")


async def every(connection: Connection | Pool) -> list[Record]:
    """Each destination that was ever not flowing; single users' are left out."""
    return await db.fetch(connection, Q["all"])


async def some(connection: Connection | Pool, names: Iterable[str]) -> dict[str, Record]:
    """Of these, whoever's, each that was ever not flowing, by name."""
    return {row["name"]: row for row in await db.fetch(connection, Q["some"], sorted(set(names)))}


async def changed(connection: Connection | Pool, *, since: str | None) -> tuple[str, list[Record]]:
    """What has changed since the look that returned `since` (None: all that does not flow), and what to ask with next time.

    A row may come twice. A failover to a standby that had not everything may miss one: who relies on it asks for all now and then.
    """
    rows = await db.fetch(connection, Q["changed"], since)
    return str(rows[0]["seen"]), [row for row in rows if row["name"] is not None]


async def open_breaker(connection: Connection | Pool, name: str, *, why: str, probe_in_s: float, unauthorised: bool = False) -> int | None:
    """Stops the flow until a probe succeeds. Returns how many times in a row; None: a person's pause stands."""
    opened = await db.fetchval(connection, Q["open"], name, why, probe_in_s, "unauthorised" if unauthorised else "open")
    return None if opened is None else int(opened)


async def take_probe(connection: Connection | Pool, name: str, event_id: int) -> bool:
    """Whether this event may try first."""
    return await db.fetchval(connection, Q["take_probe"], name, event_id) is not None


async def give_up_probe(connection: Connection | Pool, name: str, event_id: int) -> None:
    """The probe ended without an answer of the destination: another may try at once."""
    await db.fetchval(connection, Q["give_up_probe"], name, event_id)


async def flow(connection: Connection | Pool, name: str) -> bool:
    """A probe succeeded. False when it was flowing already."""
    return await db.fetchval(connection, Q["flow"], name) is not None


async def pause(connection: Connection | Pool, name: str, *, why: str, by: str, seconds: float | None = None) -> None:
    """A person stops the flow, for `seconds` or until resumed."""
    await db.fetchval(connection, Q["pause"], name, why, by, seconds)


async def resume(connection: Connection | Pool, name: str, *, by: str) -> bool:
    """A person lets it flow. False when it did."""
    return await db.fetchval(connection, Q["resume"], name, by) is not None


async def end_pauses(connection: Connection | Pool) -> list[str]:
    """Pauses whose end has come. Returns the names."""
    return [row["name"] for row in await db.fetch(connection, Q["end_pauses"])]
