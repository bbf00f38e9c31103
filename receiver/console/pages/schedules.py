"""When a sync is due: a change is shown with its next five times first, and stored by a form of that page."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from outbox import cadence, db
from outbox.cadence import Cadence, Cron, InvalidCadence
from outbox.db import Record
from outbox.errors import NotNow
from outbox.store import schedules, syncs
from outbox.store.schedules import CatchUp
from outbox.sync_facts import NEXT
from receiver.console.page import Act, Done, Form, Page, Pages, Undo, Visit, no_such

SYNCS = "/console/syncs"
PATH = SYNCS + "/{name}/schedules/{type}"
LONGEST_MIN = cadence.LONGEST_S // 60


async def read(visit: Visit) -> Mapping[str, Any]:
    """The schedule as it is, or as it would be: cron with a zone, or every so many minutes."""
    name, type_ = visit.parts["name"], visit.parts["type"]
    await _known(visit, name, type_)
    row = next((one for one in await schedules.of(visit.pool, name) if one["type"] == type_), None)
    cron, zone = visit.query.text("cron"), visit.query.text("zone")
    minutes = visit.query.whole("minutes", high=LONGEST_MIN)
    asked = cron is not None or minutes is not None
    rule: Cadence | None = None
    problem = None
    try:
        rule = cadence.read(cron, zone, minutes and minutes * 60) if asked else None
    except InvalidCadence as wrong:
        problem = str(wrong)
    if not asked and row is not None:
        cron, zone, minutes = row["cron"], row["zone"], row["every_s"] and row["every_s"] // 60
    return {
        "name": name,
        "type": type_,
        "row": row,
        "cron": cron,
        "their_zone": zone or visit.zone.key,
        "minutes": minutes,
        "rule": rule,
        "in_zone": cadence.zone_of(rule.zone) if isinstance(rule, Cron) else visit.zone,
        "problem": problem,
        "ticks": [] if rule is None else list(islice(rule.after(visit.now), NEXT)),
    }


async def save(visit: Visit, form: Form) -> Done:
    """Seen by every dispatcher within seconds; never overwritten by the code's defaults. What becomes of missed ticks stays as it was."""
    name, type_ = visit.parts["name"], visit.parts["type"]
    await _known(visit, name, type_)
    cron, zone = form.text("cron"), form.text("zone")
    minutes = form.whole("minutes", low=1, high=LONGEST_MIN)
    try:
        rule = cadence.read(cron, zone if cron else None, minutes and minutes * 60)
    except InvalidCadence as problem:
        raise NotNow(f"This cannot be a schedule: {problem}.") from None
    told = {"cron": cron, "zone": zone} if cron else {"minutes": minutes}
    async with db.transaction(visit.pool) as connection:
        before = next((one for one in await schedules.of(connection, name) if one["type"] == type_), None)
        catch_up = CatchUp.ONE if before is None else CatchUp(before["catch_up"])
        await schedules.edit(connection, name, type_, rule, catch_up=catch_up, on=True, now=visit.now, by=visit.who.name)
        await visit.actor.note(connection, "edit schedule", target=f"{name} {type_}", **told)
    return Done(f"The schedule of {name} {type_} is changed.", f"{SYNCS}/{name}", undo=_as_before(visit, before))


def _as_before(visit: Visit, before: Record | None) -> Undo | None:
    """The schedule there was. None: there was none, it was off, or no form can say it."""
    if before is None or not before["is_on"] or (before["every_s"] or 0) % 60:
        return None
    said = {"cron": before["cron"], "zone": before["zone"]} if before["cron"] else {"minutes": before["every_s"] // 60}
    return Undo(visit.path, said, said="Change it back")


async def switch(visit: Visit, form: Form) -> Done:
    """On or off, as it stands; what was off is not made good."""
    name, type_, on = visit.parts["name"], visit.parts["type"], form.text("on") is not None
    async with db.transaction(visit.pool) as connection:
        row = next((one for one in await schedules.of(connection, name) if one["type"] == type_), None)
        if row is None:
            raise NotNow("There is no such schedule.")
        rule = cadence.read(row["cron"], row["zone"], row["every_s"])
        await schedules.switch(connection, name, type_, on=on, due_at=next(rule.after(visit.now)), by=visit.who.name)
        await visit.actor.note(connection, "switch schedule", target=f"{name} {type_}", on=on)
    undo = Undo(visit.path, {} if on else {"on": 1}, said="Switch it off" if on else "Switch it on") if row["is_on"] is not on else None
    return Done(f"The schedule of {name} {type_} is {'on' if on else 'off'}.", f"{SYNCS}/{name}", undo=undo)


async def _known(visit: Visit, name: str, type_: str) -> None:
    known = await syncs.one(visit.pool, name)
    if known is None or type_ not in known["types"]:
        raise no_such("There is no such sync, or it has no runs of this type.")


SITE = Pages(pages=(Page(PATH, "schedule.html", read, tab="syncs"),), acts=(Act(PATH, save), Act(PATH + "/switch", switch)))
