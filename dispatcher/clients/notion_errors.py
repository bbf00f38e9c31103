"""What Notion means by its refusals: {"object": "error", "status", "code", "message", "additional_data"?, "request_id"}. Pure."""

from typing import Final

from dispatcher.clients.answer import Answer, by_status, items, member, text
from dispatcher.errors import Failed, Forbidden, Misused, RateLimited, RemoteError, Unauthorised, Unavailable
from dispatcher.policy.ratelimit import pause_s

_OUR_BUG: Final = ("missing_version", "invalid_request_url", "invalid_json", "invalid_beta")


def classify_notion(answer: Answer) -> RemoteError:
    """The error that an answer of Notion means."""
    to, status = answer.destination, answer.status
    code = text(member(answer.body, "code"))
    message = text(member(answer.body, "message")) or code or "no reason given"
    more = member(answer.body, "additional_data")
    details = (code,) if code else ()
    if member(more, "rate_limit_reason") == "public_api_request_blocked":
        # A block, not a limit: asking again later is what it asks us not to do.
        return Forbidden(to, message, status=status, details=(*details, "public_api_request_blocked"))
    if status == 529:
        return RateLimited(to, message, status=status, retry_after_s=pause_s(answer.limits, status), details=details)
    if status == 400 and code in _OUR_BUG:
        return Misused(to, message, status=status, details=details)
    if status == 400 and code == "invalid_grant":
        return Unauthorised(to, message, status=status, details=details)
    if status == 409 and code == "conflict_error":
        # Two writers met; nothing was saved, and the next try may pass.
        return Failed(to, message, status=status, details=details, happened=False)
    committed = (member(more, "committed_resource_id"), *items(member(more, "committed_child_ids")))
    saved = tuple(f"saved as {identifier}" for identifier in committed if isinstance(identifier, str))
    if status >= 500 and saved:
        return Unavailable(to, message, status=status, details=(*details, *saved), happened=True)
    return by_status(answer, message, details=details)
