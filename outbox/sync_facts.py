"""What a sync and its runs look like from outside, said once for the API, the command line and the console: plain values, times as text.

Reads only. The light and the next times are worked out here from rows, by outbox.light and outbox.cadence. Syncs that there is one of for
each user are told as one, whatever their number, and one by one only to whom asks for them.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

from outbox import cadence
from outbox.cadence import Cadence, InvalidCadence
from outbox.db import Connection, Pool, Record
from outbox.light import RED_AFTER, YELLOW_AFTER, Light, Standing, standing
from outbox.store import google_users, runs, schedules, syncs
from outbox.store.phorest import Kind
from outbox.store.runs import RunState
from outbox.timeline import iso

NEXT: Final = 5
RECENT: Final = 20
EXAMPLES: Final = 3
STALE: Final = timedelta(minutes=2)  # of a run without a page for so long nobody knows how fast it is
CONSENT_LOST: Final = "the user's consent has ended: they have to give it again"
PLAIN: Final = (
    *("id", "sync", "type", "trigger", "state", "reason", "dry_run", "hours_back", "calls", "quota_left", "quota"),
    *("phase", "progress", "expected", "pages", "worked_ms", "cancel_by"),
)
COUNTS: Final = ("total", "created", "updated", "unchanged", "skipped", "deleted", "errors")
WORST: Final = (Light.RED, Light.YELLOW, Light.GREEN, Light.GREY)
TIMES: Final = ("since", "until", "asked_at", "started_at", "ended_at", "held_until")
LANES: Final = {  # of syncs whose records are all of one kind
    "ghl-contacts": "ghl:contact:",
    "notion-clients": "notion:page:",
    "appointments": "appointment:",
    "phorest-clients": Kind.CLIENT.lane(""),
    "phorest-appointments": Kind.APPOINTMENT.lane(""),
    "phorest-loyalty": Kind.LOYALTY.lane(""),
    "phorest-staff": Kind.STAFF.lane(""),
    "phorest-products": Kind.PRODUCT.lane(""),
}


@dataclass(frozen=True, slots=True)
class Folded:
    """All syncs, those of single users as one; `users` None: there are none."""

    syncs: Sequence[Mapping[str, Any]]
    users: Mapping[str, Any] | None

    @property
    def red(self) -> list[str]:
        """Names of those that are red."""
        return [one["name"] for one in self.syncs if one["light"] == Light.RED]

    @property
    def braked(self) -> list[tuple[str, str]]:
        """Names of those whose brake asks a person, and what it asks."""
        return [(one["name"], one["braked"]["reason"] or "") for one in self.syncs if one["braked"]]

    @property
    def red_users(self) -> int:
        """How many single users' syncs are red."""
        return 0 if self.users is None else int(self.users["lights"][Light.RED])


async def every(pool: Connection | Pool) -> Folded:
    """All syncs."""
    return Folded(await _told(pool, await syncs.every(pool)), await users(pool))


async def users(pool: Connection | Pool) -> dict[str, Any] | None:
    """How single users' syncs stand: how many there are, with which light, how many users have to consent. None: there are none."""
    row = await syncs.users(pool)
    if row["users"] == 0:
        return None
    lights = Counter({colour.value: row[colour.value] for colour in Light})
    lights.update(one["light"] for one in await _told(pool, await syncs.some(pool, row["by_cron"] or [])))
    return {
        "name": google_users.SYNC,
        "count": row["users"],
        "light": next((colour.value for colour in WORST if lights[colour.value]), Light.GREY.value),
        "lights": dict(lights),
        "need_consent": row["need_consent"],
        "under_way": row["under_way"],
        "last_success_at": iso(row["succeeded_at"]),
        "next_at": iso(row["due_at"]),
    }


async def late(pool: Connection | Pool) -> Counter[Light]:
    """How many syncs need a person, those of each user counted: red; yellow, or green with a brake that asks."""
    found = await syncs.every(pool)
    of, told = await _schedules(pool, found), Counter[Light]()
    for row in found:
        colour = _colour(row, _stands(row, _expected(row, of.get(row["name"], []))))
        told[Light.YELLOW if colour is Light.GREEN and row["brake_id"] is not None else colour] += 1
    grouped = await users(pool)
    told.update({Light(colour): number for colour, number in grouped["lights"].items()} if grouped else {})
    return told


async def page(pool: Connection | Pool, *, after: str, limit: int, users: bool, owner: str | None) -> list[dict[str, Any]]:
    """The next of them behind the name `after`; `users`: also those that there is one of for each user; `owner`: only this account's."""
    return await _told(pool, await syncs.page(pool, after=after, limit=limit, users=users, owner=owner))


async def page_of_users(
    pool: Connection | Pool, *, after: str, limit: int, light: Light | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """The next of single users' behind the name `after`, only those that show `light`; and where to go on (None: those were all)."""
    names = await syncs.page_of_users(pool, after=after, limit=limit, light=None if light is None else light.value)
    found = await _told(pool, await syncs.some(pool, names))
    return [one for one in found if light in (None, one["light"])], names[-1] if len(names) == limit else None


async def _told(pool: Connection | Pool, found: list[Record]) -> list[dict[str, Any]]:
    of = await _schedules(pool, found)
    undone = [row["current_id"] for row in found if row["current_id"] is not None]
    current = {row["id"]: run(row) for row in await runs.some(pool, undone)}
    return [_sync(row, of.get(row["name"], []), current.get(row["current_id"])) for row in found]


async def _schedules(pool: Connection | Pool, found: list[Record]) -> dict[str, list[Record]]:
    """By the sync's name."""
    of: dict[str, list[Record]] = {}
    for row in await schedules.of(pool, *(row["name"] for row in found)):
        of.setdefault(row["sync"], []).append(row)
    return of


async def one(pool: Connection | Pool, name: str) -> dict[str, Any] | None:
    """One of them, with what its last run did to which record; None: there is no such sync."""
    row = await syncs.standing(pool, name)
    if row is None:
        return None
    current = None if row["current_id"] is None else await runs.one(pool, row["current_id"])
    last = row["current_id"] or row["ok_id"]
    records = [] if last is None else await runs.records(pool, last, limit=RECENT)
    return {
        **_sync(row, await schedules.of(pool, name), None if current is None else run(current)),
        "usual": {found["type"]: _usual(found) for found in await runs.usual(pool, name, row["types"])},
        "recent": [record(name, entry) for entry in records],
    }


async def usual(pool: Connection | Pool, name: str, type_: str) -> dict[str, Any] | None:
    """What a run of this type costs: what the last one took that ended well and left nothing out. None: there was none yet."""
    return next((_usual(found) for found in await runs.usual(pool, name, [type_])), None)


def _usual(row: Record) -> dict[str, Any]:
    return {"run": row["id"], "at": iso(row["ended_at"]), **{name: row[name] for name in ("total", "calls", "quota", "worked_ms")}}


def run(row: Record) -> dict[str, Any]:
    """A run; `why` is what its event waits for, where it is undone."""
    return {
        **{name: row[name] for name in PLAIN},
        "by": row["by_whom"],
        "why": row["why"],
        "counts": {name: row[name] for name in COUNTS},
        "errors_by": json.loads(row["errors_by"]),
        "pages_expected": _pages(row),
        **_pace(row),
        "missed": missed(row),
        **{name: iso(row[name]) for name in TIMES},
    }


def _pace(row: Record) -> dict[str, Any]:
    """Records a second, and how many seconds are left of this phase; None: nobody knows, or it is not at work."""
    done, expected, per_s = row["progress"], row["expected"], row["pace"]
    if row["state"] != RunState.RUNNING or not per_s or row["now"] - row["moved_at"] > STALE:
        return {"rate": None, "left_s": None}
    is_known = expected is not None and expected >= done
    left_s = (expected - done) / per_s - (row["now"] - row["moved_at"]).total_seconds() if is_known else None
    return {"rate": round(per_s, 2), "left_s": None if left_s is None else max(0, ceil(left_s))}


def _pages(row: Record) -> int | None:
    """About how many pages a run at work will have, when its pages so far are all of the phase that it is in; None: nobody knows."""
    done, expected, pages = row["progress"], row["expected"], int(row["pages"])
    if row["ended_at"] is not None or not (done and expected and pages) or row["total"] > done or expected < done:
        return None
    return ceil(pages * int(expected) / int(done))


async def errors(pool: Connection | Pool, row: Record) -> list[dict[str, Any]]:
    """The errors of a run by category, the most first, each with a few examples of its log, which is bounded."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in await runs.examples(pool, row["id"], each=EXAMPLES):
        found.setdefault(entry["category"], []).append(record(row["sync"], entry))
    counted = sorted(json.loads(row["errors_by"]).items(), key=lambda one: (-one[1], one[0]))
    return [{"category": category, "count": number, "examples": found.get(category, [])} for category, number in counted]


def missed(row: Record) -> dict[str, dict[str, Any]]:
    """Of what changed over there, how much nobody had announced; `share` None: nothing changed."""
    told: dict[str, dict[str, int]] = json.loads(row["missed"])
    return {
        what: {**one, "share": round(one["missed"] / one["changed"], 4) if one["changed"] else None} for what, one in sorted(told.items())
    }


def record(sync: str, row: Record) -> dict[str, Any]:
    """What became of one record; `lane`: where the events about it take their turn, if that is known of records of this sync."""
    lane = LANES.get(sync.partition(":")[0])
    told = {name: row[name] for name in ("record", "what", "category", "note")}
    return {**told, "lane": lane + row["record"] if lane and row["record"] else None, "at": iso(row["at"])}


def _sync(row: Record, entries: list[Record], current: Mapping[str, Any] | None) -> dict[str, Any]:
    listed = [_schedule(entry) for entry in entries]
    expected = _expected(row, entries)
    stands = _stands(row, expected)
    due = [] if not expected else sorted(entry["next"][0]["utc"] for entry in listed if entry["on"] and entry["next"])
    return {
        "name": row["name"],
        "destination": row["destination"],
        "types": list(row["types"]),
        "off": _off(row),
        "light": _colour(row, stands).value,
        "light_rule": None if stands is None else _rule_of(stands),
        "watermark": iso(row["watermark"]),
        "overlap_s": row["overlap_s"],
        "looks_since": None if row["watermark"] is None else iso(row["watermark"] - timedelta(seconds=row["overlap_s"] or 0)),
        "paused_at": iso(row["paused_at"]),
        "paused_by": row["paused_by"],
        "paused_why": row["paused_why"],
        "may_delete": row["may_delete"],
        "last_success": None if row["ok_id"] is None else {"run": row["ok_id"], "at": iso(row["ok_at"])},
        "last_failure": _end(row, "bad"),
        "braked": _end(row, "brake"),
        "next_at": due[0] if due else None,
        "schedules": listed,
        "current": current,
    }


def _off(row: Record) -> str | None:
    """Why it cannot run."""
    return row["off"] or (CONSENT_LOST if row["consent_lost"] else None)


def _expected(row: Record, entries: Sequence[Record]) -> list[Cadence]:
    """The rules by which it is due."""
    if _off(row) or row["paused_at"]:
        return []
    return [rule for entry in entries if entry["is_on"] and (rule := _rule(entry)) is not None]


def _stands(row: Record, expected: Sequence[Cadence]) -> Standing | None:
    return standing(expected, last_success_at=row["ok_at"], expected_since=row["expected_since"], now=row["now"])


def _colour(row: Record, stands: Standing | None) -> Light:
    if row["paused_by"] == syncs.BY_ITSELF and _off(row) is None:
        return Light.RED  # nobody wanted that, and it does not go on without a person
    return Light.GREY if stands is None else stands.light


def _rule_of(stands: Standing) -> dict[str, Any]:
    """By what a light shows its colour."""
    return {
        "green_under_s": round(stands.interval_s * YELLOW_AFTER),
        "yellow_to_s": round(stands.interval_s * RED_AFTER),
        "ages_from": iso(stands.since),
        "missed": stands.missed,
    }


def _end(row: Record, which: str) -> dict[str, Any] | None:
    """How a run ended that did not end well."""
    if row[f"{which}_id"] is None:
        return None
    return {"run": row[f"{which}_id"], "at": iso(row[f"{which}_at"]), **{name: row[f"{which}_{name}"] for name in ("state", "reason")}}


def _rule(entry: Record) -> Cadence | None:
    try:
        return cadence.read(entry["cron"], entry["zone"], entry["every_s"])
    except InvalidCadence:
        return None  # a zone that this machine's list does not know


def _schedule(entry: Record) -> dict[str, Any]:
    rule = _rule(entry)
    ticks = [] if rule is None or not entry["is_on"] else cadence.upcoming(rule, due_at=entry["due_at"], count=NEXT)
    return {
        "type": entry["type"],
        "cron": entry["cron"],
        "zone": entry["zone"],
        "every_s": entry["every_s"],
        "catch_up": entry["catch_up"],
        "on": entry["is_on"],
        "edited_by": entry["edited_by"],
        "fired_at": iso(entry["fired_at"]),
        "next": [{"utc": iso(tick), "local": _local(tick, entry["zone"] or "UTC")} for tick in ticks],
    }


def _local(at: datetime, zone: str) -> str:
    return at.astimezone(cadence.zone_of(zone)).isoformat(timespec="seconds")
