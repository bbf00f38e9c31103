"""What Google's refusals mean: those of the People API, those of its token endpoint, in its envelopes and in none (HTML, nothing)."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.clients.answer import Answer, Json
from dispatcher.clients.google_errors import REST_UNTOLD_S, classify_google, classify_google_oauth, google_limits
from dispatcher.errors import (
    AnswerLost,
    ConsentLost,
    Expired,
    Failed,
    Forbidden,
    Misused,
    RateLimited,
    Refused,
    RemoteError,
    Unauthorised,
    Unavailable,
)
from tests.dispatcher import patient
from tests.specs import specs_path

NOW: Final = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
EXPIRED: Final = "Sync token is expired. Clear local cache and retry call without the sync token."
HTML: Final = object()


def answer(status: int, body: object, **headers: str) -> Answer:
    """As the HTTP client reads it; `HTML`: a page of Google's front end instead of JSON."""
    read: Json = None if body is HTML else json.loads(json.dumps(body))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer("google:ada", status, named, read, body is not HTML, google_limits(named, read, now=NOW))


def envelope(code: int, message: str = "said so", *, status: str | None = None, reason: str | None = None, **more: Any) -> Any:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    return {"error": {"code": code, "message": message, "status": status, "details": details, **more}}


def older(code: int, reason: str) -> Any:
    """The envelope of Google's older APIs, which its front end still answers with for limits and for an API that is off."""
    return {"error": {"code": code, "message": "said so", "errors": [{"domain": "usageLimits", "reason": reason, "message": "said so"}]}}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, envelope(400, status="FAILED_PRECONDITION", reason="EXPIRED_SYNC_TOKEN"), Expired),
        (400, envelope(400, EXPIRED), Expired),
        (410, envelope(410, status="FAILED_PRECONDITION", reason="EXPIRED_SYNC_TOKEN"), Expired),
        (410, envelope(410, EXPIRED), Expired),
        (410, older(410, "updatedMinTooLongAgo"), Expired),
        (410, HTML, Expired),
        (400, envelope(400, "Request contains an invalid argument.", status="INVALID_ARGUMENT"), Refused),
        (400, HTML, Refused),
        (401, envelope(401, status="UNAUTHENTICATED"), Unauthorised),
        (401, HTML, Unauthorised),
        (403, envelope(403, status="PERMISSION_DENIED", reason="ACCESS_TOKEN_SCOPE_INSUFFICIENT"), Forbidden),
        (403, envelope(403, status="PERMISSION_DENIED", reason="SERVICE_DISABLED"), Forbidden),
        (403, older(403, "accessNotConfigured"), Forbidden),
        (403, envelope(403, status="PERMISSION_DENIED", reason="RATE_LIMIT_EXCEEDED"), RateLimited),
        (403, envelope(403, status="RESOURCE_EXHAUSTED"), RateLimited),
        (403, older(403, "rateLimitExceeded"), RateLimited),
        (403, older(403, "userRateLimitExceeded"), RateLimited),
        (403, older(403, "quotaExceeded"), RateLimited),
        (403, older(403, "dailyLimitExceeded"), RateLimited),
        (403, HTML, Unavailable),
        (404, HTML, Misused),
        (404, envelope(404, status="NOT_FOUND"), Misused),
        (408, HTML, AnswerLost),
        (429, envelope(429, status="RESOURCE_EXHAUSTED"), RateLimited),
        (429, HTML, RateLimited),
        (500, envelope(500, status="INTERNAL"), Failed),
        (500, HTML, Failed),
        (502, HTML, Unavailable),
        (503, envelope(503, status="UNAVAILABLE"), Unavailable),
        (504, envelope(504, status="DEADLINE_EXCEEDED"), Unavailable),
        (302, HTML, Misused),
    ],
)
def test_each_refusal_of_the_people_api_means_one_error(status: int, body: object, error: type[RemoteError]) -> None:
    found = classify_google(answer(status, body))
    assert type(found) is error
    assert (found.destination, found.status) == ("google:ada", status)
    assert found.message


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, ConsentLost),
        (400, {"error": "invalid_grant"}, ConsentLost),
        (400, {"error": "invalid_grant", "error_subtype": "invalid_rapt"}, ConsentLost),
        (401, {"error": "invalid_client"}, Unauthorised),
        (401, {"error": "deleted_client"}, Unauthorised),
        (400, {"error": "unauthorized_client"}, Unauthorised),
        (403, {"error": "org_internal"}, Unauthorised),
        (400, {"error": "admin_policy_enforced"}, Unauthorised),
        (400, {"error": "redirect_uri_mismatch"}, Misused),
        (400, {"error": "unsupported_grant_type"}, Misused),
        (400, {"error": "invalid_request"}, Misused),
        (400, {"error": "invalid_scope"}, Misused),
        (400, {"error": "server_error"}, Unavailable),
        (400, {"error": "temporarily_unavailable"}, Unavailable),
        (500, {"error": "internal_failure"}, Unavailable),
        (400, {"error": "a word of next year"}, Refused),
        (400, HTML, Refused),
        (403, HTML, Unavailable),
        (408, HTML, AnswerLost),
        (429, {}, RateLimited),
        (429, HTML, RateLimited),
        (500, envelope(500, status="INTERNAL"), Failed),
        (502, HTML, Unavailable),
        (503, {"error": "backend_error"}, Unavailable),
        (504, HTML, Unavailable),
    ],
)
def test_each_refusal_of_the_token_endpoint_means_one_error(status: int, body: object, error: type[RemoteError]) -> None:
    found = classify_google_oauth(answer(status, body))
    assert type(found) is error
    assert found.message


def cases() -> dict[str, dict[str, Any]]:
    listed = json.loads(specs_path("google/response-examples.json").read_bytes())["cases"]
    return {case["name"]: case for case in listed if case["status"] >= 300}


EXAMPLES: Final[dict[str, type[RemoteError]]] = {
    "error/expired-sync-token": Expired,
    "error/expired-sync-token-410": Expired,
    "error/429-per-minute": RateLimited,
    "error/429-fbs": RateLimited,
    "error/401": Unauthorised,
    "error/400-stale-etag": Refused,
    "oauth/invalid_grant": ConsentLost,
    "oauth/invalid_grant-terse": ConsentLost,
    "oauth/invalid_grant-rapt": ConsentLost,
    "oauth/invalid_client": Unauthorised,
    "oauth/5xx": Unavailable,
}


def test_each_example_of_a_refusal_means_one_error_and_none_is_left_out() -> None:
    found = {name: classified(name, case) for name, case in cases().items()}
    assert {name: type(error) for name, error in found.items()} == EXAMPLES
    assert not any("000000000000" in str(error) for error in found.values())


def classified(name: str, case: dict[str, Any]) -> RemoteError:
    given = answer(case["status"], case.get("body", HTML))
    return classify_google_oauth(given) if name.startswith("oauth/") else classify_google(given)


@pytest.mark.parametrize(
    ("given", "rest_s"),
    [
        (answer(429, envelope(429)), REST_UNTOLD_S),
        (answer(429, HTML), REST_UNTOLD_S),
        (answer(403, older(403, "userRateLimitExceeded")), REST_UNTOLD_S),
        (answer(429, envelope(429), retry_after="7"), 7.0),
        (answer(429, HTML, retry_after="300"), 300.0),
        (answer(403, older(403, "quotaExceeded"), retry_after="600"), 600.0),
    ],
)
def test_a_limit_rests_a_minute_unless_google_says_how_long(given: Answer, rest_s: float) -> None:
    found = classify_google(given)
    assert isinstance(found, RateLimited)
    assert found.retry_after_s == rest_s


def test_only_a_dead_access_token_is_worth_a_fresh_one() -> None:
    found = [classify_google(answer(401, envelope(401))), classify_google_oauth(answer(400, {"error": "invalid_grant"}))]
    assert [isinstance(one, Unauthorised) and one.is_stale for one in found] == [True, False]


def test_what_google_says_of_a_person_is_not_kept() -> None:
    said = envelope(403, "The caller ada@example.com of +353871234567 may not", status="PERMISSION_DENIED")
    found = classify_google(answer(403, said))
    assert (found.message, found.details) == ("The caller [e-mail] of [number] may not", ("PERMISSION_DENIED",))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["error", "errors", "details", "reason", "message", "status", "code"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@settings(patient, max_examples=40)
@given(st.integers(300, 599), json_values)
def test_no_body_of_a_refusal_can_break_its_reading(status: int, body: Json) -> None:
    for classify in (classify_google, classify_google_oauth):
        found = classify(Answer("google:ada", status, {}, body, True, google_limits({}, body, now=NOW)))
        assert found.status == status
        assert found.message
