"""What an endpoint of the simulated GHL is given, and the form of the table that lists the endpoints.

An endpoint is a plain function from a call to the body of its answer; it raises Refusal for any other answer. No I/O, no headers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from simulators.effects import Effects
from simulators.ghl_rules import Dto, Grant, Refusal, Scope
from simulators.ghl_store import GhlStore
from simulators.shapes import JsonObject


class Changed(Protocol):
    """Tells the simulator that the API changed a document, so that it may raise the webhook of that name."""

    def __call__(self, event_type: str, document: JsonObject) -> None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed token, version, scope, limits and the check of its body."""

    store: GhlStore
    effects: Effects
    changed: Changed
    grant: Grant
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: JsonObject
    is_v3: bool
    allows_duplicates: bool

    def contact(self, contact_id: str | None = None) -> JsonObject:
        """The contact of the path, or the one named; GHL answers 400, not 404, for one that does not exist."""
        contact_id = contact_id or self.path["contact_id"]
        contact = self.store.contacts.get(contact_id)
        if contact is None:
            raise Refusal(400, f"Contact with id {contact_id} not found")
        self.grant.check_location(contact["locationId"])
        return contact


Endpoint: TypeAlias = Callable[[Call], JsonObject]


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the API: `dto` None means that no body is read."""

    method: str
    path: str
    scope: Scope
    endpoint: Endpoint
    dto: Dto | None = None
    status: int = 200

    @property
    def is_calendar(self) -> bool:
        return self.path.startswith("/calendars/")
