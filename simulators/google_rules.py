"""Google's rules for a request, and its refusals in its words. Pure.

Sources: the discovery document of People v1 and its descriptions; the error bodies as people reported them. Plausible only: the
texts for a page token, a sync token that is none, and for parameters that do not match.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from starlette.datastructures import QueryParams

from simulators.shapes import JsonObject

Bound: TypeAlias = tuple[tuple[str, str], ...]

CONTACTS_SCOPE: Final = "https://www.googleapis.com/auth/contacts"
CONTACTS_READONLY_SCOPE: Final = "https://www.googleapis.com/auth/contacts.readonly"
MAX_PAGE_SIZE: Final = 1000
DEFAULT_PAGE_SIZE: Final = 100
SYNC_TOKEN_DAYS: Final = 7

PERSON_FIELDS: Final = frozenset(
    [
        "addresses",
        "ageRanges",
        "biographies",
        "birthdays",
        "calendarUrls",
        "clientData",
        "coverPhotos",
        "emailAddresses",
        "events",
        "externalIds",
        "genders",
        "imClients",
        "interests",
        "locales",
        "locations",
        "memberships",
        "metadata",
        "miscKeywords",
        "names",
        "nicknames",
        "occupations",
        "organizations",
        "phoneNumbers",
        "photos",
        "relations",
        "sipAddresses",
        "skills",
        "urls",
        "userDefined",
    ]
)
SORT_ORDERS: Final = ("LAST_MODIFIED_ASCENDING", "LAST_MODIFIED_DESCENDING", "FIRST_NAME_ASCENDING", "LAST_NAME_ASCENDING")
SOURCES: Final = tuple(f"READ_SOURCE_TYPE_{name}" for name in ("UNSPECIFIED", "PROFILE", "CONTACT", "DOMAIN_CONTACT", "OTHER_CONTACT"))
STATUS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "Request had insufficient authentication scopes."),
    404: ("NOT_FOUND", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    500: ("INTERNAL", "Internal error encountered."),
    503: ("UNAVAILABLE", "The service is currently unavailable."),
    504: ("DEADLINE_EXCEEDED", "The request timed out."),
}


class Refusal(Exception):
    """An error answer, in the envelope of Google's APIs, or in that of its token endpoint."""

    def __init__(self, status: int, body: JsonObject) -> None:
        super().__init__(f"{status}")
        self.status, self.body = status, body


def refusal(status: int, message: str | None = None, *, name: str | None = None, details: JsonObject | None = None) -> Refusal:
    """One of the People API; what is not said is what goes with the status."""
    usual_name, usual = STATUS.get(status, ("UNKNOWN", "Unknown error."))
    error: JsonObject = {"code": status, "message": message or usual, "status": name or usual_name}
    return Refusal(status, {"error": error | ({"details": [details]} if details else {})})


def expired_sync_token() -> Refusal:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "EXPIRED_SYNC_TOKEN", "domain": "people.googleapis.com"}
    text = "Sync token is expired. Clear local cache and retry call without the sync token."
    return refusal(400, text, name="FAILED_PRECONDITION", details=info)


def too_many_reads() -> Refusal:
    metric = "Critical read requests (Contact and Profile Reads)"
    text = f"Quota exceeded for quota metric '{metric}' and limit '{metric} per minute per user' of service 'people.googleapis.com'"
    return refusal(429, f"{text} for consumer 'project_number:000000000000'.")


def too_many_full_syncs() -> Refusal:
    violation = {"subject": "QUOTA_EXCEEDED", "description": "FBS quota limit exceeded"}
    return refusal(429, details={"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})


def granted_wrong(error: str, description: str, status: int = 400) -> Refusal:
    """One of the token endpoint."""
    return Refusal(status, {"error": error, "error_description": description})


def fields_of(query: QueryParams) -> tuple[str, ...]:
    """The person fields that are asked for. They are required, and all must exist."""
    asked = tuple(name for name in query.get("personFields", "").split(",") if name)
    if not asked:
        raise refusal(400, "personFields mask is required. Please specify one or more valid paths.")
    if unknown := [name for name in asked if name not in PERSON_FIELDS]:
        raise refusal(400, f'Invalid personFields mask path: "{unknown[0]}".')
    return asked


def page_size_of(query: QueryParams) -> int:
    text = query.get("pageSize", "0")
    if not text.isdecimal() or int(text) > MAX_PAGE_SIZE:
        raise refusal(400, f"Page size must be between 1 and {MAX_PAGE_SIZE}.")
    return int(text) or DEFAULT_PAGE_SIZE


def check_words(query: QueryParams) -> None:
    """The parameters that have a closed set of values."""
    if query.get("sortOrder", SORT_ORDERS[0]) not in SORT_ORDERS:
        raise refusal(400, f"Invalid value at 'sort_order' (type.googleapis.com/google.people.v1.SortOrder), \"{query['sortOrder']}\"")
    if unknown := [source for source in query.getlist("sources") if source not in SOURCES]:
        raise refusal(400, f"Invalid value at 'sources' (type.googleapis.com/google.people.v1.ReadSourceType), \"{unknown[0]}\"")


def unmatched(token: str) -> Refusal:
    return refusal(400, f"Request parameters must match those of the call that gave the {token} token.")


def bound_to(query: QueryParams) -> Bound:
    """What must be the same in every call with a page token or a sync token: all parameters but these two."""
    return tuple(sorted((name, value) for name, value in query.multi_items() if name not in ("pageToken", "syncToken")))
