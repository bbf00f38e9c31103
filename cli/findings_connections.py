"""What `postroom doctor` finds about accounts that are connected by consent: our app at GHL, and each location's connection."""

from cli import kept
from cli.findings import AllSettings, Finding, fine, off, warn, wrong
from cli.output import count
from outbox.db import Pool
from outbox.errors import ConfigError
from outbox.store import connections

AREA = "ghl app"
SINGLY = 3  # so many users are named


def app(settings: AllSettings) -> Finding:
    """Whether a location can be connected, and its token be kept."""
    own, public = settings.dispatcher, settings.receiver.public_url
    match own.ghl_client_id, own.ghl_client_secret:
        case None, None:
            return off(AREA, "GHL_CLIENT_ID and GHL_CLIENT_SECRET are not set: no location can be connected by consent")
        case _, None:
            return wrong(AREA, "GHL_CLIENT_ID is set, GHL_CLIENT_SECRET is not", "Set both.")
        case None, _:
            return wrong(AREA, "GHL_CLIENT_SECRET is set, GHL_CLIENT_ID is not", "Set both.")
    try:
        can_keep = kept.sealer(settings.database).ready
    except ConfigError as problem:
        return wrong(AREA, str(problem))
    if not can_keep:
        says = "POSTROOM_ENCRYPTION_KEYS is not set, so no token can be kept: connected locations wait"
        return wrong(AREA, says, "Set it for web and worker to what `postroom doctor --new-key` prints.")
    if public is None:
        return off(AREA, "set up; POSTROOM_PUBLIC_URL is not, so no new location can be connected")
    return fine(AREA, f"locations come back to {str(public).rstrip('/')}/api/oauth/ghl/callback")


async def connected(pool: Pool, settings: AllSettings) -> list[Finding]:
    """How many are in use, and which wait; of many users, how many. One that has a key of its own needs no consent."""
    own = settings.dispatcher
    with_key = own.ghl_location_id if own.ghl_api_key is not None else None
    rows = await connections.every(pool)
    active = sum(row["state"] == "active" for row in rows)
    found = [fine("connections", f"{count(active, 'account')} in use")] if active else []
    waiting = [row for row in rows if row["state"] == "inactive" and row["account"] != with_key]
    users = [row for row in waiting if row["provider"] == "google"]
    if len(users) > SINGLY:
        do = "`postroom connect` lists them, `postroom connect google --user ID` makes a link for one."
        found.append(warn("to google", f"{count(len(users), 'user')} need consent", do))
        waiting = [row for row in waiting if row["provider"] != "google"]
    return found + [
        warn(f"to {row['destination']}", str(row["why"]), f"`{connections.link_command(row['provider'], row['account'])}` makes a link.")
        for row in waiting
    ]
