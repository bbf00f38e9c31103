"""What Google means by its refusals, of the People API and of its token endpoint. Pure.

{"error": {"code": n, "message": text, "status": NAME, "details": [{"@type": text, "reason": text}]}}     (People API)
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
_TOO_MANY: Final = ("RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded")
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
    """The error that an answer of the People API means.

    A sync token that ran out is a 400 with a reason of its own; older notes speak of 410, and one reporter saw no reason.
    """
    to, status = answer.destination, answer.status
    message = text(member(answer.body, "error", "message")) or "no reason given"
    reasons = tuple(reason for item in items(member(answer.body, "error", "details")) if (reason := text(member(item, "reason"))))
    name = text(member(answer.body, "error", "status"))
    details = (*((name,) if name else ()), *reasons)
    if status in (400, 410) and ("EXPIRED_SYNC_TOKEN" in reasons or _SYNC_TOKEN_EXPIRED in message.lower()):
        return Expired(to, message, status=status, details=details)
    if status == 403 and any(reason in _TOO_MANY for reason in reasons):
        return RateLimited(to, message, status=status, retry_after_s=max(REST_UNTOLD_S, pause_s(answer.limits, 429)), details=details)
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
