"""GoHighLevel for one location: contacts, tags, notes, tasks, custom fields here, calendars and opportunities in the files beside it.

Every method is one call (or says so). Retries nothing and knows no event: markers, look-ups and repeats belong to the step that
calls. Failures are dispatcher.errors.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from dispatcher.clients.answer import Json, items, member, text
from dispatcher.clients.ghl_calendars import CalendarCalls
from dispatcher.clients.ghl_calls import CONTACTS_VERSION, LOCATIONS_VERSION, NOTES_VERSION, TASKS_VERSION, given, iso_utc
from dispatcher.clients.ghl_fields import FieldBook
from dispatcher.clients.ghl_models import ContactWrite, GhlContact, GhlCustomField, GhlNote, GhlTask
from dispatcher.clients.ghl_opportunities import OpportunityCalls
from dispatcher.clients.ghl_tags import TagCalls
from dispatcher.clients.http import Http
from dispatcher.errors import Failed, Refused

MAX_PAGE_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class ContactPage:
    """`search_after`: give it to the next search; None = this was the end. `unreadable`: so many were none that could be read."""

    contacts: tuple[GhlContact, ...]
    total: int | None
    search_after: tuple[JsonValue, ...] | None
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Upserted:
    contact: GhlContact
    is_new: bool


class GhlClient(CalendarCalls, OpportunityCalls, TagCalls):
    """`urgency` of every call: 0 = live, 1 = bulk; for_bulk() is the same client at the end of the queue."""

    def __init__(self, http: Http, location_id: str, *, urgency: int = 0, fields: FieldBook | None = None) -> None:
        super().__init__(http, location_id, urgency=urgency)
        self._fields = fields or FieldBook(self._load_custom_fields)

    def for_bulk(self) -> "GhlClient":
        """This client for syncs and repairs; it shares the pool, the budget and the known custom fields."""
        return GhlClient(self._http, self.location_id, urgency=1, fields=self._fields)

    async def get_contact(self, contact_id: str) -> GhlContact:
        """The contact; Gone when it was deleted (GHL says 400, not 404)."""
        answer = await self._call("GET", CONTACTS_VERSION, "contacts", contact_id)
        return self._read(GhlContact, member(answer, "contact"))

    async def search_contacts_changed(
        self, since: datetime, until: datetime, *, search_after: Sequence[JsonValue] | None = None, page_limit: int = 100
    ) -> ContactPage:
        """Contacts with since <= dateUpdated <= until, oldest change first.

        Contacts that change while you page come again at the end: seen twice, never lost. The index lags by seconds, and deleted
        contacts never appear: overlap the windows, and learn of deletions otherwise.
        """
        span = {"gte": iso_utc(since), "lte": iso_utc(until)}
        changed: dict[str, object] = {"filters": [{"field": "dateUpdated", "operator": "range", "value": span}]}
        return await self._search("dateUpdated", changed, search_after=search_after, page_limit=page_limit)

    async def search_contacts(self, *, search_after: Sequence[JsonValue] | None = None, page_limit: int = 100) -> ContactPage:
        """All contacts, in the order in which they were added, which no change disturbs: each that stays is met exactly once."""
        return await self._search("dateAdded", {}, search_after=search_after, page_limit=page_limit)

    async def _search(
        self, order: str, filters: dict[str, object], *, search_after: Sequence[JsonValue] | None, page_limit: int
    ) -> ContactPage:
        body: dict[str, object] = {
            "locationId": self.location_id,
            "pageLimit": min(max(1, page_limit), MAX_PAGE_LIMIT),
            "sort": [{"field": order, "direction": "asc"}],
            **filters,
        }
        if search_after is not None:
            body["searchAfter"] = list(search_after)
        answer = await self._call("POST", CONTACTS_VERSION, "contacts", "search", json=body)
        return self._page(answer)

    def _page(self, answer: Json) -> ContactPage:
        """One contact that cannot be read does not stand in the way of the others."""
        listed = member(answer, "contacts")
        if not isinstance(listed, list):
            raise Failed(self._http.destination, "the answer has no list of contacts")
        contacts: list[GhlContact] = []
        for item in listed:
            with suppress(Failed):
                contacts.append(self._read(GhlContact, item))
        onward = items(member(listed[-1], "searchAfter")) if listed else []
        if listed and not onward:
            raise Failed(self._http.destination, "the search result does not say where its next page begins")
        total = member(answer, "total")
        return ContactPage(
            tuple(contacts), total if isinstance(total, int) else None, tuple(onward) if listed else None, len(listed) - len(contacts)
        )

    async def contacts_from(self, source: str) -> tuple[GhlContact, ...]:
        """The contacts with exactly this source, at most a hundred. The index lags by seconds."""
        made: dict[str, object] = {"filters": [{"field": "source", "operator": "eq", "value": source}]}
        return (await self._search("dateAdded", made, search_after=None, page_limit=100)).contacts

    async def create_contact(self, write: ContactWrite) -> GhlContact:
        """Creates the contact. Refused with duplicate_of when the location has one with its e-mail or phone and allows no duplicates."""
        body = {**await self._contact_body(write), "locationId": self.location_id}
        return self._read(GhlContact, member(await self._call("POST", CONTACTS_VERSION, "contacts", json=body, end="/"), "contact"))

    async def upsert_contact(self, write: ContactWrite) -> Upserted:
        """Creates the contact or updates the one with the same e-mail or phone, as the location's duplicate setting says.

        The one create that may be repeated. An address that is only a secondary e-mail of a contact replaces its primary one.
        """
        body = {**await self._contact_body(write), "locationId": self.location_id}
        answer = await self._call("POST", CONTACTS_VERSION, "contacts", "upsert", json=body)
        contact = self._read(GhlContact, member(answer, "contact"))
        return Upserted(contact, member(answer, "new") is True)

    async def update_contact(self, contact_id: str, write: ContactWrite) -> GhlContact:
        """Sets the given fields, leaves all others and the tags alone."""
        body = await self._contact_body(write)
        answer = await self._call("PUT", CONTACTS_VERSION, "contacts", contact_id, json=body)
        return self._read(GhlContact, member(answer, "contact"))

    async def delete_contact(self, contact_id: str) -> None:
        """Deletes the contact with its notes and tasks; Gone when it was not there (GHL says 400, not 404)."""
        await self._call("DELETE", CONTACTS_VERSION, "contacts", contact_id)

    async def add_tags(self, contact_id: str, tags: Sequence[str]) -> tuple[str, ...]:
        """Adds tags, keeps the others; may be repeated. Returns what GHL lists in its answer."""
        return await self._tags("POST", contact_id, tags)

    async def remove_tags(self, contact_id: str, tags: Sequence[str]) -> tuple[str, ...]:
        """Removes tags, keeps the others; may be repeated. Returns what GHL lists in its answer."""
        return await self._tags("DELETE", contact_id, tags)

    async def _tags(self, method: str, contact_id: str, tags: Sequence[str]) -> tuple[str, ...]:
        if not tags:
            raise ValueError("name at least one tag")
        answer = await self._call(method, CONTACTS_VERSION, "contacts", contact_id, "tags", json={"tags": list(tags)})
        return tuple(text(tag) for tag in items(member(answer, "tags")))

    async def list_notes(self, contact_id: str) -> tuple[GhlNote, ...]:
        """All notes of the contact."""
        answer = await self._call("GET", NOTES_VERSION, "contacts", contact_id, "notes")
        return self._read_all(GhlNote, answer, "notes")

    async def create_note(self, contact_id: str, body: str, *, title: str | None = None, user_id: str | None = None) -> GhlNote:
        """Writes a note. Not idempotent: after a lost answer look for the marker in list_notes()."""
        json = given(body=body, title=title, userId=user_id)
        answer = await self._call("POST", NOTES_VERSION, "contacts", contact_id, "notes", json=json)
        return self._read(GhlNote, member(answer, "note"))

    async def update_note(self, contact_id: str, note_id: str, body: str) -> GhlNote:
        """Rewrites a note; may be repeated. Gone when it was deleted."""
        answer = await self._call("PUT", NOTES_VERSION, "contacts", contact_id, "notes", note_id, json={"body": body})
        return self._read(GhlNote, member(answer, "note"))

    async def delete_note(self, contact_id: str, note_id: str) -> None:
        """Deletes a note; Gone when it, or its contact, was not there."""
        await self._call("DELETE", NOTES_VERSION, "contacts", contact_id, "notes", note_id)

    async def list_tasks(self, contact_id: str) -> tuple[GhlTask, ...]:
        """All tasks of the contact, open and completed."""
        answer = await self._call("GET", TASKS_VERSION, "contacts", contact_id, "tasks")
        return self._read_all(GhlTask, answer, "tasks")

    async def create_task(
        self,
        contact_id: str,
        title: str,
        *,
        due_at: datetime,
        body: str | None = None,
        assigned_to: str | None = None,
        completed: bool = False,
    ) -> GhlTask:
        """Writes a task. Not idempotent: after a lost answer look for the marker in list_tasks()."""
        json = given(title=title, dueDate=iso_utc(due_at), completed=completed, body=body, assignedTo=assigned_to)
        answer = await self._call("POST", TASKS_VERSION, "contacts", contact_id, "tasks", json=json)
        return self._read(GhlTask, member(answer, "task"))

    async def custom_fields(self) -> tuple[GhlCustomField, ...]:
        """The custom fields of contacts at this location; at most an hour old, usually without a call."""
        return await self._fields.all()

    async def custom_field(self, name: str) -> GhlCustomField | None:
        """The field with this id or key; asks GHL again when it is unknown. None = the location has none such."""
        return await self._fields.find(name)

    async def _load_custom_fields(self) -> tuple[GhlCustomField, ...]:
        answer = await self._call("GET", LOCATIONS_VERSION, "locations", self.location_id, "customFields", params={"model": "contact"})
        return self._read_all(GhlCustomField, answer, "customFields")

    async def _contact_body(self, write: ContactWrite) -> dict[str, object]:
        """The members of a contact, custom fields by id: the published schema demands ids, whatever its text says about keys."""
        fields = [{"id": await self._field_id(name), "field_value": value} for name, value in write.custom_fields.items()]
        return {**write.body(), **({"customFields": fields} if fields else {})}

    async def _field_id(self, name: str) -> str:
        field = await self._fields.find(name)
        if field is None:
            raise Refused(self._http.destination, "the location has no such custom field; create it there", details=(name,))
        return field.id
