"""Google's People API for one user: their own contacts, page by page, whole or only what changed. Reads only; retries nothing.

Every call of a walk has the same parameters: Google binds its tokens to them. `PARAMETERS` names them in one word, to be kept with
a sync token; one that was made with others is of no use.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dispatcher.clients.answer import Json, items, member, text
from dispatcher.clients.ghl_models import instant
from dispatcher.clients.http import Http
from dispatcher.errors import Failed

# `metadata` has what is deleted, renamed and how old it is. Profiles are left out: only what the user keeps as a contact is meant.
ASKED: Final[dict[str, str | int]] = {
    "personFields": "metadata,names,emailAddresses,phoneNumbers,organizations,memberships",
    "sources": "READ_SOURCE_TYPE_CONTACT",
    "pageSize": 500,
    "requestSyncToken": "true",
}
PARAMETERS: Final = hashlib.sha256(json.dumps(ASKED, sort_keys=True).encode()).hexdigest()[:16]
MOST_VALUES: Final = 50  # e-mail addresses, numbers or groups of one contact


@dataclass(frozen=True, slots=True)
class GooglePerson:
    """A contact as a list shows it. `is_deleted`: a tombstone, with nothing but its name. `was`: names that it had before."""

    resource_name: str
    is_deleted: bool = False
    was: tuple[str, ...] = ()
    display_name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    company: str | None = None
    title: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ConnectionsPage:
    """`next_page` None: it is the last one, and has the sync token. `total` None: Google did not say how many there are."""

    people: tuple[GooglePerson, ...]
    next_page: str | None
    sync_token: str | None
    total: int | None


class GooglePeople:
    """Calls with one user's token. `urgency`: always bulk; nobody waits for a sync."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @property
    def destination(self) -> str:
        """Under which name this user's calls fail, wait and are counted."""
        return self._http.destination

    async def connections(self, *, sync_token: str | None = None, page_token: str | None = None) -> ConnectionsPage:
        """One page: of all contacts, or with a sync token of what changed since. Raises Expired when that token is too old.

        A page token belongs to the walk that gave it, with the same sync token.
        """
        params = {**ASKED, **({"syncToken": sync_token} if sync_token else {}), **({"pageToken": page_token} if page_token else {})}
        path = self._http.path("v1", "people", "me", "connections")
        answer = await self._http.call("GET", path, params=params, urgency=1)
        if not isinstance(answer, dict) or not isinstance(answer.get("connections", []), list):
            raise Failed(self.destination, "the answer has no list of connections")
        next_page, token, total = text(answer.get("nextPageToken")), text(answer.get("nextSyncToken")), answer.get("totalItems")
        if not next_page and not token:
            raise Failed(self.destination, "the last page has no sync token")
        people = tuple(self._read(person) for person in items(answer.get("connections")))
        return ConnectionsPage(people, next_page or None, token or None, total if isinstance(total, int) else None)

    async def one(self) -> None:
        """Asks for one contact, outside any walk: whether this user's contacts can be read."""
        path = self._http.path("v1", "people", "me", "connections")
        await self._http.call("GET", path, params={"personFields": "metadata", "sources": ASKED["sources"], "pageSize": 1})

    def _read(self, person: Json) -> GooglePerson:
        resource_name = text(member(person, "resourceName"))
        if not resource_name:
            raise Failed(self.destination, "a contact has no resource name")
        metadata, name, work = member(person, "metadata"), _main(member(person, "names")), _main(member(person, "organizations"))
        return GooglePerson(
            resource_name,
            is_deleted=member(metadata, "deleted") is True,
            was=_each(text(item) for item in items(member(metadata, "previousResourceNames"))),
            display_name=_said(name, "displayName"),
            given_name=_said(name, "givenName"),
            family_name=_said(name, "familyName"),
            company=_said(work, "name"),
            title=_said(work, "title"),
            emails=_each(text(member(item, "value")).strip().lower() for item in items(member(person, "emailAddresses"))),
            phones=_each(_number(item) for item in items(member(person, "phoneNumbers"))),
            groups=_each(
                text(member(item, "contactGroupMembership", "contactGroupResourceName")) for item in items(member(person, "memberships"))
            ),
            changed_at=_changed_at(metadata),
        )


def _main(entries: Json) -> Json:
    """The primary one of several, else the first."""
    listed = items(entries)
    return next((entry for entry in listed if member(entry, "metadata", "primary") is True), listed[0] if listed else None)


def _said(entry: Json, name: str) -> str | None:
    return text(member(entry, name)).strip() or None


def _number(entry: Json) -> str:
    """E.164 where Google made that of it, else as it was typed."""
    return text(member(entry, "canonicalForm")) or text(member(entry, "value")).strip()


def _each(values: Iterable[str]) -> tuple[str, ...]:
    """Each value once, in their order."""
    return tuple(dict.fromkeys(value for value in values if value))[:MOST_VALUES]


def _changed_at(metadata: Json) -> datetime | None:
    """The newest of its sources."""
    times = [at for source in items(member(metadata, "sources")) if (at := instant(member(source, "updateTime"))) is not None]
    return max(times, default=None)
