"""Notion's rules for a request: refusals in its words, versions, ids, page sizes, the property list of a body.

Pure. Sources: the reference pages and the SDK's error list. Confirmed by neither, so plausible only: the code for an unknown
version (`validation_error`).
"""

from collections.abc import Collection
from enum import StrEnum

from simulators.shapes import JsonObject, dashed

VERSIONS = ("2022-06-28", "2025-09-03", "2026-03-11")
DATA_SOURCES_SINCE = "2025-09-03"
MARKDOWN_SINCE = "2026-03-11"
NO_ARCHIVED_SINCE = "2026-03-11"
MAX_PAGE_SIZE = 100


class Code(StrEnum):
    """Notion's error codes, as far as the simulator can say them."""

    INVALID_JSON = "invalid_json"
    INVALID_URL = "invalid_request_url"
    VALIDATION = "validation_error"
    MISSING_VERSION = "missing_version"
    UNAUTHORIZED = "unauthorized"
    RESTRICTED = "restricted_resource"
    NOT_FOUND = "object_not_found"
    CONFLICT = "conflict_error"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal_server_error"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "service_unavailable"
    TIMEOUT = "gateway_timeout"
    OVERLOAD = "service_overload"


# What Notion says with a status that a fault asks for.
SAID_WITH = {
    400: (Code.VALIDATION, "body failed validation."),
    401: (Code.UNAUTHORIZED, "API token is invalid."),
    403: (Code.RESTRICTED, "Insufficient permissions for this endpoint."),
    404: (Code.NOT_FOUND, "Could not find the object. Make sure it is shared with your integration."),
    409: (Code.CONFLICT, "Conflict occurred while saving. Please try again."),
    429: (Code.RATE_LIMITED, "You have been rate limited. Please try again in a few minutes."),
    500: (Code.INTERNAL, "Unexpected error occurred."),
    502: (Code.BAD_GATEWAY, "Bad gateway."),
    503: (Code.UNAVAILABLE, "Notion is unavailable, please try again later."),
    504: (Code.TIMEOUT, "Gateway timeout."),
    529: (Code.OVERLOAD, "Notion is overloaded, please try again later."),
}


class Refusal(Exception):
    """An error answer; the request id joins it later."""

    def __init__(
        self, status: int, code: Code, message: str, *, additional_data: JsonObject | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: JsonObject = {"object": "error", "status": status, "code": code, "message": message}
        if additional_data is not None:
            self.body["additional_data"] = additional_data


def invalid(message: str) -> Refusal:
    return Refusal(400, Code.VALIDATION, message)


def not_found(kind: str, object_id: str) -> Refusal:
    """Deleted for good and merely not shared look the same."""
    text = f"Could not find {kind} with ID: {object_id}. Make sure the relevant pages and databases are shared with your integration."
    return Refusal(404, Code.NOT_FOUND, text)


def rate_limited(retry_after_s: int) -> Refusal:
    said = {"rate_limit_reason": "public_api_request_rate_limit", "retry_after": str(retry_after_s)}
    return Refusal(429, *SAID_WITH[429], additional_data=said, headers={"retry-after": str(retry_after_s)})


def check_token(tokens: Collection[str], authorization: str) -> str:
    """The token itself: budgets are counted per token."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or token not in tokens:
        raise Refusal(401, *SAID_WITH[401])
    return token


def check_version(version: str | None) -> str:
    if version is None:
        text = "Notion-Version header failed validation: Notion-Version header should be defined, instead was `undefined`."
        raise Refusal(400, Code.MISSING_VERSION, text)
    if version not in VERSIONS:
        known = " or ".join(f'`"{one}"`' for one in VERSIONS)
        raise invalid(f"Notion-Version header failed validation: Notion-Version header should be {known}.")
    return version


def checked_id(text: str, name: str) -> str:
    """A path id in its dashed form; both forms are accepted."""
    object_id = dashed(text)
    if object_id is None:
        raise invalid(f"path failed validation: path.{name} should be a valid uuid, instead was `{text!r}`.")
    return object_id


def checked_page_size(value: object, where: str) -> int:
    """1 to 100, from a query string or a body."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_PAGE_SIZE:
        raise invalid(f"{where} failed validation: {where}.page_size should be ≤ `{MAX_PAGE_SIZE}` and ≥ `1`, instead was `{value}`.")
    return value


def check_properties_of_body(body: JsonObject, allowed: Collection[str]) -> None:
    for name in body:
        if name not in allowed:
            raise invalid(f"body failed validation: body.{name} should be not present, instead was defined.")
