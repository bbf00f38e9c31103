"""What GoHighLevel's refusals mean: both envelopes, the meanings of its 401 and 400, limits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.clients.answer import Answer
from dispatcher.clients.ghl_errors import classify_ghl, classify_ghl_oauth
from dispatcher.errors import (
    ConsentLost,
    Failed,
    Forbidden,
    Gone,
    Misused,
    RateLimited,
    Refused,
    RemoteError,
    Suspended,
    Unauthorised,
    Unavailable,
    WrongToken,
)
from dispatcher.policy.ratelimit import Limits, Scope
from tests.dispatcher import patient


def answer(status: int, body: object = None, *, limits: Limits | None = None) -> Answer:
    return Answer("ghl", status, {}, json.loads(json.dumps(body)), body is not None, limits or Limits())


def envelope(status: int, message: object, **more: object) -> dict[str, object]:
    return {"statusCode": status, "message": message, "error": "some phrase", "traceId": "t", **more}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, envelope(400, "Contact with id con1 not found"), Gone),
        (400, envelope(400, "Contact not found"), Gone),
        (400, envelope(400, "Invalid field contact_name"), Refused),
        (400, envelope(400, "Invalid API version segment 'x' at position 0"), Misused),
        (400, envelope(400, "Location is not active"), Suspended),
        (401, envelope(401, "Invalid token: access token is invalid"), Unauthorised),
        (401, envelope(401, "Invalid JWT"), Unauthorised),
        (401, envelope(401, "Invalid Private Integration token"), Unauthorised),
        (401, envelope(401, "version header was not found."), Misused),
        (401, envelope(401, "version header is invalid"), Misused),
        (401, envelope(401, "The token is not authorized for this scope."), Forbidden),
        (401, envelope(401, "Token's user type mismatch!"), WrongToken),
        (401, envelope(401, "This authClass type is not allowed to access this scope. Get a location token."), WrongToken),
        (401, {"error": "UnAuthorized!", "error_description": "Authorization code not found"}, Unauthorised),
        (403, envelope(403, "The token does not have access to this location."), Forbidden),
        (403, None, Unavailable),
        (404, envelope(404, "Cannot GET /contacts/x/y"), Misused),
        (404, {"error": {"code": "RESOURCE_NOT_FOUND", "message": "No such app", "details": {}, "resolution": "-"}}, Gone),
        (422, envelope(422, ["property locationId should not exist"]), Refused),
        (429, envelope(429, "Too many"), RateLimited),
        (500, None, Failed),
        (502, None, Unavailable),
        (599, None, Failed),
    ],
)
def test_each_refusal_of_ghl_means_one_error(status: int, body: object, error: type[RemoteError]) -> None:
    found = classify_ghl(answer(status, body))
    assert type(found) is error
    assert (found.destination, found.status) == ("ghl", status)
    assert found.message


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"statusCode": 400, "message": "Invalid grant: refresh token is invalid"}, ConsentLost),
        (400, {"error": "invalid_grant", "error_description": "Invalid grant: refresh token is invalid"}, ConsentLost),
        (400, {"statusCode": 400, "message": "Location is not active"}, Suspended),
        (400, {"statusCode": 400, "message": "Invalid parameter: grantType"}, Misused),
        (400, {"statusCode": 400, "message": "Missing parameter: clientId"}, Misused),
        (401, {"error": "UnAuthorized!", "error_description": "Authorization code not found"}, Refused),
        (401, {"error": "UnAuthorized!", "error_description": "Invalid client credentials!"}, Unauthorised),
        (403, None, Unavailable),
        (422, envelope(422, ["grant_type must be a string"]), Refused),
        (429, {}, RateLimited),
        (500, None, Failed),
    ],
)
def test_each_refusal_of_ghls_token_endpoint_means_one_error(status: int, body: object, error: type[RemoteError]) -> None:
    assert type(classify_ghl_oauth(answer(status, body))) is error


def test_only_a_dead_token_is_worth_a_fresh_one() -> None:
    said = (
        "Invalid token: access token is invalid",
        "Invalid JWT",
        "Token's user type mismatch!",
        "The token is not authorized for this scope.",
    )
    found = [classify_ghl(answer(401, envelope(401, message))) for message in said]
    assert [isinstance(one, Unauthorised) and one.is_stale for one in found] == [True, True, False, False]


def test_a_duplicate_names_the_contact_that_is_already_there() -> None:
    meta = {"contactId": "con9", "contactName": "Ada Example", "matchingField": "email"}
    found = classify_ghl(answer(400, envelope(400, "This location does not allow duplicated contacts.", meta=meta)))
    assert isinstance(found, Refused)
    assert (found.duplicate_of, found.happened) == ("con9", False)
    assert "Ada" not in str(found)


def test_a_validation_error_lists_every_fault_and_may_have_happened() -> None:
    faults = ["title must be a string", "dueDate must be a valid ISO 8601 date string"]
    found = classify_ghl(answer(422, envelope(422, faults)))
    assert found.details == tuple(faults)
    assert found.happened is None  # GHL has created a contact and answered 422


def test_the_other_envelope_is_read_as_well() -> None:
    error = {"code": "INVALID", "message": "bad page", "details": {"pageSize": "1..100", "deep": {}}, "resolution": "-"}
    found = classify_ghl(answer(400, {"error": error}))
    assert (found.message, found.details) == ("bad page", ("pageSize: 1..100",))


def test_a_used_up_day_is_told_from_a_burst() -> None:
    burst = classify_ghl(answer(429, {}, limits=Limits(burst_remaining=0, interval_s=10)))
    day = classify_ghl(answer(429, {}, limits=Limits(daily_remaining=0, daily_reset_s=600)))
    assert isinstance(burst, RateLimited)
    assert isinstance(day, RateLimited)
    assert (burst.scope, burst.retry_after_s) == (Scope.BURST, 10)
    assert (day.scope, day.retry_after_s) == (Scope.DAY, 600)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["message", "error", "details", "meta", "contactId", "code", "id", "value"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@patient
@given(st.integers(300, 599), json_values)
def test_no_body_of_a_refusal_can_break_its_reading(status: int, body: object) -> None:
    found = classify_ghl(Answer("ghl", status, {}, json.loads(json.dumps(body)), True, Limits()))
    assert found.status == status
    assert len(str(found)) < 10_000
