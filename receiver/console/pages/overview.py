"""The overview: is anything wrong? One sentence made from the data, what needs a person, worst first, and who is at work.

Numbers here come from what is undone, never from a scan of events, so the page costs the same with a million of them.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox import sync_facts
from outbox.db import Pool, Record
from outbox.health import judge
from outbox.store import console, dead, destinations, events, handshakes, lanes, minutes, standing, workers
from outbox.store.minutes import Counts
from receiver.console import charts, words
from receiver.console.charts import Chart
from receiver.console.page import Page, Pages, Visit
from receiver.handshakes import SOURCE

PATH = "/console/"
MOST_GROUPS = 20
DAY_S, BARS, BAR_S = 86_400.0, 96, 900


@dataclass(frozen=True, slots=True)
class Need:
    """Something that needs a person. `shape` is a state of the sprite."""

    shape: str
    said: str
    since: datetime | None
    link: str


@dataclass(frozen=True, slots=True)
class Day:
    """The last 24 hours, by the counters."""

    accepted: int
    counts: Counts
    chart: Chart


async def read(visit: Visit) -> Mapping[str, Any]:
    """All panels at once; each may fail by itself."""
    pool = visit.pool
    counts, needs, alive, ever, day, health = await asyncio.gather(
        visit.panel("the counts", events.counts(pool)),
        visit.panel("what needs you", _needs(visit)),
        visit.panel("the processes", workers.alive(pool)),
        visit.panel("whether anything came", console.any_event(pool)),
        visit.panel("the last day", _day(pool)),
        visit.panel("the health checks", standing.look(pool)),
    )
    listed = list(needs.value or [])
    if alive.value == []:
        listed.insert(0, Need("dead", "No dispatcher is at work: nothing is consumed until one is started", None, PATH))
    return {
        "counts": counts,
        "needs": needs,
        "listed": listed,
        "alive": alive,
        "day": day,
        "health": health,
        "judged": None if health.value is None else judge(health.value),
        "is_empty": ever.value is False,
        "verdict": _verdict(listed, counts.value, is_known=needs.problem is None and counts.problem is None),
        "addresses": [f"/api/webhooks/{door}" for door in sorted(visit.desk.webhooks.doors)],
    }


async def _day(pool: Pool) -> Day:
    return Day(
        await minutes.accepted(pool, within_s=DAY_S),
        await minutes.settled(pool, within_s=DAY_S),
        charts.draw(await minutes.bars(pool, count=BARS, seconds=BAR_S)),
    )


async def _needs(visit: Visit) -> list[Need]:
    groups = await dead.groups(visit.pool, limit=MOST_GROUPS)
    stopped = await destinations.every(visit.pool)
    held = await lanes.held(visit.pool)
    tokens = await handshakes.every(visit.pool, SOURCE)
    needs = [
        Need(
            "dead",
            f"{words.count(one['dead'])} dead: {one['kind']}: {one['reason']}",
            one["first_at"],
            f"/console/dead/{one['fingerprint']}",
        )
        for one in groups
    ]
    for row in stopped:
        if row["state"] != "flowing":
            waiting, _ = held.get(row["name"], (0, 0))
            needs.append(Need("paused", stands(row) + f", {words.count(waiting)} waiting", row["since"], "/console/connections"))
    for sync in await sync_facts.every(visit.pool):
        if sync["light"] in ("yellow", "red"):
            last = sync["last_success"]
            said = f"{sync['name']} is {sync['light']}" + ("" if last else ", it has never succeeded")
            since = datetime.fromisoformat(last["at"]) if last else None
            needs.append(Need(f"light-{sync['light']}", said, since, f"/console/syncs/{sync['name']}"))
    candidates = [row for row in tokens if row["promoted_at"] is None]
    if candidates:
        needs.append(
            Need("retry", "Notion offers a verification token that waits to be promoted", candidates[0]["at"], "/console/connections")
        )
    return needs


def stands(row: Record) -> str:
    """Why a destination does not flow, in words."""
    match row["state"]:
        case "paused":
            return f"{row['name']} paused by {row['by_whom']} “{row['why']}”"
        case "unauthorised":
            return f"{row['name']} does not accept our credential: {row['why']}"
        case _:
            return f"{row['name']} is held back by its breaker: {row['why']}"


def _verdict(needs: list[Need], counts: Mapping[str, Any] | None, *, is_known: bool) -> tuple[str, str]:
    """The first line: a shape and a sentence."""
    if counts is None or not is_known:
        return "retry", "Not everything could be read; what is shown below is what is known."
    waits = counts["pending"] + counts["waiting"] + counts["held"] + counts["delayed"]
    rest = f"{words.plural(counts['dead'], 'event')} dead; {words.count(waits)} wait, {words.count(counts['running'])} at work."
    if not needs:
        return "done", f"Nothing needs you. {rest}"
    return "dead", f"{words.plural(len(needs), 'thing needs you', 'things need you')}. {rest}"


SITE = Pages(pages=(Page(PATH, "overview.html", read, tab="overview"),))
