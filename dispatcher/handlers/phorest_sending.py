"""The frame of phase two: one record of Phorest's on its way to GHL, whatever kind it is.

    record as GHL has it ──▶ skipped
    its client not in GHL ──▶ one repair is staged, however many ask; the event snoozes until the repair's commit wakes it
    written, through steps ──▶ link with both hashes, and done, in one commit
    refused: 422 ──▶ skipped     400 ──▶ skipped with a validation warning that names the field, kept at the record

What a kind of record means at GHL is in the modules beside this one.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from dispatcher.clients.ghl import GhlClient
from dispatcher.context import Context
from dispatcher.errors import Gone, Refused
from dispatcher.outcome import Done, Outcome, Settled, Skipped, Snooze
from outbox import db
from outbox.event import Claimed
from outbox.store import contacts, ghl_appointments, links, phorest, phorest_repairs
from outbox.store.contacts import Contact
from outbox.store.ghl_appointments import GhlAppointment
from outbox.store.phorest import Kind, event_for, import_of
from outbox.store.phorest_repairs import WAITS

FIRST_WAIT_S: Final = 5.0  # a repair that was committed just before we wait wakes nobody
LONGEST_WAIT_S: Final = 300.0
NO_CLIENT: Final = "its client is not in GHL"
NOT_SET_UP: Final = "not set up: "  # no fault of the record: the next audit tries again

_FIELD: Final = re.compile(
    r"(?:property )?(?P<field>\w+) (?P<what>should not be empty|is required|must be .*|should not exist)", re.IGNORECASE
)
_EMPTY: Final = ("should not be empty", "is required")


@dataclass(frozen=True, slots=True)
class Sent:
    """What GHL has of a record by now. `made`: we created it; `contact`, `appointment`: as GHL shows it after
    our write, so that its webhook is known as an echo."""

    theirs: str
    destination: str
    result: Mapping[str, object]
    made: bool = False
    their_hash: bytes | None = None
    contact: Contact | None = None
    appointment: GhlAppointment | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A record with its link, as a handler needs it. `theirs`: what GHL calls it; None: not linked."""

    kind: Kind
    id: str
    branch_id: str | None
    client_id: str | None
    merged_to: str | None
    original: Mapping[str, Any]
    content_hash: bytes
    deleted: bool
    warning: str | None
    theirs: str | None
    our_hash: bytes | None
    made: bool
    shared: bool


Send: TypeAlias = Callable[[Claimed, Context, Row], Awaitable[Sent | Outcome]]


@dataclass(frozen=True, slots=True)
class Sender:
    """The handler of one kind of record."""

    kind: Kind
    send: Send

    async def __call__(self, event: Claimed, ctx: Context) -> Outcome | Settled:
        """Bring GHL to what our record of Phorest says."""
        row = await _row(event, ctx, self.kind)
        if row is None:
            return Skipped("the event names no record of Phorest that we have")
        if row.theirs is not None and row.our_hash == row.content_hash and row.warning is None:
            return await self._over(ctx, row, Skipped("GHL has it as it is"))
        try:
            sent = await self.send(event, ctx, row)
        except Refused as problem:
            return await self._over(ctx, row, Skipped(said_of(problem)), refused=said_of(problem))
        except Gone as problem:  # the contact that it is about: when its client is in GHL again, this is sent again
            return await self._over(ctx, row, Skipped(f"{NO_CLIENT}: {problem.message}"), refused=f"{NO_CLIENT}: {problem.message}")
        match sent:
            case Sent():
                return await self._link(event, ctx, row, sent)
            case Skipped():
                is_its_own_fault = row.theirs is None and row.merged_to is None and not sent.reason.startswith(NOT_SET_UP)
                return await self._over(ctx, row, sent, refused=sent.reason if is_its_own_fault else None)
        return sent

    async def _link(self, event: Claimed, ctx: Context, row: Row, sent: Sent) -> Settled:
        async with ctx.transaction() as tx:
            await links.join(
                tx.connection,
                row.kind.link,
                ours=row.id,
                theirs=sent.theirs,
                destination=sent.destination,
                our_hash=row.content_hash,
                their_hash=sent.their_hash,
                made=sent.made,
                event_id=event.id,
            )
            if row.warning is not None:
                await phorest.warn(tx.connection, row.kind, row.id, None)
            if sent.contact is not None:
                await contacts.apply(tx.connection, sent.contact, echo_of=event.id)
            if sent.appointment is not None:
                mirrored = await ghl_appointments.apply(tx.connection, sent.appointment)
                await ghl_appointments.answered(tx.connection, mirrored.appointment_id, sent.appointment, echo_of=event.id)
            if row.kind is Kind.CLIENT:
                await phorest_repairs.done(tx.connection, row.id)
                for kind, identifier in await phorest.blocked(tx.connection, row.id, why=NO_CLIENT):
                    await tx.stage(event_for(kind, identifier))
            return await tx.settle(Done(sent.result))

    async def _over(self, ctx: Context, row: Row, outcome: Skipped, *, refused: str | None = None) -> Settled:
        """Nothing was written. Who waits for a client learns of it."""
        async with ctx.transaction() as tx:
            if refused is not None or row.warning is not None:
                await phorest.warn(tx.connection, row.kind, row.id, refused)
            if row.kind is Kind.CLIENT and refused is not None and row.theirs is None:
                await phorest_repairs.refuse(tx.connection, row.id, refused)
            elif row.kind is Kind.CLIENT:
                await phorest_repairs.done(tx.connection, row.id)
            return await tx.settle(outcome)


async def contact_of(event: Claimed, ctx: Context, row: Row) -> str | Outcome:
    """The GHL contact that a record is about, after all mergers of its client; or how the event goes on without one.

    A client that is not in GHL is repaired once, before all bulk work. The waits are short at first, for the repair's commit may just
    have missed us, and cost no attempt.
    """
    if row.client_id is None:
        return Skipped("it is about no client")
    who = await phorest.client(ctx.services.pool, row.client_id)
    if who.contact_id is not None:
        return who.contact_id
    repair = event_for(Kind.CLIENT, who.client_id) if who.is_known else import_of(Kind.CLIENT, who.client_id)
    asked = await phorest_repairs.known(ctx.services.pool, who.client_id)
    if asked is None:
        async with db.transaction(ctx.services.pool) as connection:
            asked = await phorest_repairs.ask(connection, who.client_id, repair)
    if asked.refused is not None:
        return Skipped(f"{NO_CLIENT}: {asked.refused}")
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(event.attempt - 1, 20))
    return Snooze(wait_s, f"{WAITS}, which #{asked.event_id} brings to GHL" if asked.event_id else f"{WAITS}, which has just come to GHL")


async def default_ghl(ctx: Context) -> GhlClient:
    """Phorest is kept in step with the default location."""
    return await ctx.ghl_for(None)


def said_of(problem: Refused) -> str:
    """A refusal for people: which field is missing or wrong."""
    if problem.status == 422:
        return f"GHL will not take it (422): {'; '.join(problem.details) or problem.message}"
    if problem.duplicate_of is not None:
        return f"validation warning: GHL has it already, as contact {problem.duplicate_of}"
    named = [found for text in (problem.message, *problem.details) for found in _FIELD.finditer(text)]
    faults = [
        f"missing {one['field'].lower()}" if one["what"].lower() in _EMPTY else f"{one['field']} {one['what'].rstrip('.')}" for one in named
    ]
    return f"validation warning: {', '.join(dict.fromkeys(faults)) or '; '.join((problem.message, *problem.details))}"


async def _row(event: Claimed, ctx: Context, kind: Kind) -> Row | None:
    lane = kind.lane("")
    if event.lane is None or not event.lane.startswith(lane):
        return None
    found = await phorest.one(ctx.services.pool, kind, event.lane.removeprefix(lane))
    if found is None:
        return None
    columns = {name: found[name] for name in Row.__slots__ if name not in ("kind", "original", "made", "shared")}
    return Row(kind=kind, original=json.loads(found["original"]), made=bool(found["made"]), shared=bool(found["shared"]), **columns)
