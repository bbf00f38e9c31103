"""What Notion's refusals mean: every published example, and the codes that decide where the status does not."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.clients.answer import Answer, Json
from dispatcher.clients.notion_errors import classify_notion
from dispatcher.errors import Failed, Forbidden, Gone, Misused, RateLimited, Refused, RemoteError, Unauthorised, Unavailable
from dispatcher.policy.ratelimit import Limits, notion_limits
from tests.dispatcher import patient
from tests.specs import specs_path

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


def official_cases() -> dict[str, dict[str, Any]]:
    cases = json.loads(specs_path("notion/rest-response-examples.json").read_bytes())["cases"]
    return {case["name"]: case for case in cases}


def as_answer(case: dict[str, Any]) -> Answer:
    body, headers = case.get("body"), case.get("headers", {})
    return Answer("notion", case["status"], headers, body, body is not None, notion_limits(headers, body, now=NOW))


@pytest.mark.parametrize(
    ("name", "error", "happened"),
    [
        ("error/400-validation", Refused, False),
        ("error/401", Unauthorised, False),
        ("error/403", Forbidden, False),
        ("error/404-or-not-shared", Gone, False),
        ("error/409", Failed, False),
        ("error/429-connection", RateLimited, False),
        ("error/429-workspace-long", RateLimited, False),
        ("error/429-blocked", Forbidden, False),
        ("error/503-after-commit", Unavailable, True),
        ("error/529", RateLimited, False),
        ("error/403-edge-html", Unavailable, False),
    ],
)
def test_each_example_of_a_refusal_means_one_error(name: str, error: type[RemoteError], happened: bool | None) -> None:
    found = classify_notion(as_answer(official_cases()[name]))
    assert type(found) is error
    assert found.happened is happened


def test_every_example_of_a_refusal_is_among_them() -> None:
    assert sum(name.startswith("error/") for name in official_cases()) == 11


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "missing_version", Misused),
        (400, "invalid_request_url", Misused),
        (400, "invalid_json", Misused),
        (400, "invalid_grant", Unauthorised),
        (400, "something_new", Refused),
        (409, "row_limit_exceeded", Refused),
        (500, "internal_server_error", Failed),
        (502, "bad_gateway", Unavailable),
        (504, "gateway_timeout", Unavailable),
    ],
)
def test_codes_decide_where_the_status_does_not(status: int, code: str, error: type[RemoteError]) -> None:
    body: Json = {"object": "error", "status": status, "code": code, "message": "for ada@example.com"}
    found = classify_notion(Answer("notion", status, {}, body, True, Limits()))
    assert type(found) is error
    assert (found.message, found.details) == ("for [e-mail]", (code,))


def test_a_limit_longer_than_a_minute_is_not_cut() -> None:
    found = classify_notion(as_answer(official_cases()["error/429-workspace-long"]))
    assert isinstance(found, RateLimited)
    assert found.retry_after_s == 300


def test_a_write_that_was_saved_says_as_what() -> None:
    found = classify_notion(as_answer(official_cases()["error/503-after-commit"]))
    assert found.details == ("service_unavailable", "saved as 55555555-5555-4555-8555-555555555555")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["code", "message", "additional_data", "committed_child_ids"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@patient
@given(st.integers(300, 599), json_values)
def test_no_body_of_a_refusal_can_break_its_reading(status: int, body: Json) -> None:
    found = classify_notion(Answer("notion", status, {}, body, True, Limits()))
    assert found.status == status
    assert found.message
