"""A contact in Google's shape, from plain values. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from simulators.shapes import JsonObject, iso_ms


@dataclass(frozen=True, slots=True)
class Values:
    """What a person typed. `phones` are pairs of what was typed and its E.164 form; None: Google made none of it."""

    given: str | None = None
    family: str | None = None
    emails: Sequence[str] = ()
    phones: Sequence[tuple[str, str | None]] = ()
    company: str | None = None
    title: str | None = None
    groups: Sequence[str] = ("myContacts",)

    def changed(self, given: Mapping[str, Any]) -> "Values":
        """With these values instead. ValueError for a name that there is not."""
        known = {one.name for one in fields(self)}
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"no such value: {unknown[0]}; there are {', '.join(sorted(known))}")
        return replace(self, **given)


def google_person(resource_name: str, values: Values, *, etag: str, at: datetime) -> JsonObject:
    """The document as connections.list shows it when all fields are asked for; fields without a value are left out."""
    source = {"type": "CONTACT", "id": source_id(resource_name)}
    names = [name for name in (values.given, values.family) if name]
    typed = {"givenName": values.given, "familyName": values.family, "displayName": " ".join(names)}
    work = {"name": values.company, "title": values.title}
    found: JsonObject = {
        "names": [_said(typed)] if names else [],
        "emailAddresses": [_said({"value": value, "type": "home"}) for value in values.emails],
        "phoneNumbers": [_said({"value": value, "canonicalForm": e164, "type": "mobile"}) for value, e164 in values.phones],
        "organizations": [_said(work)] if any(work.values()) else [],
        "memberships": [
            {"contactGroupMembership": {"contactGroupId": group, "contactGroupResourceName": f"contactGroups/{group}"}}
            for group in values.groups
        ],
    }
    document: JsonObject = {
        "resourceName": resource_name,
        "etag": etag,
        "metadata": {"sources": [{**source, "etag": f"#{etag}", "updateTime": iso_ms(at)}], "objectType": "PERSON"},
    }
    for name, entries in found.items():
        if entries:
            document[name] = [
                {"metadata": {**({"primary": True} if number == 0 else {}), "source": source}, **entry}
                for number, entry in enumerate(entries)
            ]
    return document


def google_tombstone(resource_name: str, *, etag: str) -> JsonObject:
    """What is left of a deleted contact."""
    sources = [{"type": "CONTACT", "id": source_id(resource_name)}]
    return {"resourceName": resource_name, "etag": etag, "metadata": {"sources": sources, "deleted": True, "objectType": "PERSON"}}


def source_id(resource_name: str) -> str:
    """Twelve hex digits that follow from the name."""
    digits = "".join(letter for letter in resource_name if letter.isdigit())
    return f"{int(digits or '0') & 0xFFFF_FFFF_FFFF:012x}"


def _said(entry: Mapping[str, Any]) -> JsonObject:
    return {name: value for name, value in entry.items() if value is not None}
