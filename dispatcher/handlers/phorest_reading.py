"""What Phorest shows → records of crm.phorest_*. Pure, and tolerant member by member: an odd value must not lose the record.

A booking is the appointments that share its id; a check-in an appointment whose client has come; loyalty the card of a client.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dispatcher.clients.answer import Json, member, text
from dispatcher.clients.phorest_pages import instant
from outbox.store.phorest import Kind, PhorestRecord

ARRIVED: Final = frozenset({"CHECKED_IN", "ARRIVED", "STARTED", "PAID", "COMPLETED"})
OF_A_VISIT: Final = (
    "appointmentId",
    "serviceName",
    "appointmentDate",
    "startTime",
    "endTime",
    "price",
    "state",
    "activationState",
    "deleted",
)
CARD: Final = frozenset({"loyaltyCard"})


def client(row: Mapping[str, Json]) -> PhorestRecord | None:
    """A client; None: it has no id."""
    return _record(Kind.CLIENT, row, "clientId", merged_to=text(row.get("mergedToClientId")) or None, apart=CARD)


def loyalty(row: Mapping[str, Json]) -> PhorestRecord | None:
    """The loyalty card of a client; None: it has none, or counts nothing."""
    identifier, points = text(row.get("clientId")), member(row.get("loyaltyCard"), "points")
    if not identifier or isinstance(points, bool) or not isinstance(points, int | float):
        return None
    return PhorestRecord(
        Kind.LOYALTY, identifier, {"points": points}, client_id=identifier, version=_version(row), changed_at=instant(row.get("updatedAt"))
    )


def appointment(row: Mapping[str, Json], branch_id: str) -> PhorestRecord | None:
    """An appointment of a branch; None: it has no id."""
    return _record(
        Kind.APPOINTMENT,
        row,
        "appointmentId",
        branch_id=text(row.get("branchId")) or branch_id,
        client_id=text(row.get("clientId")) or None,
        booking_id=text(row.get("bookingId")) or None,
    )


def checkin(visit: PhorestRecord) -> PhorestRecord | None:
    """That the client of an appointment has come; None: not yet, or it was cancelled."""
    if visit.client_id is None or visit.deleted or visit.original.get("activationState") == "CANCELED":
        return None
    if visit.original.get("state") not in ARRIVED:
        return None
    # What changes between arriving and paying is no news of the arrival.
    seen = {name: visit.original.get(name) for name in ("appointmentId", "serviceName", "appointmentDate", "startTime")}
    return PhorestRecord(
        Kind.CHECKIN,
        visit.id,
        seen,
        branch_id=visit.branch_id,
        client_id=visit.client_id,
        version=visit.version,
        changed_at=visit.changed_at,
    )


def booking(booking_id: str, visits: Sequence[Mapping[str, Any]]) -> PhorestRecord:
    """A booking, from its appointments (rows of of_booking, their originals read) in the order of the day."""
    first = visits[0]
    changed = [visit["changed_at"] for visit in visits if visit["changed_at"] is not None]
    shown = [{name: visit["original"].get(name) for name in OF_A_VISIT} for visit in visits]
    return PhorestRecord(
        Kind.BOOKING,
        booking_id,
        {"bookingId": booking_id, "appointments": shown},
        branch_id=first["branch_id"],
        client_id=next((visit["client_id"] for visit in visits if visit["client_id"]), None),
        booking_id=booking_id,
        changed_at=max(changed, default=None),
        deleted=all(visit["deleted"] for visit in visits),
    )


def staff(row: Mapping[str, Json], branch_id: str) -> PhorestRecord | None:
    """A member of a branch's staff; None: it has no id."""
    return _record(Kind.STAFF, row, "staffId", branch_id=text(row.get("branchId")) or branch_id)


def product(row: Mapping[str, Json], branch_id: str) -> PhorestRecord | None:
    """A product of a branch; None: it has no id. Stock and price change by the hour, and are no news of its name."""
    kept = {name: row.get(name) for name in ("productId", "name", "brandName", "categoryName", "archived")}
    return _record(
        Kind.PRODUCT, {**kept, "version": row.get("version"), "updatedAt": row.get("updatedAt")}, "productId", branch_id=branch_id
    )


def _record(kind: Kind, row: Mapping[str, Json], id_name: str, **more: Any) -> PhorestRecord | None:
    identifier = text(row.get(id_name))
    if not identifier or len(identifier) > 200:
        return None
    return PhorestRecord(
        kind,
        identifier,
        row,
        version=_version(row),
        changed_at=instant(row.get("updatedAt")),
        deleted=row.get("deleted") is True,
        **more,
    )


def _version(row: Mapping[str, Json]) -> int | None:
    version = row.get("version")
    return version if isinstance(version, int) and not isinstance(version, bool) and 0 <= version < 2**63 else None
