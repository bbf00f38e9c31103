"""appointments: a range of crm.appointments, told to GHL once more through the outbox, behind everything that is live.

Each appointment of the range that has a contact becomes one event, appointment.resync, whose handler compares and puts right. What
stands here as the mirror of an app's own table is left out: that table says what is so, not the mirror. By hand only.
"""

import json
from typing import Any, Final

from dispatcher.clients.accounts import GHL
from dispatcher.syncs.base import RunType, Sync
from dispatcher.syncs.ghl_contacts import off
from dispatcher.syncs.run import Run
from outbox.db import Record
from outbox.kinds import RESYNC
from outbox.store import appointments
from outbox.store.events import Arrival
from outbox.store.runs import What

PAGE: Final = 200
SOURCE: Final = "postroom"
BULK: Final = 1


async def push(run: Run) -> None:
    """See the module."""
    assert run.since is not None  # a run of type range has both
    pool = run.ctx.services.pool
    at: dict[str, Any] = run.checkpoint or {"after": None, "done": 0}
    expected = await appointments.count_between(pool, run.since, run.until)
    run.phase("appointments")
    while rows := await appointments.between(pool, run.since, run.until, after=at["after"], limit=PAGE):
        last = rows[-1]
        at = {"after": [last["starts_at"].isoformat(), str(last["id"])], "done": at["done"] + len(rows)}
        run.progress(at["done"], max(expected, at["done"]))
        linked = [row for row in rows if row["contact_id"] is not None and not row["is_mirror"]]
        async with run.page(at) as page:
            new = await page.stage_all([_event(run, row) for row in linked])
            page.count(updated=sum(new), unchanged=len(new) - sum(new))
            for row in rows:
                if row["is_mirror"]:
                    page.did(What.SKIPPED, str(row["id"]), "the mirror of an app's own table")
                elif row["contact_id"] is None:
                    page.did(What.SKIPPED, str(row["id"]), "no GHL contact is linked to the appointment")
    run.watermark = None  # a range says nothing of what lies outside it


def _event(run: Run, row: Record) -> Arrival:
    told = {"id": str(row["id"]), "contact_id": row["contact_id"], "location_id": row["location_id"]}
    payload = json.dumps({"appointment": told, "run": run.id}).encode()
    return Arrival(SOURCE, RESYNC, f"resync:{run.id}:{row['id']}", f"appointment:{row['id']}", payload, urgency=BULK)


APPOINTMENTS: Final = Sync(name="appointments", run=push, types=(RunType.RANGE,), destination=GHL, off=off)
