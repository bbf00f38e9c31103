"""What Google means by its refusals, of the People API and of its token endpoint. Pure.

{"error": {"code": n, "message": text, "status": NAME, "details": [{"@type": text, "reason": text}]}}     (People API)
{"error": {"code": n, "message": text, "errors": [{"domain": text, "reason": text}]}}                   (its front end)
{"error": word, "error_description": text, "error_subtype": word}                                       (token endpoint)
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from dispatcher.clients.answer import Answer, by_status, items, member, text
from dispatcher.errors import ConsentLost, Expired, Misused, RateLimited, RemoteError, Unauthorised, Unavailable
from dispatcher.policy.ratelimit import Limits, pause_s, retry_after_limits

REST_UNTOLD_S: Final = 60.0  # quotas are per minute, and no answer says how long to wait

_SYNC_TOKEN_EXPIRED: Final = "sync token is expired"  # noqa: S105 -- words of a message
_TOO_MANY: Final = frozenset(
    ["RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"]
)
_OUR_APP: Final = ("invalid_client", "unauthorized_client", "org_internal", "admin_policy_enforced")
_OUR_FORM: Final = ("invalid_request", "redirect_uri_mismatch", "unsupported_grant_type", "invalid_scope")
_SOON_BACK: Final = ("internal_failure", "server_error", "temporarily_unavailable")


def google_limits(headers: Mapping[str, str], body: object = None, *, now: datetime) -> Limits:
    """Retry-After where there is one; a 429 without it rests a minute. The limits are read before the status is known to them."""
    said = retry_after_limits(headers, now=now)
    error = body.get("error") if isinstance(body, Mapping) else None
    if said.retry_after_s is None and isinstance(error, Mapping) and error.get("code") == 429:
        return Limits(retry_after_s=REST_UNTOLD_S)
    return said


def classify_google(answer: Answer) -> RemoteError:
    """The error that an answer of the People API means, of which only lists are asked for.

    A sync token that ran out is a 400 with a reason of its own; older notes speak of 410, and one reporter saw no reason. A limit is a 429,
    or, from the front end of Google's older APIs, a 403 with a reason.
    """
    to, status = answer.destination, answer.status
    message = text(member(answer.body, "error", "message")) or "no reason given"
    listed = (*items(member(answer.body, "error", "details")), *items(member(answer.body, "error", "errors")))
    reasons = tuple(reason for item in listed if (reason := text(member(item, "reason"))))
    name = text(member(answer.body, "error", "status"))
    details = (*((name,) if name else ()), *reasons)
    is_expired = "EXPIRED_SYNC_TOKEN" in reasons or _SYNC_TOKEN_EXPIRED in message.lower()
    if status == 410 or (status == 400 and is_expired):
        return Expired(to, message, status=status, details=details)
    if status == 429 or (status == 403 and not _TOO_MANY.isdisjoint(details)):
        rest_s = REST_UNTOLD_S if answer.limits.retry_after_s is None else pause_s(answer.limits, 429)
        return RateLimited(to, message, status=status, retry_after_s=rest_s, details=details)
    if status == 404:
        return Misused(to, message, status=status, details=details)
    return by_status(answer, message, details=details)


def classify_google_oauth(answer: Answer) -> RemoteError:
    """The error that an answer of the token endpoint means: the person's consent is over, our app is not set up, or Google is away."""
    to, status = answer.destination, answer.status
    word, subtype = text(member(answer.body, "error")), text(member(answer.body, "error_subtype"))
    message = text(member(answer.body, "error_description")) or word or "no reason given"
    details = tuple(said for said in (word, subtype) if said)
    match word:
        case "invalid_grant":
            return ConsentLost(to, message, status=status, details=details)
        case _ if word in _OUR_APP:
            return Unauthorised(to, message, status=status, details=details)
        case _ if word in _OUR_FORM:
            return Misused(to, message, status=status, details=details)
        case _ if word in _SOON_BACK:
            return Unavailable(to, message, status=status, details=details, happened=False)
    return by_status(answer, message, details=details)
