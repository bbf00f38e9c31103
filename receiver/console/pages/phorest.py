"""The rollback of Phorest: what we made at GHL, what would be deleted, how far a rollback is, and how one is begun, stopped, begun anew.

The page is the dry run. It acts by outbox.operators, as the API and the command line do.
"""

from collections.abc import Mapping
from typing import Any

from outbox import operators
from outbox.store import destinations, phorest_rollback
from outbox.store.phorest import Kind
from receiver.console import words
from receiver.console.page import Act, Done, Form, Page, Pages, Visit

PATH = "/console/phorest/rollback"
TYPED_OVER = 1
MOST = 2**53 - 1
AT_GHL = {
    Kind.CLIENT: "contacts of clients",
    Kind.STAFF: "contacts of staff",
    Kind.APPOINTMENT: "appointments in calendars",
    Kind.BOOKING: "notes of bookings",
    Kind.CHECKIN: "notes of check-ins",
    Kind.PRODUCT: "tags of products",
    Kind.LOYALTY: "fields of loyalty points, which are forgotten here only",
}


async def read(visit: Visit) -> Mapping[str, Any]:
    """What there is to delete, and how the last rollback stands."""
    left = await visit.panel("what we made", phorest_rollback.left(visit.pool))
    rest = await visit.panel("how far it is", phorest_rollback.rest(visit.pool))
    last = await visit.panel("the last rollback", phorest_rollback.newest(visit.pool))
    standing = await visit.panel("the destinations", destinations.every(visit.pool))
    syncs = await visit.panel("the syncs", phorest_rollback.names_of_syncs(visit.pool))
    begun = sum(last.value.made.values()) if last.value else 0
    there = sum((left.value or {}).values())
    fresh = rest.value.fresh if rest.value else 0
    return {
        "panels": (left, rest, last, standing, syncs),
        "left": {AT_GHL[Kind(kind)]: n for kind, n in (left.value or {}).items()},
        "there": there,
        "rest": rest.value,
        "last": last.value,
        "begun": begun,
        "over": max(0, begun - there),
        "is_at_work": bool(rest.value and rest.value.coming),
        "fresh": fresh,
        "must_type": fresh > TYPED_OVER,
        "syncs": syncs.value or [],
        "held": next((row for row in standing.value or [] if row["name"] == "ghl" and row["state"] != "flowing"), None),
    }


async def start(visit: Visit, form: Form) -> Done:
    """Begins it, or goes on; the number that was typed is the one that was shown, and still counts."""
    fresh = (await phorest_rollback.rest(visit.pool)).fresh
    if fresh > TYPED_OVER and form.whole("number", low=0, high=MOST) != fresh:
        return Done(f"The number does not fit: {fresh} was to be typed. Nothing was deleted.", PATH, good=False)
    staged, paused = await operators.roll_back_phorest(visit.pool, visit.actor)
    stand = f"; {words.plural(len(paused), 'sync')} of Phorest {'stands' if len(paused) == 1 else 'stand'}" if paused else ""
    return Done(f"{words.plural(staged, 'deletion')} staged{stand}.", PATH)


async def stop(visit: Visit, form: Form) -> Done:
    """Nothing more of it is deleted."""
    await operators.stop_phorest_rollback(visit.pool, visit.actor)
    return Done("The rollback is stopped: what is being deleted now ends, the rest stays at GHL.", PATH)


SITE = Pages(
    pages=(Page(PATH, "phorest_rollback.html", read, tab="syncs"),),
    acts=(Act(f"{PATH}/start", start), Act(f"{PATH}/stop", stop)),
)
