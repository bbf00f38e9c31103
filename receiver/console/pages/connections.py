"""Connections: who sends to us, whom we write to, and whether each flows. Pauses and resumes destinations, promotes Notion's tokens."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outbox import db, operators, ways
from outbox.db import Connection, Record
from outbox.errors import DatabaseUnavailable, NotNow
from outbox.store import connections, destinations, handshakes, sources
from outbox.store.calls import GOOGLE
from outbox.ways import Way
from receiver.api.destinations import NAME, USUAL
from receiver.console import words
from receiver.console.page import Act, Done, Form, Page, Pages, Undo, Visit, no_such
from receiver.handshakes import SOURCE
from receiver.sources.base import Description

PATH = "/console/connections"
REJECTED_PATH = "/console/rejected"
FLOWING = "flowing"
MOST_MINUTES = 60 * 24 * 30
SHAPES = {"flowing": "done", "paused": "paused", "unauthorised": "dead", "open": "retry"}
SAFE_DAYS = 7  # longer than any sender tries again


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key that is configured. `is_last`: it matched last; `may_go`: another has, and this one has not for SAFE_DAYS."""

    fingerprint: str
    last_at: datetime | None
    is_last: bool
    may_go: bool


@dataclass(frozen=True, slots=True)
class Door:
    """A source as it is shown, with its counts of 24 hours. `light` off: nothing is configured for it."""

    address: str
    described: Description
    light: str
    accepted: int
    duplicates: int
    rejected: int
    last_accepted_at: datetime | None
    keys: tuple[Key, ...]
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A destination as it is shown. `consent`: the command that makes a link, where a person has to consent again."""

    way: Way
    shape: str
    said: str
    token_ends_at: datetime | None
    consent: str | None

    @property
    def stands(self) -> bool:
        """Whether somebody may resume it."""
        return self.way.state != "flowing"


async def read(visit: Visit) -> Mapping[str, Any]:
    """Sources, destinations and handshakes, each on its own."""
    doors, ways, tokens, tested = await asyncio.gather(
        visit.panel("the sources", doors_of(visit)),
        visit.panel("the destinations", _ways(visit)),
        visit.panel("Notion's tokens", handshakes.every(visit.pool, SOURCE)),
        visit.panel("which tests there are", operators.tested(visit.pool)),
    )
    rows = tokens.value or []
    return {
        "doors": doors,
        "safe_days": SAFE_DAYS,
        "tested": {name for name in tested.value or () if name != GOOGLE},
        "lacks": tested.value or {},
        "per_account": operators.ACCOUNTS,
        "ways": ways,
        "tokens": tokens,
        "candidates": [row for row in rows if row["promoted_at"] is None],
        "in_use": [row for row in rows if row["promoted_at"] is not None],
    }


async def doors_of(visit: Visit) -> list[Door]:
    """Who may send to us, by address."""
    rows = {row["name"]: row for row in await sources.every(visit.pool)}
    matched, day = await sources.keys(visit.pool), await sources.day(visit.pool)
    listed = []
    for path, door in sorted(visit.desk.webhooks.doors.items()):
        described = door.source.describe()
        seen, row = visit.desk.ledger.seen(described.source), rows.get(described.source)
        at = seen.last_accepted_at or (row["last_accepted_at"] if row else None)
        counted = Counter({one["outcome"]: one["seen"] for one in day if one["source"] == described.source}) + seen.outcomes
        accepted, duplicates = counted.pop("accepted", 0), counted.pop("duplicate", 0)
        known = {one["fingerprint"]: one["last_at"] for one in matched if one["source"] == described.source} | seen.keys
        if row and row["last_fingerprint"] and row["last_accepted_at"]:  # of before keys were counted one by one
            known.setdefault(row["last_fingerprint"], row["last_accepted_at"])
        light = "off" if not described.configured else "green" if at is not None else "yellow"
        keys = judged(described.keys, known, now=visit.now)
        reasons = tuple(counted.most_common())
        listed.append(Door(visit.address(path), described, light, accepted, duplicates, counted.total(), at, keys, reasons))
    return listed


def judged(configured: Sequence[str], matched: Mapping[str, datetime], *, now: datetime) -> tuple[Key, ...]:
    """The configured keys, and whether one of several may be taken out: another has matched since, and this one not for SAFE_DAYS. Pure.

    One that never matched may be the next one, so nothing says that it may go.
    """
    newest = max((key for key in configured if key in matched), key=lambda key: matched[key], default=None)
    return tuple(
        Key(
            key,
            matched.get(key),
            is_last=key == newest,
            may_go=key != newest and key in matched and now - matched[key] > timedelta(days=SAFE_DAYS),
        )
        for key in configured
    )


async def _ways(visit: Visit) -> list[Shown]:
    known = {row["destination"]: row for row in await connections.every(visit.pool, users=False) if row["provider"] != GOOGLE}
    return [_shown(way, known.get(way.name)) for way in await ways.every(visit.pool, usual=(*USUAL, *known))]


def _shown(way: Way, connection: Record | None) -> Shown:
    said, shape = _said(way), SHAPES[way.state]
    token_ends_at = connection["expires_at"] if connection is not None and connection["state"] == "active" else None
    if connection is None or connection["state"] != "inactive" or way.state != "unauthorised":
        return Shown(way, shape, said, token_ends_at, None)  # a location that was named without a consent may have a key
    return Shown(
        way, shape, f"needs consent: {connection['why']}", None, connections.link_command(connection["provider"], connection["account"])
    )


def _said(way: Way) -> str:
    match way.state:
        case "flowing":
            return "flowing"
        case _ if way.users is not None:
            return way.users.said
        case "paused":
            return f"paused by {way.by} “{way.why}”"
        case "unauthorised":
            return f"unauthorised: {way.why}"
        case _:
            return f"breaker open: {way.why}"


async def rejected(visit: Visit) -> Mapping[str, Any]:
    """Requests that were turned away, newest first."""
    source, reason, before = visit.query.text("source"), visit.query.text("reason"), visit.query.whole("before")
    limit = 50
    found = await visit.panel("rejected requests", sources.rejected(visit.pool, source, reason=reason, before=before, limit=limit + 1))
    rows = (found.value or [])[:limit]
    shown = [
        {
            **dict(row),
            "head": bytes(row["body_head"]).decode("utf-8", "backslashreplace") if visit.may_act else words.mask(row["body_head"]),
        }
        for row in rows
    ]
    has_more = found.value is not None and len(found.value) > limit
    return {
        "found": found,
        "rows": shown,
        "source": source,
        "reason": reason,
        "sources": sorted({door.source.describe().source for door in visit.desk.webhooks.doors.values()}),
        "older": visit.query.url(REJECTED_PATH, before=rows[-1]["id"]) if has_more else None,
        "newest": visit.query.url(REJECTED_PATH, before=None) if before else None,
    }


async def pause(visit: Visit, form: Form) -> Done:
    """Its events wait; no attempt is spent."""
    name, reason = _name(visit), form.needed("reason")
    minutes = form.whole("minutes", low=1, high=MOST_MINUTES)
    async with db.transaction(visit.pool) as connection:
        seconds = None if minutes is None else minutes * 60.0
        before = await _before(connection, name)
        await destinations.pause(connection, name, why=reason, by=visit.who.name, seconds=seconds)
        await visit.actor.note(connection, "pause", target=name, reason=reason, minutes=minutes)
    until = f" for {words.duration(minutes * 60)}" if minutes else " until somebody resumes it"
    undo = Undo(f"{PATH}/{name}/resume", said="Resume it") if before is None or before["state"] == FLOWING else _pause_again(before)
    return Done(f"Paused {name}{until}. Its events wait; no attempt is spent.", to=PATH, undo=undo)


async def resume(visit: Visit, form: Form) -> Done:
    """Also ends a breaker's wait."""
    name = _name(visit)
    async with db.transaction(visit.pool) as connection:
        before = await _before(connection, name)
        if not await destinations.resume(connection, name, by=visit.who.name):
            raise NotNow(f"{name} flows already.")
        await visit.actor.note(connection, "resume", target=name, changed=True)
    outlook = next(way.outlook for way in await ways.every(visit.pool, usual=(name,)) if way.name == name)
    return Done(f"Resumed {name}: {outlook}.", to=PATH, undo=_pause_again(before))


async def _before(connection: Connection, name: str) -> Record | None:
    """How it stood, for whoever takes the act back; None: as from the beginning."""
    return next((row for row in await destinations.every(connection) if row["name"] == name), None)


def _pause_again(before: Record | None) -> Undo | None:
    """The pause there was, for the time that was left of it. None: it was no person's, or is over."""
    if before is None or before["state"] != "paused" or (before["until_s"] or 1) <= 0:
        return None
    minutes = {} if before["until_s"] is None else {"minutes": math.ceil(before["until_s"] / 60)}
    return Undo(f"{PATH}/{before['name']}/pause", {"reason": before["why"], **minutes}, said="Pause it again")


async def test(visit: Visit, form: Form) -> Done:
    """One harmless read call by a dispatcher; its event shows the result, and when it came."""
    name = _name(visit)
    event_id = await operators.test(visit.pool, visit.actor, name)
    said = f"A dispatcher asks {name} for something harmless. The answer, with its time, is shown here as soon as it is there."
    return Done(said, to=f"/console/events/{event_id}")


async def promote(visit: Visit, form: Form) -> Done:
    """A candidate becomes a token in use, here at once, elsewhere within seconds."""
    handshake_id = visit.part_id()
    async with db.transaction(visit.pool) as connection:
        row = await handshakes.one(connection, SOURCE, handshake_id)
        if row is None:
            raise NotNow("This candidate is gone; only the five newest are kept.")
        visit.desk.notion.open(bytes(row["sealed"]))  # or nothing could be verified with it
        if not await handshakes.promote(connection, SOURCE, handshake_id, by=visit.who.name):
            raise NotNow("This token is in use already.")
        retired = await handshakes.retire_others(connection, SOURCE, handshake_id) if form.text("retire_others") else 0
        await visit.actor.note(connection, "promote handshake", target=handshake_id, key=row["fingerprint"], retired=retired)
    with suppress(DatabaseUnavailable):  # it is promoted; what cannot be read now is read within seconds
        await visit.desk.notion.refresh(visit.pool)
    ended = f" {words.plural(retired, 'other token', 'other tokens')} ended." if retired else ""
    return Done(f"The token {row['fingerprint']} is in use.{ended}", to=PATH)


def _name(visit: Visit) -> str:
    name = visit.parts["name"]
    if not NAME.fullmatch(name):
        raise no_such("A destination's name is a lower-case word, such as ghl or notion.")
    return name


SITE = Pages(
    pages=(
        Page(PATH, "connections.html", read, tab="connections"),
        Page(REJECTED_PATH, "rejected.html", rejected, tab="connections"),
    ),
    acts=(
        Act(PATH + "/{name}/pause", pause),
        Act(PATH + "/{name}/resume", resume),
        Act(PATH + "/{name}/test", test),
        Act(PATH + "/handshakes/{id}/promote", promote),
    ),
)
