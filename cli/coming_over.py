"""The salon and the address book of `postroom up` and `demo`: what is asked for, and what came over from the simulated Phorest and Google.

Their syncs begin by themselves. Asked for, through the operators' API as a person would: a visit of a client who is not in GHL yet, so
that one is repaired, and one user's consent. Nothing of it is asked of a system that is real.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import httpx

from cli import deliver
from cli.errors import Failed
from cli.system import GOOGLE, PHOREST, System
from dispatcher.syncs.phorest import PHOREST_SYNCS
from outbox.db import Pool
from outbox.store import events, google_users, phorest, runs, search
from outbox.store.phorest import Kind, import_of
from outbox.store.search import Wanted
from simulators.samples import DEMO_BRANCH_ID
from simulators.seeds import CLIENT_IDS, STRANGER_ID, STRANGERS_VISIT_ID, VISIT_IDS, stranger

USER: Final = "demo-user"
LOOK_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Salon:
    """Of the clients and visits at Phorest, how many GHL has; why a client cannot be there; repairs of the client who was missing."""

    clients: int
    of_clients: int
    visits: int
    of_visits: int
    warnings: tuple[str, ...]
    repairs: int

    def __str__(self) -> str:
        left = f" (not there: {'; '.join(self.warnings)})" if self.warnings else ""
        repaired = f"{self.repairs} {'repair' if self.repairs == 1 else 'repairs'} of a client whom a visit named"
        return (
            f"{self.clients} of {self.of_clients} clients are contacts{left}, {self.visits} of {self.of_visits} visits booked, {repaired}"
        )


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Of one user's contacts at Google, how many are here, and how many have neither an address nor a number."""

    contacts: int
    of_contacts: int
    without: int

    def __str__(self) -> str:
        return f"{self.contacts} of {self.of_contacts} contacts of {USER} imported, {self.without} without an address or a number"


@dataclass(frozen=True, slots=True)
class CameOver:
    """None: it is real, or nobody may ask for it."""

    salon: Salon | None = None
    address_book: AddressBook | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            PHOREST: None if self.salon is None else asdict(self.salon),
            GOOGLE: None if self.address_book is None else asdict(self.address_book),
        }

    def facts(self) -> dict[str, object]:
        """For people: what there is to say, by system."""
        told = {"Salon": self.salon, "Address book": self.address_book}
        return {name: value for name, value in told.items() if value is not None}


async def bring(system: System, pool: Pool, *, timeout_s: float) -> CameOver:
    """Asks, and waits at most so long; counts what is there by then. Without an operator's token nothing is asked."""
    if system.token is None:
        return CameOver()
    until = time.monotonic() + timeout_s
    async with deliver.client(system.url) as to:
        to.headers["authorization"] = f"Bearer {system.token}"
        if GOOGLE in system.simulators:
            await _consent(to)
        if PHOREST in system.simulators:
            await _holds(lambda: _has_begun(pool), until)
            await _visit(to, system.simulators[PHOREST])
            await _holds(lambda: _is_quiet(pool), until)
        if GOOGLE in system.simulators:
            await _holds(lambda: _has_run(pool, google_users.sync_of(USER)), until)
    return CameOver(
        await _salon(pool) if PHOREST in system.simulators else None,
        await _address_book(pool) if GOOGLE in system.simulators else None,
    )


async def was_here(pool: Pool) -> bool:
    """Whether the salon came over before, in an earlier run on this database. Then the simulators, which forget, lack what is linked."""
    return await phorest.one(pool, Kind.CLIENT, CLIENT_IDS[0]) is not None


async def _consent(to: httpx.AsyncClient) -> None:
    """The simulated consent page consents at once, and sends the browser back to the receiver."""
    path = f"/api/auto-sync/{USER}"
    known = _taken(await to.get(path)).json()
    if known["connection"] != "active":
        link = _taken(await to.post(f"{path}/consent")).json()["consent_url"]
        async with httpx.AsyncClient(trust_env=False, timeout=30, follow_redirects=True) as browser:
            _taken(await browser.get(link))
    if not known["enabled"]:
        _taken(await to.put(path, json={"enabled": True}))


async def _visit(to: httpx.AsyncClient, phorest_url: str) -> None:
    """A client and a visit that are new at Phorest, of which only the visit is asked for."""
    async with deliver.client(phorest_url) as salon:
        for door, document in stranger().items():
            _taken(await salon.post(f"/_sim/{door}", json=document))
    _taken(await to.post(f"/api/phorest/appointments/{STRANGERS_VISIT_ID}/import", json={"branch_id": DEMO_BRANCH_ID}))


async def _holds(is_so: Callable[[], Awaitable[bool]], until: float) -> None:
    while True:
        if await is_so() or time.monotonic() > until:
            return
        await asyncio.sleep(LOOK_EVERY_S)


async def _has_run(pool: Pool, sync: str) -> bool:
    rows = await runs.every(pool, sync, limit=1)
    return bool(rows) and rows[0]["ended_at"] is not None


async def _is_quiet(pool: Pool) -> bool:
    """Nothing is on its way, of whatever kind, as of one moment."""
    now = await events.counts(pool, timeout_s=10)
    return not any(now[where] for where in ("pending", "running", "waiting", "held"))


async def _has_begun(pool: Pool) -> bool:
    """The first run of each sync is over, with all that came of it: only then is a client who comes now new."""
    return all([await _has_run(pool, sync.name) for sync in PHOREST_SYNCS]) and await _is_quiet(pool)


async def _salon(pool: Pool) -> Salon:
    clients = [await phorest.one(pool, Kind.CLIENT, one) for one in (*CLIENT_IDS, STRANGER_ID)]
    visits = [await phorest.one(pool, Kind.APPOINTMENT, one) for one in (*VISIT_IDS, STRANGERS_VISIT_ID)]
    repair = import_of(Kind.CLIENT, STRANGER_ID)
    repairs = await search.find(pool, Wanted(kinds=(repair.kind,), lane=repair.lane), limit=100)
    return Salon(
        clients=sum(row is not None and row["theirs"] is not None for row in clients),
        of_clients=len(clients),
        visits=sum(row is not None and row["theirs"] is not None for row in visits),
        of_visits=len(visits),
        warnings=tuple(row["warning"] for row in clients if row is not None and row["warning"] is not None),
        repairs=len(repairs.rows),
    )


async def _address_book(pool: Pool) -> AddressBook:
    """As the newest run counted them."""
    rows = await runs.every(pool, google_users.sync_of(USER), limit=1)
    if not rows:
        return AddressBook(0, 0, 0)
    [run] = rows
    return AddressBook(run["created"] + run["updated"] + run["unchanged"], run["total"], run["skipped"])


def _taken(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise Failed(f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code}: {answer.text[:300]}")
    return answer
