"""outbox.pending, busy and delayed: claims, settlements, waits. The engine's statements, typed.

Every settlement names lane, event, owner and attempt and counts only if that row is still there; what comes back did count.
Sent twice, the second changes nothing, so an unknown commit result is answered by sending it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.event import Claimed
from outbox.queries import load

P = load("pending")
B = load("busy")
E = load("events")
LOWEST = -(2**63)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a claim brought, and how far it looked: `last` is the cursor of the next one, `walked` counts the index entries on its way."""

    events: list[Claimed]
    last: int
    seen: int
    walked: int = 0


@dataclass(slots=True)
class End:
    """done ('d') or skipped ('s') for one claimed event, with the followers it covered. `started` in seconds of the database's epoch."""

    event: Claimed
    started: float
    took_ms: int
    outcome: str
    note: str | None = None
    followers: tuple[int, ...] = ()


@dataclass(slots=True)
class Wait:
    """The lane stays blocked: `delay_s` seconds, or until its destination flows (None). `charge` counts as a failure."""

    event: Claimed
    started: float
    took_ms: int
    outcome: str | None
    why: str
    delay_s: float | None
    charge: int
    next_attempt: int


@dataclass(slots=True)
class Burial:
    """The event becomes a dead letter and its lane is free."""

    event: Claimed
    started: float
    took_ms: int
    fingerprint: str
    reason: str


class Held(NamedTuple):
    """What waits for one destination: how many, the oldest's id, whether bulk work is among them."""

    waiting: int
    oldest: int | None
    bulk: bool


NONE_HELD = Held(0, None, False)


async def claim(connection: Connection, *, worker: int, limit: int, cursor: int, urgency: int, timeout_s: float = 5) -> Looked:
    """Heads of up to `limit` free lanes after `cursor`, taken for `worker`."""
    rows = await db.fetch(connection, P["claim"], worker, limit, cursor, urgency, timeout_s=timeout_s)
    info = rows.pop()
    events = await whole(connection, rows, timeout_s=timeout_s)
    return Looked(events, info[1] if info[1] is not None else LOWEST, info[3], info[0])


async def whole(connection: Connection, rows: Sequence[Record | tuple[Any, ...]], *, timeout_s: float) -> list[Claimed]:
    """Claimed rows as events; what those of older days say is asked for. If that fails they are strays, as of a claim without an answer."""
    older = [row[0] for row in rows if row[-1] is None]
    if not older:
        return [Claimed._make(row) for row in rows]
    said = {row[0]: row[1:] for row in await db.fetch(connection, E["said"], older, timeout_s=timeout_s)}
    return [Claimed._make((*row[:6], *said[row[0]])) if row[-1] is None else Claimed._make(row) for row in rows]


async def take_due(connection: Connection, *, worker: int, limit: int, suspects: bool, timeout_s: float = 5) -> list[Claimed]:
    """Waiting events whose time has come, taken for `worker`; with `suspects`, at most one that killed its process twice."""
    return [Claimed._make(row) for row in await db.fetch(connection, B["take_due"], worker, limit, suspects, timeout_s=timeout_s)]


async def take_one(connection: Connection, lane: str, *, worker: int, timeout_s: float = 5) -> Claimed | None:
    """The head of one lane, taken for `worker` if it is free or its wait is over."""
    row = await db.fetchrow(connection, P["take_one"], lane, worker, timeout_s=timeout_s)
    return None if row is None else Claimed._make(row)


async def followers(
    connection: Connection, heads: Sequence[Claimed], *, limit: int = 200, timeout_s: float = 5
) -> dict[int, list[tuple[int, str]]]:
    """What waits behind each head, in order, as (id, kind), by the head's lane."""
    rows = await db.fetch(connection, P["followers"], [h.lane_key for h in heads], [h.urgency for h in heads], limit, timeout_s=timeout_s)
    found: dict[int, list[tuple[int, str]]] = {}
    for lane, event_id, kind in rows:
        found.setdefault(lane, []).append((event_id, kind))
    return found


async def promote_delayed(connection: Connection, *, limit: int = 500, timeout_s: float = 5) -> int:
    """Delayed events that are due join their lanes. Returns how many."""
    return len(await db.fetch(connection, P["promote_delayed"], limit, timeout_s=timeout_s))


async def next_due(connection: Connection, *, bulk: bool = True, timeout_s: float = 5) -> tuple[bool, float | None]:
    """Whether a bulk event is pending (False unless asked), and in how many seconds the next waiting event is due (None: none)."""
    row = await db.fetchrow(connection, P["next_due"], bulk, timeout_s=timeout_s)
    assert row is not None
    waits = [wait for wait in (row["retry_s"], row["delayed_s"]) if wait is not None]
    return row["bulk"], min(waits) if waits else None


def _ends(ends: Sequence[End], worker: int) -> tuple[object, ...]:
    """The parameters of finish. Arrays that say nothing stay empty: each element costs the driver about a microsecond."""
    plain = all(e.outcome == "d" and e.note is None for e in ends)
    return (
        [e.event.lane_key for e in ends],
        [e.event.id for e in ends],
        [e.started for e in ends],
        [e.took_ms for e in ends],
        worker,
        [e.event.attempt for e in ends],
        [] if plain else [e.outcome for e in ends],
        [] if plain else [e.note for e in ends],
    )


async def finish(connection: Connection, ends: Sequence[End], *, worker: int, timeout_s: float = 5) -> set[int]:
    """done or skipped. Returns the ids that counted."""
    if any(end.followers for end in ends):
        followers = ["{" + ",".join(map(str, end.followers)) + "}" if end.followers else None for end in ends]
        counted = await db.fetchval(connection, B["finish_with_followers"], *_ends(ends, worker), followers, timeout_s=timeout_s)
    else:
        counted = await db.fetchval(connection, B["finish"], *_ends(ends, worker), timeout_s=timeout_s)
    return set(counted or ())


async def finish_and_take(
    connection: Connection, ends: Sequence[End], *, take: Sequence[bool], worker: int, timeout_s: float = 5
) -> tuple[set[int], list[tuple[int, Claimed]]]:
    """As finish, and where `take` says so the worker keeps the lane for its next event: (the id before it, the event)."""
    flags = [] if all(take) else list(take)
    rows = await db.fetch(connection, B["finish_and_take"], *_ends(ends, worker), flags, timeout_s=timeout_s)
    took = [row for row in rows if row[1] is not None]
    taken = await whole(connection, [tuple(row)[1:] for row in took], timeout_s=timeout_s)
    return {row[0] for row in rows}, [(row[0], event) for row, event in zip(took, taken, strict=True)]


async def wait(connection: Connection, waits: Sequence[Wait], *, worker: int, timeout_s: float = 5) -> set[int]:
    """Retry, snooze or hold. Returns the ids that counted."""
    counted = await db.fetchval(
        connection,
        B["wait"],
        [w.event.lane_key for w in waits],
        [w.event.id for w in waits],
        [w.started for w in waits],
        [w.took_ms for w in waits],
        worker,
        [w.event.attempt for w in waits],
        [w.outcome for w in waits],
        [w.why for w in waits],
        [w.delay_s for w in waits],
        [w.charge for w in waits],
        [w.next_attempt for w in waits],
        timeout_s=timeout_s,
    )
    return set(counted or ())


async def bury(connection: Connection, burials: Sequence[Burial], *, worker: int, timeout_s: float = 5) -> set[int]:
    """Dead letters. Returns the ids that counted."""
    counted = await db.fetchval(
        connection,
        B["bury"],
        [b.event.lane_key for b in burials],
        [b.event.id for b in burials],
        [b.started for b in burials],
        [b.took_ms for b in burials],
        worker,
        [b.event.attempt for b in burials],
        [b.fingerprint for b in burials],
        [b.reason for b in burials],
        timeout_s=timeout_s,
    )
    return set(counted or ())


async def hand_back(connection: Connection, *, worker: int, timeout_s: float = 5) -> int:
    """What a stopping worker still holds becomes due at once, attempt as before. Returns how many."""
    return len(await db.fetch(connection, B["hand_back"], worker, timeout_s=timeout_s))


async def strays(connection: Connection, *, worker: int, known: Sequence[int], timeout_s: float = 5) -> list[tuple[int, int]]:
    """(id, attempt) of what runs at `worker` by its rows and is not `known` to it."""
    return [(row[0], row[1]) for row in await db.fetch(connection, B["strays"], worker, list(known), timeout_s=timeout_s)]


async def hand_back_strays(connection: Connection, lost: Sequence[tuple[int, int]], *, worker: int, timeout_s: float = 5) -> list[int]:
    """These become due at once, attempt as before. Returns the ids that counted."""
    ids, attempts = [event_id for event_id, _ in lost], [attempt for _, attempt in lost]
    return [row[0] for row in await db.fetch(connection, B["hand_back_strays"], worker, ids, attempts, timeout_s=timeout_s)]


async def holds(connection: Connection, event: Claimed, *, worker: int) -> bool:
    """Whether `worker` still holds this attempt; locks the row until the caller's transaction ends."""
    return await db.fetchval(connection, B["hold_lock"], event.lane_key, event.id, worker, event.attempt) is not None


async def progressed(connection: Connection, event: Claimed, *, worker: int) -> bool:
    """As holds(), and what failed before counts no more: neither for the retry policy nor as a killer of its process."""
    return await db.fetchval(connection, B["progress"], event.lane_key, event.id, worker, event.attempt) is not None


async def release_held(connection: Connection | Pool, destination: str, *, limit: int, urgency: int | None = None) -> int:
    """The oldest that wait for a destination become due, live ones first, or of one urgency only. Returns how many."""
    least, most = (0, 1) if urgency is None else (urgency, urgency)
    return len(await db.fetch(connection, B["release_held"], held_for(destination), limit, least, most))


async def release_probe(connection: Connection | Pool, destination: str, *, after: int) -> int:
    """The next that waits for a destination behind event `after`, or the first, becomes due. Returns how many."""
    return len(await db.fetch(connection, B["release_probe"], held_for(destination), after))


async def held(connection: Connection | Pool) -> dict[str, Held]:
    """What waits for each destination; one that nothing waits for is left out."""
    found = await db.fetch(connection, B["held"])
    return {row["why"].removeprefix(HELD): Held(row["waiting"], row["oldest"], row["bulk"]) for row in found}


async def blocked(
    connection: Connection | Pool,
    *,
    above: int = 0,
    limit: int = 50,
    waiting_only: bool = True,
    before: int | None = None,
    for_destination: bool | None = None,
) -> list[Record]:
    """Named lanes that are not free, the oldest head first, with what holds them and how many wait behind (1001: more than that).

    `before`: only those whose heads were accepted before this id; `for_destination`: only those that wait for theirs, or that do not.
    """
    return await db.fetch(connection, B["blocked"], above, limit, waiting_only, before, for_destination)


async def held_long(connection: Connection | Pool, *, before: int) -> int:
    """Lanes that need a person: held by something else than a destination, their heads accepted before id `before`."""
    return int(await db.fetchval(connection, B["held_long"], before))


HELD = "held for "


def held_for(destination: str) -> str:
    """The `why` of an event that waits for a destination."""
    return HELD + destination


async def wake(connection: Connection, names: Sequence[str], *, why: str) -> list[int]:
    """In the caller's transaction: what waits in the lanes of these names for a reason that begins so becomes due. Returns the ids."""
    return [row[0] for row in await db.fetch(connection, B["wake"], list(names), why)] if names else []


async def bury_poison(connection: Connection) -> list[int]:
    """Buries what was at work at its process's third death. Returns the ids."""
    return [row[0] for row in await db.fetch(connection, B["bury_poison"])]


async def release_orphans(connection: Connection) -> list[int]:
    """Frees what dead workers held, one crash more. Returns the ids."""
    return [row[0] for row in await db.fetch(connection, B["release_orphans"])]


async def orphan_owners(connection: Connection) -> list[int]:
    """Dead workers that still own rows, because their frozen client holds locks."""
    return [row[0] for row in await db.fetch(connection, B["orphan_owners"])]
