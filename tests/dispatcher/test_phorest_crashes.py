"""P6 and P9 where Phorest's records go to GHL: a dispatcher killed in the middle of two creates leaves one contact and one booking."""

import asyncio
import signal

import pytest

from dispatcher.config import DispatcherSettings
from outbox import db
from outbox.store import links
from outbox.store import phorest as store
from outbox.store.phorest import Kind, PhorestRecord, event_for
from outbox.testing import Postroom
from simulators.samples import DEMO_BRANCH_ID, DEMO_CALENDAR_ID
from tests.dispatcher.handling import everything_is_over
from tests.dispatcher.running import WorkerProcess, dispatching, eventually, stage_all
from tests.dispatcher.salon import ADA, Ghl, booked, contacts

VISIT = {"appointmentDate": "2027-01-05", "startTime": "10:00:00.000", "endTime": "10:30:00.000", "serviceName": "Cut"}


@pytest.mark.long
async def test_p9_a_dispatcher_killed_while_it_creates_a_contact_and_a_booking_makes_neither_twice(
    postroom: Postroom, salon: DispatcherSettings, ghl: Ghl, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghl[0].put_contact("c2", email="ben@example.com")
    async with db.transaction(postroom.pool) as connection:
        await store.apply(connection, Kind.CLIENT, [PhorestRecord(Kind.CLIENT, "p1", ADA), PhorestRecord(Kind.CLIENT, "p2", {})])
        visit = PhorestRecord(Kind.APPOINTMENT, "a1", VISIT, branch_id=DEMO_BRANCH_ID, client_id="p2")
        await store.apply(connection, Kind.APPOINTMENT, [visit])
        await links.join(connection, Kind.CLIENT.link, ours="p2", theirs="c2", destination="ghl", our_hash=None)
    for path in ("/contacts/", "/calendars/events/appointments"):
        ghl[0].faults.add("hang", path, method="POST")
    await stage_all(postroom, event_for(Kind.CLIENT, "p1"), event_for(Kind.APPOINTMENT, "a1"))
    monkeypatch.setenv("PHOREST_BRANCHES", ",".join(salon.phorest_branches))
    monkeypatch.setenv("GHL_DEFAULT_CALENDAR_ID", DEMO_CALENDAR_ID)
    async with WorkerProcess(postroom.dsn, salon) as first:
        await asyncio.wait_for(ghl[0].faults.wait_hanging(2), 20)
        await first.end(signal.SIGKILL)
    ghl[0].faults.release()  # both requests go on after their sender died
    async with dispatching(postroom.dsn, settings=salon):
        await eventually(everything_is_over(postroom), within_s=60)
    assert ([contact["firstName"] for contact in contacts(ghl[0]) if contact["id"] != "c2"], len(booked(ghl[0]))) == (["Ada"], 1)
    made = await postroom.rows("select kind, made from crm.links where ours in ('p1', 'a1') order by kind")
    assert made == [{"kind": "phorest-appointment", "made": True}, {"kind": "phorest-client", "made": True}]
    assert (await postroom.totals())["dead"] == 0
