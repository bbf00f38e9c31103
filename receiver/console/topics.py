"""What pages may hear of while they are open, and how it is read: one read for all who look. See docs/console.md for how a page takes part.

A value holds numbers and states, as they are shown; never a payload, a key or a reason, which a page fetches with its own rights.
"""

from collections.abc import Mapping, Sequence

from outbox import sync_facts
from outbox.db import Pool, Record
from outbox.store import events, live, workers
from receiver.console import attention, words
from receiver.console.live import Read, Value


async def _totals(pool: Pool, _: Sequence[int]) -> Mapping[str, Value]:
    """What is undone, by where it waits."""
    counts = await events.counts(pool)
    return {"totals": {name: words.count(number) for name, number in counts.items()}}


async def _needs(pool: Pool, _: Sequence[int]) -> Mapping[str, Value]:
    """What needs a person, and which dispatchers live."""
    return {"needs": {**await attention.counts(pool), "workers": [row["name"] for row in await workers.alive(pool)]}}


async def _newest(pool: Pool, _: Sequence[int]) -> Mapping[str, Value]:
    """The newest event."""
    return {"newest": {"id": (await live.newest(pool))["id"]}}


async def _minute(pool: Pool, _: Sequence[int]) -> Mapping[str, Value]:
    """The minute, for charts."""
    return {"minute": {"at": f"{(await live.newest(pool))['now']:%H:%M}"}}


async def _dead(pool: Pool, _: Sequence[int]) -> Mapping[str, Value]:
    """The dead letters, their notes and the newest plans."""
    return {"dead": _told(await live.dead(pool))}


async def _lanes(pool: Pool, _: Sequence[int]) -> Mapping[str, Value]:
    """The lanes that are held."""
    return {"lanes": _told(await live.lanes(pool))}


async def _lights(pool: Pool, _: Sequence[int]) -> Mapping[str, Value]:
    """The syncs' lights, their last ends, and how far the runs under way are."""
    names, every = ("light", "last_success", "last_failure", "paused_at"), await sync_facts.every(pool)
    lights = {one["name"]: [one[name] for name in names] for one in every.syncs}
    runs = [list(row.values()) for row in await live.under_way(pool)]
    return {"lights": {"lights": lights, "users": every.users and every.users["lights"], "runs": runs}}


async def _events(pool: Pool, ids: Sequence[int]) -> Mapping[str, Value]:
    return _by_id("event", await live.events(pool, ids))


async def _runs(pool: Pool, ids: Sequence[int]) -> Mapping[str, Value]:
    return _by_id("run", await live.runs(pool, ids))


async def _plans(pool: Pool, ids: Sequence[int]) -> Mapping[str, Value]:
    return _by_id("plan", await live.plans(pool, ids))


def _by_id(word: str, rows: list[Record]) -> dict[str, Value]:
    return {f"{word}-{row['id']}": _told(row) for row in rows}


def _told(row: Record) -> Value:
    return {name: value if isinstance(value, int | str | None) else str(value) for name, value in row.items()}


TOPICS: Mapping[str, Read] = {
    "totals": _totals,
    "needs": _needs,
    "newest": _newest,
    "minute": _minute,
    "lights": _lights,
    "dead": _dead,
    "lanes": _lanes,
    "event-": _events,
    "run-": _runs,
    "plan-": _plans,
}
