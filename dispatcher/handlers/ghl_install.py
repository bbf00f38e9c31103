"""Who has our GHL app: consents that came back, INSTALL and UNINSTALL. They keep outbox.connections, and nothing else.

    ghl.oauth.code ─▶ a location: connected
                   └▶ an agency:  ghl.oauth.company ─▶ ghl.oauth.location for each of its locations ─▶ connected
    ghl.INSTALL    ─▶ known, waits for a consent; of a connected agency: ghl.oauth.location
    ghl.UNINSTALL  ─▶ its tokens are forgotten; of an agency: those of its locations, too

A pair commits together with the settlement of the event that brought it. A code counts once: one whose answer was lost needs another
consent, and its dead letter says so.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.clients.accounts import GHL, GhlAccounts
from dispatcher.clients.ghl_models import instant
from dispatcher.clients.ghl_oauth import Granted, company_name, location_name
from dispatcher.context import Context, Transaction
from dispatcher.errors import Refused
from dispatcher.outcome import Dead, Done, Outcome, Settled, Skipped
from dispatcher.syncs import locations
from dispatcher.syncs.ghl_contacts import GHL_CONTACTS
from dispatcher.syncs.ghl_missed import GHL_MISSED
from outbox.errors import ConfigError
from outbox.event import Claimed, Event
from outbox.store import connections

AGAIN = "send the person a new link: `postroom connect ghl`"
WAITS = "installed at GHL, and waits for a consent: `postroom connect ghl`"
UNINSTALLED = "the app was uninstalled at GHL"
OWN_KEY = "installed at GHL; its events go with GHL_API_KEY"
OWN_SYNCS = (GHL_CONTACTS, GHL_MISSED)  # those that each connected location has of its own


class Code(BaseModel):
    """What the receiver stages when a person comes back from GHL's consent page."""

    model_config = ConfigDict(frozen=True)

    sealed: str
    redirect_uri: str
    label: str | None = None


class OfAgency(BaseModel):
    """An agency, or one location of it."""

    model_config = ConfigDict(frozen=True)

    company_id: str = Field(validation_alias="companyId", min_length=1)
    location_id: str = Field("", validation_alias="locationId")


async def consented(event: Claimed, ctx: Context) -> Outcome | Settled:
    """A person consented: the code becomes a token pair, and the location's events flow."""
    accounts, code = _accounts(ctx), Code.model_validate(event.json())
    try:
        granted = await accounts.exchange(code.sealed.encode(), redirect_uri=code.redirect_uri)
    except Refused as problem:
        return Dead(f"GHL does not take the code: {problem.message}; {AGAIN}")
    async with ctx.transaction() as tx:
        name = await accounts.keep(tx.connection, granted, at=event.staged_at, label=code.label)
        await _begin_syncs(tx, accounts, granted, event)
        if not granted.location_id and granted.company_id:
            await _ask_for_locations(tx, granted.company_id, granted.approved_locations)
        return await tx.settle(Done({"connected": name}))


async def company_connected(event: Claimed, ctx: Context) -> Outcome | Settled:
    """An agency consented: each of its locations that has our app gets a token pair of its own."""
    accounts, agency = _accounts(ctx), OfAgency.model_validate(event.json())
    locations = set(await accounts.installed_locations(agency.company_id))
    async with ctx.transaction() as tx:
        known = await connections.of_company(tx.connection, GHL, agency.company_id)
        wanted = sorted(locations - {row["account"] for row in known if row["state"] == "active"})
        for location in wanted:
            await _want(tx, agency.company_id, location)
        return await tx.settle(Done({"locations": len(locations), "wanted": len(wanted)}))


async def location_wanted(event: Claimed, ctx: Context) -> Outcome | Settled:
    """A location of a connected agency gets its token pair from the agency's."""
    accounts, wanted = _accounts(ctx), OfAgency.model_validate(event.json())
    granted = await accounts.of_company(wanted.company_id, wanted.location_id)
    async with ctx.transaction() as tx:
        name = await accounts.keep(tx.connection, granted, at=event.staged_at)
        await _begin_syncs(tx, accounts, granted, event)
        return await tx.settle(Done({"connected": name}))


async def installed(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Our app was installed in a location: it is known from now on, and waits for a consent unless its agency is connected."""
    location, company, payload = _named(event)
    if location is None:
        return Skipped("installed for an agency; its consent connects its locations")
    accounts = ctx.services.accounts
    own_key = accounts is not None and accounts.destination_of(location) == GHL
    async with ctx.transaction() as tx:
        label = payload.get("companyName")
        state = await connections.install(
            tx.connection,
            location_name(location),
            provider=GHL,
            account=location,
            company_id=company,
            label=label[:200] if isinstance(label, str) else None,
            why=OWN_KEY if own_key else WAITS,
            at=_at(event, payload),
        )
        agency = None if company is None or state != "inactive" else await connections.one(tx.connection, company_name(company))
        if company is not None and agency is not None and agency["state"] == "active":
            await _want(tx, company, location)
        return await tx.settle(Done({"location": location, "state": state}))


async def uninstalled(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Our app was removed: the location's tokens are forgotten, and its events are skipped."""
    location, company, payload = _named(event)
    if location is None and company is None:
        return Skipped("it names neither a location nor an agency")
    at = _at(event, payload)
    async with ctx.transaction() as tx:
        names = [] if location is None else [location_name(location)]
        if location is None and company is not None:
            of_company = await connections.of_company(tx.connection, GHL, company)
            names = [company_name(company), *(str(row["destination"]) for row in of_company)]
        ended = [name for name in names if await connections.uninstall(tx.connection, name, at=at, why=UNINSTALLED)]
        for name in ended:
            for sync in OWN_SYNCS:
                await locations.end(tx.connection, sync, name.partition(":")[2], why=UNINSTALLED)
        if not ended:
            return await tx.settle(Skipped("it was not connected, or was connected again since"))
        return await tx.settle(Done({"uninstalled": ended[:20], "connections": len(ended)}))


async def _ask_for_locations(tx: Transaction, company: str, approved: tuple[str, ...]) -> None:
    """Those that the consent names, those whose INSTALL came before it, and whichever GHL lists when it is asked."""
    waiting = [row["account"] for row in await connections.of_company(tx.connection, GHL, company) if row["state"] == "inactive"]
    for location in sorted({*approved, *waiting}):
        await _want(tx, company, location)
    await tx.stage(Event("ghl.oauth.company", {"companyId": company}, lane=f"ghl:company:{company}", source="postroom"))


async def _begin_syncs(tx: Transaction, accounts: GhlAccounts, granted: Granted, event: Claimed) -> None:
    """A location with a consent has syncs of its own; the one that has our key has them already."""
    if granted.location_id and accounts.destination_of(granted.location_id) != GHL:
        for sync in OWN_SYNCS:
            await locations.add(tx.connection, sync, granted.location_id, now=event.staged_at)


async def _want(tx: Transaction, company: str, location: str) -> None:
    lane = f"ghl:location:{location}"  # that of its INSTALL and UNINSTALL
    await tx.stage(Event("ghl.oauth.location", {"companyId": company, "locationId": location}, lane=lane, source="postroom"))


def _accounts(ctx: Context) -> GhlAccounts:
    accounts = ctx.services.accounts
    if accounts is None:
        raise ConfigError("GHL_CLIENT_ID and GHL_CLIENT_SECRET are not set")
    return accounts


def _named(event: Claimed) -> tuple[str | None, str | None, dict[str, Any]]:
    """Location and company of the message, where they are ids, and the message."""
    payload = event.json()
    if not isinstance(payload, dict):
        payload = {}
    location, company = (value if isinstance(value := payload.get(name), str) and value else None for name in ("locationId", "companyId"))
    return location, company, payload


def _at(event: Claimed, payload: dict[str, Any]) -> datetime:
    """When it happened over there, never later than it came in."""
    said = instant(payload.get("timestamp"))
    return min(said, event.staged_at) if said is not None else event.staged_at
