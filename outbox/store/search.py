"""Finding events: by any filter, newest first, never by reading them all.

A filter that names few events (key, lane, group, dead, pending) begins with those. Any other looks at the newest LOOK_AT of its time
and says how far that was: a limit is never silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.event import Mark, State
from outbox.queries import load

Q = load("search")
LOOK_AT = 20_000
COUNTED = 10_000
SHORT = 50_000
IDS_AT_ONCE = 5_000
SETTLED_S = 10.0
TIMEOUT_S = 3.0
ALL_IDS = 2**63 - 1
PENDING_MARKS = frozenset({str(mark) for mark in Mark} - {str(state) for state in State})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events; what is empty or None does not filter. `marks` are those of outbox.states(); `group` is of dead letters."""

    sources: Sequence[str] = ()
    kinds: Sequence[str] = ()
    lane: str | None = None
    key: str | None = None
    states: Sequence[str] = ()
    marks: Sequence[str] = ()
    group: str | None = None
    text: str | None = None  # in the payload, byte for byte
    since: datetime | None = None
    until: datetime | None = None
    attempts: int | None = None  # so many at least

    @property
    def is_by_state(self) -> bool:
        """Whether nothing but states, marks, a group and times filter."""
        return not (self.sources or self.kinds or self.lane or self.key or self.text or self.attempts)

    def has_state(self, *states: str) -> bool:
        """Whether it wants one of these states, by name or by what marks them; all, when nothing says which."""
        if not self.states and not self.marks:
            return True
        marked = {"pending" if mark in PENDING_MARKS else mark for mark in self.marks}
        wanted = set(self.states) & marked if self.states and self.marks else set(self.states) | marked
        return not wanted.isdisjoint(states)


@dataclass(frozen=True, slots=True)
class Found:
    """A page. `fitting` counts what fits before states are asked for, `counted` says whether it is the count of the whole answer."""

    rows: list[Record] = field(default_factory=list)
    fitting: int = 0
    counted: bool = True
    looked: int | None = None  # None: it looked at all there are
    back_to: int | None = None  # the lowest id looked at; upward: the highest
    next_before: int | None = None  # where the next page begins, if there is one; upward: after which id


async def find(
    connection: Connection | Pool,
    wanted: Wanted,
    *,
    before: int | None = None,
    after: int | None = None,
    upward: bool = False,
    limit: int = 50,
    known_sources: Sequence[str] = (),
) -> Found:
    """A page of events above id `after` and below `before`: the newest of them, newest first; upward: the oldest, oldest first.

    `known_sources`: where a key is looked for when no source is named.
    """
    below, lowest = await _bounds(connection, wanted, before)
    lowest = lowest if after is None else max(lowest, after + 1)
    candidates, looked_to = await _candidates(connection, wanted, below, lowest, known_sources, upward=upward)
    fitting = len(candidates) if candidates is not None and wanted.is_by_state else None
    is_cut = candidates is not None and wanted.lane is not None and len(candidates) > COUNTED
    if fitting is not None and not wanted.marks:  # each of them fits, so a page needs the first few only; some may have moved on meanwhile
        is_cut = fitting > 2 * limit + 50
        candidates = (candidates or [])[: 2 * limit + 50]
    values = (
        candidates,
        below,
        lowest,
        LOOK_AT,
        list(wanted.sources) or None,
        list(wanted.kinds) or None,
        wanted.lane,
        wanted.key,
        None if wanted.text is None else wanted.text.encode(),
        list(wanted.states) or None,
        list(wanted.marks) or None,
        limit + 1,
        upward,
    )
    at_once = _at_once(wanted, limit)
    rows = await db.fetch(connection, Q["fitting"], *values, at_once, wanted.attempts, timeout_s=TIMEOUT_S)
    if len(rows) <= limit + 1 and rows[-1]["fitting"] > at_once:  # of those asked at once too few have the states
        rows = await db.fetch(connection, Q["fitting"], *values, None, wanted.attempts, timeout_s=TIMEOUT_S)
    info = rows.pop()
    back_to = looked_to if candidates is not None else info["lowest"] if info["looked"] == LOOK_AT else None
    if is_cut and candidates and len(rows) <= limit:  # too few of the first did; the next page goes on behind them
        back_to = candidates[-1]
    return _page(rows, limit, wanted, info["fitting"] if fitting is None else fitting, candidates, back_to)


async def settled(connection: Connection | Pool, wanted: Wanted, *, most: int, known_sources: Sequence[str] = ()) -> list[int]:
    """All that fit and are done or skipped, as `wanted.states` says, newest first; more than `most` when there are more, and then not all.

    Neither marks nor a group of dead letters may be wanted.
    """
    if wanted.key is not None or wanted.lane is not None:
        return await _few(connection, wanted, most=most, known_sources=known_sources)
    found: list[int] = []
    below, lowest = await _bounds(connection, wanted, None)
    text = None if wanted.text is None else wanted.text.encode()
    values = (list(wanted.sources) or None, list(wanted.kinds) or None, text, [state[0] for state in wanted.states], wanted.attempts)
    while len(found) <= most:
        row = await db.fetchrow(connection, Q["settled"], below, lowest, LOOK_AT, *values, timeout_s=SETTLED_S)
        assert row is not None
        found += row["ids"]
        if row["looked"] < LOOK_AT:
            break
        below = row["lowest"]
    return found


async def _few(connection: Connection | Pool, wanted: Wanted, *, most: int, known_sources: Sequence[str]) -> list[int]:
    """As settled(), of a lane or a key, page by page."""
    found: list[int] = []
    before: int | None = ALL_IDS
    while before is not None and len(found) <= most:
        page = await find(connection, wanted, before=before, limit=IDS_AT_ONCE, known_sources=known_sources)
        found += [row["id"] for row in page.rows]
        before = page.next_before
    return found


def _at_once(wanted: Wanted, limit: int) -> int:
    """How many of those that may fit are looked at to fill a page: one more than it has, and some for states that not all of them have."""
    if not wanted.states and not wanted.marks and wanted.attempts is None:
        return limit + 1
    return limit + 11 if wanted.is_by_state and not wanted.marks else 2 * limit + 50


def _page(rows: list[Record], limit: int, wanted: Wanted, fitting: int, candidates: list[int] | None, back_to: int | None) -> Found:
    has_more = len(rows) > limit
    page = rows[:limit]
    exact = (
        not wanted.marks
        and wanted.attempts is None
        and (not wanted.states or (candidates is not None and wanted.lane is None and wanted.key is None))
    )
    return Found(
        rows=page,
        fitting=fitting if exact or has_more else len(page),
        counted=back_to is None and (exact or not has_more) and fitting <= COUNTED,
        looked=None if back_to is None else LOOK_AT,
        back_to=back_to,
        next_before=page[-1]["id"] if has_more else back_to,
    )


async def _bounds(connection: Connection | Pool, wanted: Wanted, before: int | None) -> tuple[int, int]:
    """(below, lowest): ids for the times and the page."""
    below = ALL_IDS if before is None else before
    if wanted.until is not None:
        below = min(below, await _first_since(connection, wanted.until))
    return below, 0 if wanted.since is None else await _first_since(connection, wanted.since)


async def _first_since(connection: Connection | Pool, moment: datetime) -> int:
    first = await db.fetchval(connection, Q["first_since"], moment)
    return 0 if first is None else int(first)


async def _candidates(
    connection: Connection | Pool, wanted: Wanted, below: int, lowest: int, known_sources: Sequence[str], *, upward: bool
) -> tuple[list[int] | None, int | None]:
    """Ids to begin with (None: the newest), and the id down to which they were looked for (None: everywhere)."""
    if wanted.key is not None and (sources := list(wanted.sources or known_sources)):
        by_key = [row["id"] for row in await db.fetch(connection, Q["with_key"], sources, wanted.key)]
        if by_key:  # a key is forgotten after its 30 days, its event perhaps later
            return by_key, None
    if wanted.group is not None:
        return await _undone(connection, wanted, below, lowest, upward=upward)
    if wanted.lane is not None:
        ids = await in_lane(connection, wanted.lane, below=below, lowest=lowest, limit=COUNTED + 1)
        return ids[::-1] if upward else ids, None
    if wanted.states or wanted.marks or wanted.attempts:
        return await _undone(connection, wanted, below, lowest, upward=upward)
    return None, None


async def in_lane(connection: Connection | Pool, lane: str, *, below: int = ALL_IDS, lowest: int = 0, limit: int = COUNTED) -> list[int]:
    """The newest ids of a lane."""
    return [row["id"] for row in await db.fetch(connection, Q["in_lane"], lane, below, lowest, limit, timeout_s=TIMEOUT_S)]


async def _undone(connection: Connection | Pool, wanted: Wanted, below: int, lowest: int, *, upward: bool) -> tuple[list[int], int | None]:
    dead = wanted.group is not None or wanted.has_state("dead")
    pending = wanted.group is None and wanted.has_state("pending")
    ends = [code for code, state in (("d", "done"), ("s", "skipped")) if wanted.group is None and wanted.has_state(state)]
    is_short = bool(pending and await db.fetchval(connection, Q["is_short"], SHORT))
    values = (below, lowest, LOOK_AT, dead, wanted.group, pending, ends or None, is_short, upward, wanted.attempts)
    row = await db.fetchrow(connection, Q["candidates"], *values, timeout_s=TIMEOUT_S)
    assert row is not None
    return row["ids"], row["lowest"]


async def id_at(connection: Connection | Pool, moment: datetime) -> int:
    """The lowest id of what was staged at this time or later; of ids to come, when nothing was."""
    return await _first_since(connection, moment)


async def newer(connection: Connection | Pool, event_id: int, *, most: int = COUNTED) -> int:
    """How many events came after this one, at most so many."""
    return int(await db.fetchval(connection, Q["newer"], event_id, most))
