"""The contacts of the simulated Google accounts, what changed since when, and the tokens that point into it.

A walk shows the contacts as they were at its first call; what changes meanwhile comes with the sync token that it ends with.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from simulators.google_person import Values, google_person, google_tombstone
from simulators.google_rules import SYNC_TOKEN_DAYS, Bound, expired_sync_token, refusal, unmatched
from simulators.shapes import Clock, JsonObject


@dataclass(frozen=True, slots=True)
class Person:
    """A contact as of its change number `changed`. `was`: its former names."""

    values: Values
    document: JsonObject
    changed: int
    is_deleted: bool = False
    was: tuple[str, ...] = ()


@dataclass(slots=True)
class Book:
    """The contacts of one account, by resource name; deleted ones stay as tombstones."""

    people: dict[str, Person] = field(default_factory=dict)
    changes: int = 0


@dataclass(frozen=True, slots=True)
class _Walk:
    """A list under way, or ended: what it shows, and what the sync token at its end stands for."""

    account: str
    bound: Bound
    people: Sequence[Person]
    next_since: int
    full_at: datetime
    is_full: bool


_Page: TypeAlias = tuple[_Walk, int]


class GoogleStore:
    """One for each simulator."""

    def __init__(self, *, clock: Clock, rng: random.Random) -> None:
        self._clock, self._rng = clock, rng
        self.books: dict[str, Book] = {}
        self._sync_tokens: dict[str, _Walk] = {}
        self._page_tokens: dict[str, _Page] = {}

    def book(self, account: str) -> Book:
        return self.books.setdefault(account, Book())

    def put(self, account: str, resource_name: str | None, given: Mapping[str, Any]) -> JsonObject:
        """Create or change a contact. ValueError for a value that there is not."""
        name = resource_name or self._new_name()
        known = self.book(account).people.get(name)
        values = (known.values if known is not None and not known.is_deleted else Values()).changed(given)
        document = google_person(name, values, etag=self._etag(), at=self._clock())
        self._keep(account, name, Person(values, document, 0, was=known.was if known else ()))
        return document

    def remove(self, account: str, resource_name: str) -> None:
        """Deleted: those who sync are told. KeyError when there is none."""
        known = self.book(account).people[resource_name]
        self._keep(account, resource_name, Person(Values(), google_tombstone(resource_name, etag=self._etag()), 0, True, known.was))

    def rename(self, account: str, resource_name: str) -> str:
        """Google gives it another name, as when a contact is linked with a profile. KeyError when there is none."""
        name, known = self._new_name(), self.book(account).people.pop(resource_name)
        document = google_person(name, known.values, etag=self._etag(), at=self._clock())
        self._keep(account, name, Person(known.values, document, 0, was=(*known.was, resource_name)))
        return name

    def list(self, account: str, bound: Bound, *, page_size: int, page_token: str | None, sync_token: str | None) -> JsonObject:
        """One page, with whole documents: which fields are shown is another's affair. Raises Refusal."""
        walk, begin = (self._begin(account, bound, sync_token), 0) if page_token is None else self._page(account, bound, page_token)
        shown, end = walk.people[begin : begin + page_size], begin + page_size
        answer: JsonObject = {"connections": [_shown(person, walk) for person in shown]} if shown else {}
        if walk.is_full:
            answer |= {"totalPeople": len(walk.people), "totalItems": len(walk.people)}
        if end < len(walk.people):
            answer["nextPageToken"] = token = self._token("page")
            self._page_tokens[token] = (walk, end)
        elif dict(bound).get("requestSyncToken") == "true":
            answer["nextSyncToken"] = token = self._token("sync")
            self._sync_tokens[token] = walk
        return answer

    def _begin(self, account: str, bound: Bound, sync_token: str | None) -> _Walk:
        book, now = self.book(account), self._clock()
        people = sorted(book.people.values(), key=lambda person: person.changed)
        if sync_token is None:
            return _Walk(account, bound, [person for person in people if not person.is_deleted], book.changes, now, True)
        ended = self._sync_tokens.get(sync_token)
        if ended is None or ended.account != account:
            raise refusal(400, "Sync token is invalid.")
        self._check(ended, bound, "sync")
        return _Walk(account, bound, [person for person in people if person.changed > ended.next_since], book.changes, ended.full_at, False)

    def _page(self, account: str, bound: Bound, page_token: str) -> _Page:
        walk, begin = self._page_tokens.get(page_token, (None, 0))
        if walk is None or walk.account != account:
            raise refusal(400, "Page token is invalid.")
        self._check(walk, bound, "page")
        return walk, begin

    def _check(self, walk: _Walk, bound: Bound, token: str) -> None:
        if self._clock() - walk.full_at > timedelta(days=SYNC_TOKEN_DAYS):
            raise expired_sync_token()
        if walk.bound != bound:
            raise unmatched(token)

    def _keep(self, account: str, name: str, person: Person) -> None:
        book = self.book(account)
        book.changes += 1
        book.people[name] = Person(person.values, person.document, book.changes, person.is_deleted, person.was)

    def _new_name(self) -> str:
        return f"people/c{self._rng.randrange(10**18, 9 * 10**18)}"

    def _etag(self) -> str:
        return f"%E{self._rng.getrandbits(48):012x}="

    def _token(self, word: str) -> str:
        return f"{word}-{self._rng.getrandbits(96):024x}"


def _shown(person: Person, walk: _Walk) -> JsonObject:
    """Former names are told only to those who sync."""
    if walk.is_full or not person.was:
        return person.document
    return {**person.document, "metadata": {**person.document["metadata"], "previousResourceNames": list(person.was)}}
