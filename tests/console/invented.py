"""An invented installation for the browser: a salon's day with everything that a console has to show. All names are made up.

Written by the code that writes it in earnest (stagers, a dispatcher, the stores of syncs and connections), so that no page shows what
could not be. What was long ago is moved there by its times.
"""

from dataclasses import dataclass
from datetime import timedelta

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.errors import Refused, Unavailable
from dispatcher.outcome import Done, Outcome, Skipped
from dispatcher.routes import Route
from dispatcher.schedule import Schedule
from dispatcher.services import services
from dispatcher.syncs.table import SYNCS
from outbox import Claimed, Event, db
from outbox.store import audits, connections, destinations, events, google_users, handshakes, runs, sources
from outbox.store.audits import Gap
from outbox.store.runs import Category, Entry, Numbers, RunState, Trigger, What
from outbox.testing import Postroom, drained
from tests.receiver.running import sealer
from tests.receiver.test_api_events import stage_all

HELD_LANE, OTHER_LANE = "ghl:contact:c_7f21", "ghl:contact:c_8a40"
RUNNING, SWEEPING = "ghl-missed", "ghl-contacts"


@dataclass(frozen=True, slots=True)
class Invented:
    """The ids that a test goes to."""

    done: int
    dead: tuple[int, ...]
    lone_dead: int
    group: str
    held: int
    run: int
    running: int
    braked: int
    audit: int
    candidate: int


async def _confirmed(event: Claimed, ctx: Context) -> Outcome:
    """Tells GHL of a confirmation; a phone that GHL refuses kills it after its first step."""

    async def set_fields() -> str:
        return "c_7f21"

    async def create_note() -> str:
        if "letters" in event.json():
            raise Refused("ghl", "phone is invalid", status=400)
        return "n_42"

    await ctx.step("set-fields", set_fields, repeatable=True)
    await ctx.step("create-note", create_note, repeatable=True)
    return Done({"contact": "c_7f21"})


async def _away(event: Claimed, ctx: Context) -> Outcome:
    raise Unavailable("ghl", "upstream is away", status=503)


async def _without_slug(event: Claimed, ctx: Context) -> Outcome:
    raise Refused("notion", "column slug: the value is too long", status=400)


async def _paid(event: Claimed, ctx: Context) -> Outcome:
    return Skipped("nobody waits for payments") if "skip" in event.json() else Done()


SETTINGS = DispatcherSettings.read(ghl_api_key="invented", ghl_location_id="loc_1", ghl_api_base_url="http://127.0.0.1:1")
ROUTES = {
    "appointment.confirmed": Route(_confirmed, destination="ghl"),
    "contact.update": Route(_away, destination="crm"),
    "page.changed": Route(_without_slug, destination="crm"),
    "page.content_updated": Route(_paid, destination="notion"),
    "order.paid": Route(_paid),
}


async def fill(postroom: Postroom) -> Invented:
    """Everything, into an empty database. About a second."""
    await _accounts(postroom)
    confirmed = await stage_all(postroom, *(_appointment(n) for n in range(12)))
    await stage_all(postroom, *(Event("order.paid", {"order": n} | ({"skip": 1} if n % 4 == 0 else {}), source="shop") for n in range(8)))
    [lone] = await stage_all(postroom, Event("page.changed", {"page": "3fa1"}, lane="notion:page:3fa1", source="notion"))
    waiting = await stage_all(postroom, *(Event("contact.update", {"n": n}, lane=HELD_LANE, source="ghl") for n in range(3)))
    await stage_all(postroom, Event("contact.update", {}, lane=OTHER_LANE, source="ghl"))
    await stage_all(postroom, *(Event("page.content_updated", {"n": n}, lane=f"notion:page:{n}", source="notion") for n in range(2)))
    done, audit, braked, running = await _history(postroom)
    dead = [row["event_id"] for row in await postroom.rows("select event_id from outbox.dead order by event_id") if row["event_id"] != lone]
    group = await postroom.value("select fingerprint from outbox.dead where event_id = $1", dead[0])
    candidate = await handshakes.offer(
        postroom.pool, "notion", sealed=sealer().seal("secret_invented_candidate"), fingerprint="cafe0123", remote="203.0.113.0/24"
    )
    return Invented(confirmed[0], tuple(dead), lone, group, waiting[0], done, running, braked, audit, candidate)


def _appointment(n: int) -> Event:
    """Every third has letters in its phone number."""
    payload = {"appointment": f"A-{900 + n}", "customer": f"c_{n}"} | ({"letters": "ext"} if n % 3 == 2 else {})
    return Event("appointment.confirmed", payload, key=f"A-{900 + n}:confirmed:1", lane=f"appt:A-{900 + n}", source="app")


async def _accounts(postroom: Postroom) -> None:
    """Syncs as a dispatcher writes them down, whom they write to, who sends, and users of Google."""
    pool = postroom.pool
    now = await events.clock(pool)
    async with services(postroom.dsn, SETTINGS) as shared:
        await Schedule(shared, SYNCS).register()
    await destinations.pause(pool, "notion", why="schema change", by="ben")
    seen = sources.Seen("ghl", accepted=1010, duplicates=41, last_accepted_at=now)
    await sources.count(pool, [seen])
    await connections.connect(
        pool, "google:ada", provider="google", account="ada@example.com", sealed=sealer().seal("{}"), expires_in_s=3000, at=now
    )
    async with db.transaction(pool) as connection:
        await google_users.save(connection, "ada", enabled=True, interval_hours=24, now=now, by="ada")
        await google_users.save(connection, "ben", enabled=True, interval_hours=4, now=now, by="ben")
        await google_users.save(connection, "cleo", enabled=False, now=now, by="cleo")


async def _history(postroom: Postroom) -> tuple[int, int, int, int]:
    """Runs: one done with errors, an audit with gaps, one stopped by its brake, one at work. Their events are settled, or wait."""
    read = Numbers(created=3, updated=58, unchanged=4036, errors=2, errors_by={"validation": 2}, calls=42, pages=41, worked_ms=151_000)
    done = await _run(postroom, SWEEPING, "full", read, state=RunState.DONE)
    first = Numbers(created=120, skipped=2, calls=3, pages=2, progress=122, worked_ms=2_100)
    await _run(postroom, google_users.sync_of("ada"), "incremental", first, state=RunState.DONE)
    async with db.transaction(postroom.pool) as connection:
        notes = [Entry("c_91", What.ERROR, Category.VALIDATION, "the phone number has letters"), Entry("c_17", What.CREATED)]
        await runs.log(connection, done, notes)
        audit, now = done + 1, await events.clock(connection)
        await audits.begin(connection, audit, "phorest", now - timedelta(hours=13))
        await audits.gap(connection, audit, "client", "p_204", Gap.NOT_IN_GHL, repair=None)
        await audits.end(connection, audit, {"kinds": {"client": {"here": 4100, "linked": 4099, "refused": 0}}})
    why = "GHL shows 812 of our 4100 contacts no more; more than 205 are marked as deleted only if a person allows it"
    stopped = Numbers(unchanged=3288, calls=42, pages=41, worked_ms=140_000)
    braked = await _run(postroom, SWEEPING, "full", stopped, state=RunState.BRAKED, reason=why)
    await drained(postroom, ROUTES, settings=SETTINGS)
    going = Numbers(updated=71, unchanged=1069, calls=12, pages=11, progress=1140, expected=1800, phase="contacts", worked_ms=11_000)
    return done, audit, braked, await _run(postroom, RUNNING, "incremental", going)


async def _run(
    postroom: Postroom, sync: str, type_: str, numbers: Numbers, *, state: RunState = RunState.RUNNING, reason: str | None = None
) -> int:
    async with db.transaction(postroom.pool) as connection:
        await runs.ask(connection, sync, type_, trigger=Trigger.SCHEDULE)  # or one waits already
        run_id = next(row["id"] for row in await runs.every(connection, sync) if row["ended_at"] is None)
        await runs.begin(connection, run_id)
        await runs.keep(connection, run_id, numbers, state=state, reason=reason)
    return int(run_id)
