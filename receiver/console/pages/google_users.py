"""Whose Google contacts are kept in step: switched on and off and how often, user by user. Consent is given by the user."""

from collections.abc import Mapping
from typing import Any

from outbox import db, google_consent, sync_facts
from outbox.db import Pool, Record
from outbox.errors import ConfigError
from outbox.light import Light
from outbox.store import events, google_users
from receiver.api.auto_sync import USER
from receiver.console import words
from receiver.console.page import Act, Done, Form, Look, Page, Pages, Refused, Undo, Visit, no_such

PATH = "/console/google"
INTERVALS_H = (4, 12, 24, 48)
LISTED = 50


async def read(visit: Visit) -> Mapping[str, Any]:
    """By their ids; only those whose sync shows a light, when one is asked for."""
    after, light = visit.query.text("after"), visit.query.text("light")
    colour = next((one for one in Light if one == light), None)
    found = await visit.panel("the users", _page(visit.pool, after or "", colour))
    listed, behind = found.value or ([], None)
    rows = [
        {**dict(row), "hours": row["every_s"] and row["every_s"] // google_users.HOUR_S, "sync": google_users.sync_of(row["user_id"])}
        for row in listed
    ]
    return {
        "found": found,
        "rows": rows,
        "light": colour and colour.value,
        "intervals": INTERVALS_H,
        "older": behind and visit.query.url(PATH, after=behind),
        "newest": visit.query.url(PATH, after=None) if after else None,
    }


async def _page(pool: Pool, after: str, light: Light | None) -> tuple[list[Record], str | None]:
    """The next users behind `after`, and behind whom to go on."""
    if light is None:
        rows = await google_users.page(pool, after=after, limit=LISTED)
        return rows, rows[-1]["user_id"] if len(rows) == LISTED else None
    found, behind = await sync_facts.page_of_users(pool, after=google_users.sync_of(after), limit=LISTED, light=light)
    rows = await google_users.some(pool, [google_users.user_of(one["name"]) for one in found])
    return rows, behind and google_users.user_of(behind)


async def consent(visit: Visit) -> Mapping[str, Any]:
    """A link for the user themselves: whoever opens it connects their own Google account to this user's id. It is kept nowhere."""
    user, desk = _user(visit), visit.desk
    try:
        asking = google_consent.Asking.of(desk.settings, public_url=desk.settings.public_url, sealer=desk.sealer)
    except ConfigError as problem:
        raise Refused(409, "No link can be made", str(problem)) from None
    async with db.transaction(visit.pool) as connection:
        link = await google_consent.begin(connection, user, asking, by=visit.who.name)
        await visit.actor.note(connection, "begin consent", target=f"google:{user}")
    return {"user": user, "link": link, "lasts_s": google_consent.LASTING_S}


async def save(visit: Visit, form: Form) -> Done:
    """Switched on, the first sync is due at once; said again, the next time stays what it was."""
    user, enabled = _user(visit), form.text("enabled") is not None
    hours = form.whole("hours", low=INTERVALS_H[0], high=INTERVALS_H[-1])
    if hours is not None and hours not in INTERVALS_H:
        raise Refused(422, "This cannot be used", "Hours: 4, 12, 24 or 48. Nothing was changed.")
    async with db.transaction(visit.pool) as connection:
        now, before = await events.clock(connection), await google_users.one(connection, user)
        await google_users.save(connection, user, enabled=enabled, interval_hours=hours, now=now, by=visit.who.name)
        await visit.actor.note(connection, "set auto-sync", target=user, enabled=enabled, interval_hours=hours)
        row = await google_users.one(connection, user)
    undo = _as_before(visit, before)
    if not enabled:
        return Done(f"{user} is not kept in step any more.", form.back(PATH), undo=undo)
    when = words.ago(row["due_at"], now) if row["connection"] == "active" else "once they consent"
    return Done(f"{user} is kept in step; next sync {when}.", form.back(PATH), undo=undo)


def _as_before(visit: Visit, before: Record | None) -> Undo | None:
    """What was set. None: nothing was, or an interval that no form offers."""
    if before is None or before["every_s"] not in [hours * google_users.HOUR_S for hours in INTERVALS_H]:
        return None
    switched = {"enabled": 1} if before["enabled"] else {}
    return Undo(visit.path, {"hours": before["every_s"] // google_users.HOUR_S, **switched})


def _user(visit: Visit) -> str:
    user = visit.parts["user"]
    if not USER.fullmatch(user):
        raise no_such("There is no such user.")
    return user


SITE = Pages(
    pages=(Page(PATH, "google_users.html", read, tab="syncs"),),
    acts=(Act(PATH + "/{user}", save),),
    looks=(Look(PATH + "/{user}/consent", "google_consent.html", consent, tab="syncs"),),
)
