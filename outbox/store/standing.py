"""What the system's health is judged by, gathered from its tables. Decides nothing: that is outbox.health."""

from outbox import db, sync_facts
from outbox.db import Connection, Pool, Record
from outbox.health import Standing, Stopped, StoppedUsers
from outbox.queries import load
from outbox.store import connections, minutes
from outbox.sync_facts import Folded

Q = load("standing")
DAY_S = 86_400.0


async def look(connection: Connection | Pool, *, syncs: Folded | None = None) -> Standing:
    """How things stand now. `syncs`: what sync_facts.every() says, where the caller has it already."""
    row = await db.fetchrow(connection, Q["look"])
    assert row is not None
    if syncs is None:
        syncs = await sync_facts.every(connection)
    counts = await minutes.settled(connection, within_s=DAY_S)
    return Standing(
        success_rate=counts.success_rate,
        latency_s=counts.latency_s,
        dead=row["dead"],
        buried_last_hour=row["buried_last_hour"],
        workers=row["workers"],
        oldest_ready_s=row["oldest_ready_s"],
        stopped=await _stopped(connection),
        stopped_users=await stopped_users(connection),
        red_syncs=syncs.red,
        braked_syncs=syncs.braked,
        red_users=syncs.red_users,
    )


async def _stopped(connection: Connection | Pool) -> list[Stopped]:
    return [
        Stopped(
            row["name"],
            row["state"],
            row["why"] or row["state"],
            row["provider"] and connections.link_command(row["provider"], row["account"]),
        )
        for row in await db.fetch(connection, Q["stopped"])
    ]


async def stopped_users(connection: Connection | Pool) -> StoppedUsers:
    """Whose own destinations do not flow, in numbers."""
    row = await db.fetchrow(connection, Q["stopped_users"])
    assert row is not None
    return StoppedUsers(**dict(row))


async def died(connection: Connection | Pool, *, limit: int) -> list[Record]:
    """The latest dead letters."""
    return await db.fetch(connection, Q["died"], limit)
