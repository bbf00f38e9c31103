"""What GoHighLevel means by its refusals. Pure; both of its error envelopes, a 401 that has four meanings, and its token endpoint.

{"statusCode": n, "message": text or [text], "error": text, "traceId": text}
{"error": {"code": text, "message": text, "details": {…}, "resolution": text}}      (some v3 endpoints)
"""

import re
from http import HTTPStatus
from typing import Final

from dispatcher.clients.answer import Answer, Json, by_status, member
from dispatcher.errors import ConsentLost, Forbidden, Gone, Misused, Refused, RemoteError, Suspended, WrongToken

# Lower-case pieces of the messages; the rest of a 401 means a dead token.
_VERSION: Final = ("version header", "invalid api version")
_SCOPE: Final = ("not authorized for this scope",)
_CLASS: Final = ("user type mismatch", "authclass type is not allowed")
_PAUSED: Final = ("location is not active",)
_NO_GRANT: Final = ("invalid grant", "invalid_grant")
_NO_CODE: Final = ("authorization code",)
_OUR_FORM: Final = ("invalid parameter", "missing parameter")
_NOT_FOUND: Final = re.compile(r"\bwith id \S{1,100} not found\b|\bnot found\W*$")
_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)


def classify_ghl(answer: Answer) -> RemoteError:
    """The error that an answer of GHL means."""
    to, status = answer.destination, answer.status
    message, details = _read(answer)
    said = " ".join((message, *details)).lower()
    if status in (400, 401) and any(piece in said for piece in _VERSION):
        return Misused(to, message, status=status, details=details)
    if status == 401 and any(piece in said for piece in _SCOPE):
        return Forbidden(to, message, status=status, details=details)
    if status in (400, 401) and any(piece in said for piece in _CLASS):
        return WrongToken(to, message, status=status, details=details)
    if status == 400 and any(piece in said for piece in _PAUSED):
        return Suspended(to, message, status=status, details=details)
    duplicate_of = member(answer.body, "meta", "contactId")
    if status == 400 and isinstance(duplicate_of, str) and _ID.fullmatch(duplicate_of):
        return Refused(to, message, status=status, details=details, duplicate_of=duplicate_of)
    if status == 400 and _NOT_FOUND.search(said):
        return Gone(to, message, status=status, details=details)
    if status == 404 and said.startswith(("cannot get ", "cannot post ", "cannot put ", "cannot delete ")):
        return Misused(to, message, status=status, details=details)
    if status == 422:
        # GHL once answered 422 to a create that it had carried out: whether it happened is not known.
        return Refused(to, message, status=status, details=details, happened=None)
    return by_status(answer, message, details=details)


def classify_ghl_oauth(answer: Answer) -> RemoteError:
    """The error that an answer of GHL's token endpoint means.

    "Invalid grant" covers a refresh token that is wrong, ran out or was used before; a code has 401 and words of its own.
    """
    to, status = answer.destination, answer.status
    message, details = _read(answer)
    said = " ".join((message, *details)).lower()
    if status in (400, 401) and any(piece in said for piece in _NO_GRANT):
        return ConsentLost(to, message, status=status, details=details)
    if status in (400, 401) and any(piece in said for piece in _NO_CODE):
        return Refused(to, message, status=status, details=details)
    if status == 400 and any(piece in said for piece in _OUR_FORM):
        return Misused(to, message, status=status, details=details)
    return classify_ghl(answer)


def _read(answer: Answer) -> tuple[str, tuple[str, ...]]:
    """(message, details) of either envelope."""
    body = answer.body
    error = member(body, "error")
    said: Json = member(body, "message") or member(body, "error", "message") or member(body, "error_description") or error
    listed = tuple(item for item in said if isinstance(item, str)) if isinstance(said, list) else ()
    more = member(body, "error", "details")
    if isinstance(more, dict):
        listed += tuple(f"{name}: {value}" for name, value in more.items() if isinstance(value, str | int | float))
    if isinstance(said, str) and said.strip():
        return said, listed
    if listed:
        return "the data was refused", listed
    return _phrase(answer.status), ()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
