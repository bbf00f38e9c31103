"""What became of an event, told from its rows: the one story that API, command line and console show.

Reads and never writes; returns plain JSON values with times in ISO 8601 UTC. The payload is not part of the story.

    staged ─ duplicate ─ wait ─ attempt ─ step … ─ wait ─ attempt ─ … ─ bury ─ replay ─ attempt ─ discard
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from outbox import db
from outbox.db import Connection, Pool, Record
from outbox.store import events, search
from outbox.verdict import in_words, may, reason_of_time, verdict

Entry: TypeAlias = dict[str, Any]

OUTCOMES = {
    "d": "done",
    "s": "skipped",
    "r": "will be retried",
    "z": "snoozed",
    "h": "held: its destination does not flow",
    "x": "buried as a dead letter",
    "c": "its worker was lost",
}


WAITS = {"r": "for its retry", "z": "as its handler asked", "h": "for its destination", "c": "for another worker", "p": "for its turn"}
RUNS_LOOKED_AT, FOLLOW_UPS_LOOKED_AT, MOST_FOLLOW_UPS = 3, 5_000, 50
SLACK = timedelta(seconds=1)  # between a worker's clock and the database's
NOTICEABLE = timedelta(milliseconds=250)
SIGNED_BY = "postroom-signed-by"  # kept among the headers by the receiver: the fingerprint of the key that matched


def iso(moment: datetime | None) -> str | None:
    """A time as `2026-10-05T09:01:34.285Z`; None stays None."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary(row: Record | Mapping[str, Any]) -> Entry:
    """An event as a list shows it, from a row of search.find() or events.one()."""
    return {
        "id": row["id"],
        "source": row["source"],
        "kind": row["kind"],
        "key": row["key"],
        "lane": row["lane"],
        "state": row["state"],
        "why": row["why"],
        "mark": row["mark"],
        "until": iso(row["until"]),
        "attempts": row["attempts"],
        "staged_at": iso(row["staged_at"]),
        "changed_at": iso(row["changed_at"]),
    }


async def story(pool: Pool, event_id: int) -> Entry | None:
    """An event with its whole timeline, oldest first; None when there is no such event. Raises DatabaseUnavailable."""
    with db.mapped():
        # One snapshot, or the state could be newer than the timeline under it.
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            row = await events.one(connection, event_id)
            if row is None:
                return None
            rows = await events.timeline(connection, event_id)
            lane = [] if row["lane"] is None else await events.neighbours(connection, row["lane"], event_id)
            staged = await _staged_by(connection, event_id, rows)
            kin = await events.marks(connection, [*staged, *([row["cause"]] if row["cause"] else [])])
    headers = json.loads(row["headers"]) if row["headers"] else {}
    return {
        **summary(row),
        **_judged(row, rows),
        "duplicates": row["duplicates"] or 0,
        "payload_bytes": len(row["payload"]),
        "signed_by": headers.pop(SIGNED_BY, None),
        "headers": headers,
        "trace": row["trace"],
        "group": row["fingerprint"],
        "route": _route(row),
        "previous": _beside(lane, event_id, before=True),
        "next": _beside(lane, event_id, before=False),
        "caused_by": _kin(kin, row["cause"]),
        "follow_ups": [one for each in staged if (one := _kin(kin, each)) is not None],
        "covered": [one["id"] for one in lane if one["state"] == "skipped" and one["why"] == f"coalesced into #{event_id}"],
        "timeline": tell(row, rows, lane),
    }


async def _staged_by(connection: Connection, event_id: int, rows: Sequence[Record]) -> list[int]:
    """The events that its newest runs staged, as far as they were looked for."""
    runs = [one for one in rows if one["step"] is None and one["owner"] != 0][-RUNS_LOOKED_AT:]
    spans = [(await search.id_at(connection, one["at"] - SLACK), await search.id_at(connection, _ended(one) + SLACK)) for one in runs]
    return await events.follow_ups(connection, event_id, spans, most=MOST_FOLLOW_UPS, look_at=FOLLOW_UPS_LOOKED_AT)


def _kin(kin: Mapping[int, Record], event_id: int | None) -> Entry | None:
    """An event that this one came from, or led to; None: there is none, or retention has dropped it."""
    return None if event_id is None else _named(kin.get(event_id))


def _named(row: Record | None) -> Entry | None:
    return None if row is None else {"id": row["id"], "kind": row["kind"], "mark": row["mark"]}


def _judged(row: Record, rows: Sequence[Record]) -> Entry:
    """The verdict, and what can be done."""
    runs = [one for one in rows if one["step"] is None]
    ended = max((_ended(one) for one in runs), default=None)
    finished = {one["step"] for one in rows if one["step"] is not None and one["code"] in ("d", "f")}
    because = reason_of_time(row, ended)
    return {
        "verdict": verdict(row, steps_done=len(finished), reason_of_time=because),
        "because": because,
        "may": list(may(row)),
        "steps_done": sorted(finished),
    }


def _route(row: Record) -> Entry | None:
    """What the dispatcher does with this kind; None: no dispatcher has told, or it knows no route."""
    names = ("handler", "destination", "deadline_s", "retries", "covers")
    return None if row["handler"] is None else {name: row[name] for name in names}


def _beside(lane: Sequence[Record], event_id: int, *, before: bool) -> Entry | None:
    """The event of the lane next to this one."""
    there = [row for row in lane if (row["id"] < event_id) is before]
    return _named((there[-1] if before else there[0]) if there else None)


def tell(
    event: Record | Mapping[str, Any], rows: Sequence[Record | Mapping[str, Any]], lane: Sequence[Record | Mapping[str, Any]] = ()
) -> list[Entry]:
    """The timeline of an event (a row of events.one()) from its attempts and steps (rows of events.timeline()) and its lane's others."""
    runs = [row for row in rows if row["step"] is None]
    told = [_run(row) for row in runs]
    told += _steps([row for row in rows if row["step"] is not None], runs, is_running=event["why"] == "running")
    told += _waits(event, runs, lane)
    if event["duplicates"]:
        told.append(_duplicates(event["duplicates"], event["last_duplicate_at"]))
    told.sort(key=lambda entry: entry["at"])  # stable: an attempt comes before what happened in it
    text = f"accepted from {event['source']} and staged"
    return [_entry(event["staged_at"], "staged", text), *told]


def _ended(run: Record | Mapping[str, Any]) -> datetime:
    moment: datetime = run["at"] + timedelta(milliseconds=run["took_ms"])
    return moment


def _waits(
    event: Record | Mapping[str, Any], runs: Sequence[Record | Mapping[str, Any]], lane: Sequence[Record | Mapping[str, Any]]
) -> list[Entry]:
    """The gaps between its runs that somebody would notice, each with what it waited for."""
    told: list[Entry] = []
    since, text = event["staged_at"], "for its turn"
    ahead = [row for row in lane if row["id"] < event["id"] and row["state"] != "pending" and row["changed_at"] > since]
    if ahead:
        text = f"behind #{ahead[-1]['id']} in its lane"
    for run in runs:
        gap = run["at"] - since
        if gap >= NOTICEABLE and run["owner"] != 0 and run["code"] != "c":
            took_ms = int(gap.total_seconds() * 1000)
            told.append(_entry(since, "wait", f"waited {_ms(took_ms)} {text}", took_ms=took_ms))
        since, text = _ended(run), WAITS.get(run["code"], "for its turn")
    return told


def _entry(at: datetime, what: str, text: str, **more: Any) -> Entry:
    return {"at": iso(at), "what": what, "text": text, **more}


def _duplicates(count: int, last_at: datetime) -> Entry:
    times = "" if count == 1 else f", {count} times by now"
    return _entry(last_at, "duplicate", f"delivered again{times}; answered with this event", count=count)


def _run(row: Record | Mapping[str, Any]) -> Entry:
    """One row of outbox.attempts: a run by a worker, or an act of a person."""
    code, note = row["code"], row["note"]
    if code == "p":
        return _entry(row["at"], "replay", note or "put into the queue again", attempt=row["attempt"])
    if row["owner"] == 0 and code == "x":
        return _entry(row["at"], "bury", note or OUTCOMES[code], attempt=row["attempt"])
    if row["owner"] == 0:
        return _entry(row["at"], "discard", note or OUTCOMES[code], attempt=row["attempt"])
    worker = row["worker"] or f"worker {row['owner']}"  # an old worker's name is forgotten, its number is not
    text = f"attempt {row['attempt']} by {worker}: {OUTCOMES[code]}, took {_ms(row['took_ms'])}" + (f": {in_words(note)}" if note else "")
    return _entry(
        row["at"],
        "attempt",
        text,
        attempt=row["attempt"],
        outcome=OUTCOMES[code].partition(":")[0],
        worker=worker,
        took_ms=row["took_ms"],
        note=note,
    )


def _steps(rows: Iterable[Record | Mapping[str, Any]], runs: Sequence[Record | Mapping[str, Any]], *, is_running: bool) -> list[Entry]:
    """Each intent with what became of it; then, for runs after a step was done, that it was not repeated."""
    told: list[Entry] = []
    open_intents: dict[str, Entry] = {}
    done: dict[str, tuple[datetime, int]] = {}
    ended = max((_ended(row) for row in runs), default=None)
    for row in rows:
        name, intent = row["step"], open_intents.get(row["step"])
        if row["code"] == "i":
            told.append(_intent(row, lost_before=intent is not None))
            open_intents[name] = told[-1]
        elif row["code"] == "f":
            told.append(_step(row, f"answer lost, looked up, found{_after(row)}", "found"))
            open_intents.pop(name, None)
        elif intent is not None and intent["attempt"] == row["attempt"]:
            _close(intent, row)
            del open_intents[name]
        if row["code"] in ("d", "f"):
            done[name] = (row["at"], row["attempt"])
    for intent in open_intents.values():
        if is_running and (ended is None or intent["at"] > (iso(ended) or "")):
            intent.update(entry="under way", text=f"{intent['step']}: under way")
    return told + _not_repeated(done, runs)


def _step(row: Record | Mapping[str, Any], text: str, entry: str) -> Entry:
    return _entry(
        row["at"],
        "step",
        f"{row['step']}: {text}",
        step=row["step"],
        attempt=row["attempt"],
        entry=entry,
        took_ms=row["took_ms"],
        answer=None if row["answer"] is None else json.loads(row["answer"]),
    )


def _intent(row: Record | Mapping[str, Any], *, lost_before: bool) -> Entry:
    """Told as lost until a verdict closes it: that is what an intent without one means."""
    told = _step(row, "sent again after a lost answer, and this answer was lost too" if lost_before else "sent, answer lost", "lost")
    return {**told, "again": True} if lost_before else told


def _close(intent: Entry, row: Record | Mapping[str, Any]) -> None:
    verdict = f"done{_after(row)}" if row["code"] == "d" else "surely not done" + (f": {row['note']}" if row["note"] else "")
    before = "earlier answer lost, sent again, " if intent.pop("again", False) else ""
    closed = _step(row, before + verdict, "done" if row["code"] == "d" else "not done")
    intent.update({**closed, "at": intent["at"]})


def _not_repeated(done: Mapping[str, tuple[datetime, int]], runs: Iterable[Record | Mapping[str, Any]]) -> list[Entry]:
    return [
        _entry(run["at"], "step", f"{name}: known done, not repeated", step=name, attempt=run["attempt"], entry="known done")
        for run in runs
        if run["code"] not in ("p", "c") and run["owner"] != 0
        for name, (at, attempt) in done.items()
        # A hold gives the attempt's number back, so the next run may have the same; a burial of the lost is no run.
        if at < run["at"] and (attempt < run["attempt"] or run["code"] != "x")
    ]


def _after(row: Record | Mapping[str, Any]) -> str:
    return "" if row["took_ms"] is None else f" in {_ms(row['took_ms'])}"


def _ms(took_ms: int) -> str:
    return f"{took_ms} ms" if took_ms < 10_000 else f"{took_ms / 1000:.1f} s" if took_ms < 600_000 else f"{took_ms / 60_000:.0f} min"
