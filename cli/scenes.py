"""What `postroom up` and `postroom demo` send: signed webhooks of GHL and Notion, good, repeated and bad, and an app's own changes."""

import asyncio
import time

import httpx
from rich.console import Console

from cli import deliver, sample_app
from cli.deliver import Parcel
from cli.errors import Failed
from cli.ledger import ACCEPTED, DUPLICATE, Became, Ledger, became, rows
from cli.output import brief, table
from outbox.db import Pool
from outbox.event import State
from outbox.migrate import check
from simulators import samples
from simulators.seeds import CONTACT_IDS, PAGE_IDS
from simulators.shapes import JsonObject, compact
from simulators.signing import GhlSigner

GHL, NOTION = "ghl", "notion"
LOOK_EVERY_S = 0.1
UNKNOWN_TYPE = "OpportunityStageUpdate"
UNKNOWN_CONTACT = "DemoContactWhoIsGone"


async def ghl_webhooks(to: httpx.AsyncClient, ledger: Ledger) -> None:
    """Two good ones, one of them three times; a contact that is gone; a type that nobody handles; a forged signature."""
    first = _ghl(samples.ghl_contact_event("ContactCreate", samples.ghl_contact(CONTACT_IDS[0])))
    await _send(to, ledger, GHL, "ContactCreate", first, times=3)
    await _send(to, ledger, GHL, "ContactUpdate", _ghl(samples.ghl_contact_event("ContactUpdate", samples.ghl_contact(CONTACT_IDS[1]))))
    gone = samples.ghl_contact_event("ContactDelete", samples.ghl_contact(UNKNOWN_CONTACT))
    await _send(to, ledger, GHL, "ContactDelete of a stranger", _ghl(gone))
    await _send(to, ledger, GHL, f"{UNKNOWN_TYPE}, unknown", _ghl(samples.ghl_event(UNKNOWN_TYPE, {"id": "DemoOpportunity00001"})))
    forged = samples.ghl_contact_event("ContactUpdate", samples.ghl_contact(CONTACT_IDS[2]))
    await _send(to, ledger, GHL, "ContactUpdate, bad signature", _ghl(forged, forged=True))


async def notion_webhooks(to: httpx.AsyncClient, ledger: Ledger) -> None:
    """Two good ones, one of them twice; a forged signature."""
    await _send(to, ledger, NOTION, "page.created", _notion("page.created", PAGE_IDS[0]), times=2)
    await _send(to, ledger, NOTION, "page.content_updated", _notion("page.content_updated", PAGE_IDS[1]))
    await _send(to, ledger, NOTION, "page.deleted, bad signature", _notion("page.deleted", PAGE_IDS[1], forged=True))


async def app_changes(dsn: str, ledger: Ledger) -> str:
    """Staged in SQL, inside the app's own transactions. Returns the key of the one that was rolled back."""
    async with sample_app.connected(dsn) as connection:
        await check(connection)
        await sample_app.stage_requests(connection, ledger)
        rolled_back = await sample_app.roll_back_one(connection)
        await sample_app.change_bookings(connection, ledger)
    return rolled_back


async def settled(pool: Pool, ledger: Ledger, *, timeout_s: float) -> dict[int, Became]:
    """Waits until none of the accepted events is pending, at most so long; then what each is."""
    until = time.monotonic() + timeout_s
    while True:
        found = await became(pool, ledger.ids)
        if all(one.state != State.PENDING for one in found.values()) or time.monotonic() > until:
            return found
        await asyncio.sleep(LOOK_EVERY_S)


def show(console: Console, ledger: Ledger, found: dict[int, Became]) -> None:
    """What was sent and what became of it, as a table."""
    words = {ACCEPTED: "202 accepted", DUPLICATE: "202 duplicate"}
    lines = []
    for row in rows(ledger, found):
        answer = words.get(row["result"], f"{row['status'] or 'no answer'} {row['result']}") if row["source"] != "app" else row["result"]
        lines.append((row["source"], row["what"], answer, row["id"], row["state"], brief(row["why"], chars=60)))
    console.print(table("", ("from", "what", "answer", "event", "became", "why"), lines, narrow=frozenset({"from", "event", "became"})))


def _ghl(event: JsonObject, *, forged: bool = False) -> Parcel:
    return deliver.ghl(compact(event), GhlSigner.for_demo(), forged=forged)


def _notion(event_type: str, page_id: str, *, forged: bool = False) -> Parcel:
    parent = {"type": "data_source_id", "data_source_id": samples.DEMO_DATA_SOURCE_ID, "database_id": samples.DEMO_DATABASE_ID}
    event = samples.notion_page_event(event_type, {"id": page_id, "parent": parent})
    return deliver.notion(compact(event), samples.DEMO_VERIFICATION_TOKEN, forged=forged)


async def _send(to: httpx.AsyncClient, ledger: Ledger, source: str, what: str, parcel: Parcel, *, times: int = 1) -> None:
    for number in range(times):
        answer = ledger.webhook(source, what if number == 0 else f"{what}, again", await deliver.send(to, parcel))
        if answer.status is None:
            raise Failed(f"The receiver did not answer a webhook of {source} ({answer.said}); its log says why.")
