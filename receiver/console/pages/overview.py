"""The overview: is anything wrong? One sentence made from the data, what needs a person, worst first, and who is at work.

Numbers here come from what is undone, never from a scan of events, so the page costs the same with a million of them.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from outbox import sync_facts
from outbox.db import Pool, Record
from outbox.health import judge
from outbox.store import budgets, calls, console, dead, destinations, events, handshakes, lanes, minutes, search, sources, standing, workers
from outbox.store.minutes import Counts
from outbox.sync_facts import Folded
from receiver.console import charts, words
from receiver.console.charts import Chart
from receiver.console.page import Page, Pages, Visit
from receiver.console.pages.connections import SHAPES, doors_of
from receiver.console.pages.events import VIEWS
from receiver.console.pages.syncs import LIGHTS, WORST
from receiver.console.verdict import verdict
from receiver.handshakes import SOURCE

PATH, CONNECTIONS = "/console/", "/console/connections"
SHOWN_GROUPS = 5  # of dead letters; the rest is one line, so that they hide nothing else
MOST_CALLED = 10
DAY_S, BARS, BAR_S = 86_400.0, 96, 900
HOUR_BARS, HOUR_BAR_S = 60, 60
SPIKE_LEAST, SPIKE_TIMES = 20, 3
LONG_HELD = "/console/lanes?why=retry&why=snoozed&over=15"  # the lanes that outbox.store.console.attention() counts
RANKS = {"dead": 0, "light-red": 0, "held": 1, "paused": 2, "light-yellow": 3, "retry": 3}
TILES = (
    *((said, path, count) for said, path, count in VIEWS if count not in (None, "dead")),
    ("Lanes held", "/console/lanes", "lanes"),
    ("Dead", "/console/dead", "dead"),
)


@dataclass(frozen=True, slots=True)
class Need:
    """Something that needs a person, or several (`stands_for`). `shape` is of the sprite; `at` what `then` says of it: first, last seen."""

    shape: str
    said: str
    link: str
    at: datetime | None = None
    then: str = ""
    stands_for: int = 1


@dataclass(frozen=True, slots=True)
class Day:
    """The last 24 hours, by the counters, and the 24 before them."""

    accepted: int
    undone: tuple[int, int]
    counts: Counts
    chart: Chart
    latency: Chart
    hour: Chart
    accepted_before: int
    before: Counts

    @property
    def pending(self) -> int:
        """Of those accepted."""
        return self.undone[0]

    @property
    def dead(self) -> int:
        """Of those accepted."""
        return self.undone[1]

    @property
    def skipped(self) -> int:
        """Of those accepted, as far as the counters know: an event that was skipped today may have been accepted the day before."""
        return max(0, min(self.counts.skipped, self.accepted - self.pending - self.dead))

    @property
    def done(self) -> int:
        """The rest of those accepted, so that the numbers add up."""
        return max(0, self.accepted - self.pending - self.dead - self.skipped)

    @property
    def changes(self) -> Mapping[str, str]:
        """What there is of yesterday to compare with: the same hours of it."""
        return {
            "accepted": words.change(self.accepted, self.accepted_before),
            "done": words.change(self.done, self.before.done),
            "skipped": words.change(self.skipped, self.before.skipped),
        }


async def read(visit: Visit) -> Mapping[str, Any]:
    """All panels at once; each may fail by itself."""
    pool = visit.pool
    syncs, last, spent, called, oldest, doors = await asyncio.gather(
        visit.panel("the syncs", sync_facts.every(pool)),
        visit.panel("who was there last", workers.last(pool)),
        visit.panel("the rate budgets", budgets.every(pool)),
        visit.panel("the calls", calls.day(pool, limit=MOST_CALLED)),
        visit.panel("what waits longest", console.oldest(pool)),
        visit.panel("the sources", doors_of(visit)),
    )
    counts, needs, alive, ever, day, health = await asyncio.gather(
        visit.panel("the counts", events.counts(pool)),
        visit.panel("what needs you", _needs(visit, syncs.value)),
        visit.panel("the processes", workers.alive(pool)),
        visit.panel("whether anything came", console.any_event(pool)),
        visit.panel("the last day", _day(pool, since=visit.now - timedelta(seconds=DAY_S))),
        visit.panel("the health checks", standing.look(pool, syncs=syncs.value)),
    )
    listed = list(needs.value or [])
    known = counts.value if needs.problem is None else None
    if alive.value == []:
        gone, seen = (None, "") if last.value is None else (last.value["until"], f"{last.value['name']} was last seen")
        listed.insert(0, Need("dead", "No dispatcher is at work: nothing is consumed until one is started", PATH, gone, seen))
    return {
        "counts": counts,
        "tiles": TILES,
        "problems": needs,
        "oldest": oldest,
        "listed": listed,
        "alive": alive,
        "day": day,
        "health": health,
        "called": called,
        "judged": None if health.value is None else judge(health.value),
        "spent": spent,
        "syncs": sorted(syncs.value.syncs, key=lambda one: WORST.index(one["light"])) if syncs.value else [],
        "lights": LIGHTS,
        "doors": doors,
        "users": syncs.value and syncs.value.users,
        "is_empty": ever.value is False,
        "verdict": verdict(sum(need.stands_for for need in listed), known, oldest.value, now=visit.now),
        "addresses": {door: visit.address(door) for door in sorted(visit.desk.webhooks.doors)},
    }


async def _day(pool: Pool, *, since: datetime) -> Day:
    accepted_before, before = await minutes.before(pool, within_s=DAY_S)
    bars = await minutes.bars(pool, count=BARS, seconds=BAR_S)
    return Day(
        await minutes.accepted(pool, within_s=DAY_S),
        await console.undone(pool, first_id=await search.id_at(pool, since)),
        await minutes.settled(pool, within_s=DAY_S),
        charts.draw(bars),
        charts.latencies(bars),
        charts.draw(await minutes.bars(pool, count=HOUR_BARS, seconds=HOUR_BAR_S)),
        accepted_before,
        before,
    )


async def _needs(visit: Visit, syncs: Folded | None) -> list[Need]:
    """Worst first: what stops others before what died, then what waits for a person, then what may still mend itself."""
    held = await lanes.held(visit.pool)
    tokens = await handshakes.every(visit.pool, SOURCE)
    blocked = await visit.attention.now(visit.pool)
    needs: list[Need] = []
    for row in await destinations.every(visit.pool):
        if row["state"] != "flowing":
            waiting = held.get(row["name"], lanes.NONE_HELD).waiting
            link = f"{CONNECTIONS}#way-{quote(row['name'], safe='')}"
            needs.append(Need(SHAPES[row["state"]], stands(row) + f", {words.count(waiting)} waiting", link, row["since"], "since"))
    if (users := await standing.stopped_users(visit.pool)).said:
        shape = "dead" if users.state == "unauthorised" else "paused"
        needs.append(Need(shape, f"google: {users.said}", "/console/google?light=grey", users.since, "since"))
    needs += [
        Need("dead", said, f"/console/rejected?source={quote(source, safe='')}")
        for source, said in spikes([dict(row) for row in await sources.day(visit.pool)])
    ]
    if syncs is not None:
        needs += [_late(sync) for sync in syncs.syncs if sync["light"] in ("yellow", "red")]
        needs += [Need("held", f"the brake of {name} asks you: {why}", f"/console/syncs/{name}") for name, why in syncs.braked]
        needs += _late_users(syncs.users)
    needs += await _dead(visit.pool, groups=blocked.get("dead", 0))
    if waiting := blocked.get("lanes", 0):
        said = f"{words.plural(waiting, 'lane has', 'lanes have')} waited for over 15 minutes, though what it goes to flows"
        needs.append(Need("held", said, LONG_HELD))
    candidates = [row for row in tokens if row["promoted_at"] is None]
    if candidates:
        said = "Notion offers a verification token that waits to be promoted"
        needs.append(Need("retry", said, f"{CONNECTIONS}#notion", candidates[0]["at"], "offered"))
    return sorted(needs, key=lambda need: RANKS[need.shape])


async def _dead(pool: Pool, *, groups: int) -> list[Need]:
    """Those of which something died last, and the others in a line."""
    shown = [
        Need(
            "dead",
            f"{words.count(one['dead'])} dead: {one['kind']}{' → ' + one['destination'] if one['destination'] else ''}: {one['reason']}",
            f"/console/dead/{one['fingerprint']}",
            one["first_at"],
            "first",
        )
        for one in await dead.groups(pool, limit=SHOWN_GROUPS)
    ]
    if (rest := groups - len(shown)) > 0:
        shown.append(Need("dead", f"{words.plural(rest, 'further cause')} of dead letters", "/console/dead", stands_for=rest))
    return shown


def _late(sync: Mapping[str, Any]) -> Need:
    last = sync["last_success"]
    said = f"{sync['name']} is {sync['light']}" + ("" if last else ", it has never succeeded")
    at = datetime.fromisoformat(last["at"]) if last else None
    return Need(f"light-{sync['light']}", said, f"/console/syncs/{sync['name']}", at, "last success")


def _late_users(users: Mapping[str, Any] | None) -> Iterator[Need]:
    """A line for each light, however many users show it."""
    for colour in ("red", "yellow"):
        if users is not None and (late := users["lights"][colour]):
            said = f"{words.plural(late, 'user’s sync is', 'users’ syncs are')} {colour}, of {words.count(users['count'])}"
            yield Need(f"light-{colour}", said, f"/console/google?light={colour}")


def spikes(day: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Sources of which far more was rejected in the last hour than in the usual one, with the words for it. Pure."""
    for source in dict.fromkeys(row["source"] for row in day):
        turned = [row for row in day if row["source"] == source and row["outcome"] not in ("accepted", "duplicate")]
        now = sum(row["last_hour"] for row in turned)
        usual = (sum(row["seen"] for row in turned) - now) / 23
        if now >= SPIKE_LEAST and now > SPIKE_TIMES * usual:
            reason = max(turned, key=lambda row: int(row["last_hour"]))["outcome"].replace("_", " ")
            yield source, f"{source}: {words.count(now)} webhooks rejected in the last hour, mostly {reason}; usual are {usual:.0f}"


def stands(row: Record) -> str:
    """Why a destination does not flow, in words."""
    match row["state"]:
        case "paused":
            return f"{row['name']} paused by {row['by_whom']} “{row['why']}”"
        case "unauthorised":
            return f"{row['name']} does not accept our credential: {row['why']}"
        case _:
            return f"{row['name']} is held back by its breaker: {row['why']}"


SITE = Pages(pages=(Page(PATH, "overview.html", read, tab="overview"),))
