"""What the simulated Phorest knows: one business with branches, clients, appointments, staff and products. In memory.

Owns the documents, their versions and their times. Who may ask is decided elsewhere.
"""

import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulators.samples import DEMO_BRANCH_ID
from simulators.shapes import Clock, JsonObject, iso_ms

_NO_ADDRESS = dict.fromkeys(("streetAddress1", "streetAddress2", "city", "state", "postalCode", "country"))
_CLIENT: Mapping[str, object] = {
    "firstName": "Ada",
    "lastName": "Example",
    **dict.fromkeys(("mobile", "linkedClientMobile", "landLine", "email", "birthDate", "clientSince", "gender", "notes")),
    "address": _NO_ADDRESS,
    **dict.fromkeys(("smsMarketingConsent", "emailMarketingConsent", "smsReminderConsent", "emailReminderConsent"), False),
    **dict.fromkeys(("preferredStaffId", "externalId", "mergedToClientId", "firstVisit", "lastVisit", "photoUrl")),
    "creatingBranchId": DEMO_BRANCH_ID,
    **dict.fromkeys(("archived", "banned", "deleted"), False),
    "clientCategoryIds": [],
    "creditAccount": {"outstandingBalance": 0, "creditDays": 0, "creditLimit": 0},
    "loyaltyCard": {"serial": None, "points": 0},
}
_APPOINTMENT: Mapping[str, object] = {
    **dict.fromkeys(("bookingId", "clientId", "staffId", "serviceId", "roomId", "machineId")),
    "serviceName": "Cut & finish",
    "appointmentDate": "2026-11-02",
    "startTime": "10:00:00.000",
    "endTime": "10:45:00.000",
    "price": 55.0,
    "depositAmount": 0,
    "depositDateTime": None,
    **dict.fromkeys(("confirmed", "staffRequest", "preferredStaff", "deleted"), False),
    "state": "BOOKED",
    "activationState": "ACTIVE",
    "source": "PHOREST",
    **dict.fromkeys(("groupBookingId", "purchasingBranchId", "waitingListDateTime", "notes")),
}
_STAFF: Mapping[str, object] = {
    "firstName": "Sam",
    "lastName": "Example",
    "email": None,
    "mobile": None,
    "staffCategoryName": "Stylist",
    "archived": False,
}
_PRODUCT: Mapping[str, object] = {"name": "Shampoo", "price": 18.0, "brandName": None, "categoryName": "Retail", "archived": False}
# collection -> (name of the id, what a document has that nobody gave)
SHAPES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "clients": ("clientId", _CLIENT),
    "appointments": ("appointmentId", _APPOINTMENT),
    "staffs": ("staffId", _STAFF),
    "products": ("productId", _PRODUCT),
}


@dataclass(slots=True)
class PhorestStore:
    """Documents by id and collection; those of a branch carry its branchId."""

    clock: Clock
    rng: random.Random
    branches: dict[str, str] = field(default_factory=lambda: {DEMO_BRANCH_ID: "Example Salon"})
    documents: dict[str, dict[str, JsonObject]] = field(default_factory=lambda: {name: {} for name in SHAPES})

    def new_id(self) -> str:
        """22 characters of base64url, as Phorest's."""
        return base64.urlsafe_b64encode(self.rng.randbytes(16)).decode().rstrip("=")

    def put(self, collection: str, document_id: str | None, fields: Mapping[str, object]) -> JsonObject:
        """Create or change a document: its version and its time of change move on. ValueError for a member that it has not."""
        id_name, shape = SHAPES[collection]
        extra = {"branchId": DEMO_BRANCH_ID} if collection != "clients" else {}
        unknown = fields.keys() - shape.keys() - extra.keys()
        if unknown:
            raise ValueError(f"no such members of {collection}: {', '.join(sorted(unknown))}")
        document_id = document_id or self.new_id()
        now = iso_ms(self.clock())
        known = self.documents[collection].get(document_id) or {id_name: document_id, "version": 0, **shape, **extra, "createdAt": now}
        self.documents[collection][document_id] = {**known, **fields, "version": known["version"] + 1, "updatedAt": now}
        return self.documents[collection][document_id]

    def rows(self, collection: str, branch_id: str | None = None) -> list[JsonObject]:
        """In the order of their making."""
        return [one for one in self.documents[collection].values() if branch_id is None or one["branchId"] == branch_id]
