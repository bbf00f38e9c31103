"""outbox.routes: what the dispatcher does with each kind, as it told when it began. For people: nothing is routed by it."""

from collections.abc import Sequence
from dataclasses import dataclass

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.queries import load

Q = load("routes")


@dataclass(frozen=True, slots=True)
class Told:
    """One route. `destination` None: it calls nobody; `covers` None: it covers no other event; `lacks`: what keeps it from being called."""

    kind: str
    handler: str
    destination: str | None
    deadline_s: float
    retries: str
    schedule_s: tuple[float, ...]
    covers: str | None
    lacks: str | None = None


async def tell(connection: Connection, told: Sequence[Told], *, timeout_s: float = 5) -> None:
    """These are the routes now, and no others."""
    with db.mapped():
        async with connection.transaction():
            await connection.execute(Q["forget"], [one.kind for one in told], timeout=timeout_s)
            await connection.execute(
                Q["tell"],
                [one.kind for one in told],
                [one.handler for one in told],
                [one.destination for one in told],
                [one.deadline_s for one in told],
                [one.retries for one in told],
                ["{" + ",".join(map(str, one.schedule_s)) + "}" for one in told],
                [one.covers for one in told],
                [one.lacks for one in told],
                timeout=timeout_s,
            )


async def every(connection: Connection | Pool) -> dict[str, Record]:
    """All of them, by kind."""
    return {row["kind"]: row for row in await db.fetch(connection, Q["all"])}
