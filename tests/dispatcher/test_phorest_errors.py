"""What a call of Phorest may fail with, and what becomes of the event: every status, every shape; and what GHL's refusals are called."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dispatcher.clients.answer import Answer, Json
from dispatcher.clients.ghl_errors import classify_ghl
from dispatcher.clients.http import Http, Timeouts, Unlimited
from dispatcher.clients.phorest import PhorestClient
from dispatcher.clients.phorest_errors import classify_phorest
from dispatcher.clients.phorest_pages import read_page
from dispatcher.config import DispatcherSettings
from dispatcher.errors import AnswerLost, Failed, Forbidden, Gone, Misused, RateLimited, Refused, RemoteError, Unauthorised, Unavailable
from dispatcher.handlers.phorest_sending import said_of
from dispatcher.policy.ratelimit import Limits, retry_after_limits
from outbox.store.phorest import Kind, import_of
from outbox.testing import Drain, Postroom
from tests.dispatcher import patient
from tests.dispatcher.handling import fate
from tests.dispatcher.running import stage_all
from tests.dispatcher.salon import Phorest, import_clients

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
COUNTS: Json = {"size": 100, "totalElements": 1, "totalPages": 1, "number": 0}


def answer(status: int, body: Json = None, *, is_json: bool = True, headers: dict[str, str] | None = None) -> Answer:
    return Answer("phorest", status, headers or {}, body, is_json, retry_after_limits(headers or {}, now=NOW))


@pytest.mark.parametrize(
    ("found", "error", "said"),
    [
        (answer(400, {"message": "from_date is required"}), Refused, "from_date is required"),
        (answer(400, {"detail": "no", "errors": ["size must be a number"]}), Refused, "no"),
        (answer(401, is_json=False), Unauthorised, "the user or the password is not taken"),
        (answer(403, {"message": "Access denied"}), Forbidden, "Access denied"),
        (answer(403, is_json=False), Unavailable, "refused in front of the API, not by it"),
        (answer(404, {"errorCode": "NOT_FOUND"}), Gone, "NOT_FOUND"),
        (answer(405), Misused, "no reason given"),
        (answer(408), AnswerLost, "no reason given"),
        (answer(422, {"error": "unprocessable"}), Refused, "unprocessable"),
        (answer(429, is_json=False), RateLimited, "its rate limit is used up"),
        (answer(500, is_json=False), Failed, "no reason given"),
        (answer(502, is_json=False), Unavailable, "no reason given"),
        (answer(503), Unavailable, "no reason given"),
        (answer(504), Unavailable, "no reason given"),
        (answer(599), Failed, "no reason given"),
        (answer(302, is_json=False), Misused, "redirected or answered without an answer; the base address is wrong"),
    ],
    ids=lambda one: f"{one.status}" if isinstance(one, Answer) else None,
)
def test_each_refusal_of_phorest_means_one_error(found: Answer, error: type[RemoteError], said: str) -> None:
    problem = classify_phorest(found)
    assert (type(problem), problem.destination, problem.message) == (error, "phorest", said)


@pytest.mark.parametrize(
    ("headers", "rests_s"), [({"retry-after": "77"}, 77), ({"retry-after": "Mon, 02 Nov 2026 09:00:40 GMT"}, 40), ({}, 10)]
)
def test_a_limit_rests_as_long_as_it_says_and_a_little_when_it_says_nothing(headers: dict[str, str], rests_s: float) -> None:
    problem = classify_phorest(answer(429, is_json=False, headers=headers))
    assert isinstance(problem, RateLimited)
    assert problem.retry_after_s == rests_s


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["message", "detail", "errorCode", "errors"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@patient
@given(st.integers(300, 599), json_values)
def test_no_body_of_a_refusal_can_break_its_reading(status: int, body: Json) -> None:
    found = classify_phorest(Answer("phorest", status, {}, body, True, Limits()))
    assert found.status == status
    assert found.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "does not count its pages"),
        ([], "does not count its pages"),
        ({"_embedded": {"clients": []}}, "does not count its pages"),
        ({"page": {"number": "0", "totalPages": 1, "totalElements": 1}}, "does not count its pages"),
        ({"page": COUNTS}, "page 0 of 1 has no clients"),
        ({"page": COUNTS, "_embedded": {"staffs": [{}]}}, "page 0 of 1 has no clients"),
        ({"page": COUNTS, "_embedded": {"clients": ["text"]}}, "page 0 of 1 has no clients"),
    ],
)
def test_a_page_of_another_shape_is_never_taken_for_an_empty_one(body: Json, said: str) -> None:
    with pytest.raises(Failed, match=said):
        read_page(body, "clients", destination="phorest")


def test_a_page_that_counts_nothing_may_lack_its_list() -> None:
    page = read_page({"page": {"size": 100, "totalElements": 0, "totalPages": 0, "number": 0}}, "clients", destination="phorest")
    assert (page.rows, page.is_last) == ((), True)


async def test_a_far_side_that_never_answers_is_given_up(phorest: Phorest) -> None:
    phorest[0].faults.add("hang")
    quick = Timeouts(total_s=0.05)
    async with Http(
        "phorest", phorest[1], token=SecretStr("x"), scheme="Basic", classify=classify_phorest, budget=Unlimited(), timeouts=quick
    ) as http:
        with pytest.raises(AnswerLost, match=r"no whole answer within 0\.05 s"):
            await PhorestClient(http, "B1").client("p1")
    phorest[0].faults.clear()


# What an import of one client meets once, and how that attempt ends. Four failures: a fifth would open the breaker.
MET: dict[str, tuple[dict[str, Any], str, str]] = {
    "p400": ({"status": 400, "body": {"message": "clientId is malformed"}}, "s", "Phorest refuses it (400): clientId is malformed"),
    "p422": ({"status": 422, "body": {"message": "unprocessable"}}, "s", "Phorest refuses it (422): unprocessable"),
    "p404": ({"status": 404}, "s", "Phorest has no such client"),
    "other": ({"status": 200, "body": {"clientId": "p1"}}, "s", "Phorest has no such client"),
    "p403": ({"status": 403, "body": {"message": "Access denied"}}, "x", "phorest answered 403: Access denied"),
    "p500": ({"status": 500}, "r", "phorest answered 500: Something went wrong"),
    "p503": ({"status": 503}, "r", "phorest answered 503: Something went wrong"),
    "html": ({"status": 200, "body": "<!doctype html><p>Be back soon</p>"}, "r", "phorest answered 200: the answer is not JSON"),
    "list": ({"status": 200, "body": "[]"}, "r", "phorest: the answer is no object"),
}


async def test_each_failure_of_phorest_ends_in_one_outcome(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest
) -> None:
    for client_id, (fault, _, _) in MET.items():
        phorest[0].faults.add("answer", f"**/client/{client_id}", **fault)
    ids = await import_clients(postroom, *MET)
    await drain(settings=salon)
    met = [(client_id, outcome, why) for client_id, (_, outcome, why) in MET.items()]
    first = [
        await postroom.rows("select outcome::text, note from outbox.attempts where event_id = $1 order by attempt limit 1", one)
        for one in ids
    ]
    assert [(want[0], row["outcome"], row["note"][: len(want[2])]) for want, [row] in zip(met, first, strict=True)] == met


async def test_an_appointment_that_phorest_refuses_is_skipped_and_what_is_kept_of_it_stays(
    postroom: Postroom, drain: Drain, salon: DispatcherSettings, phorest: Phorest
) -> None:
    phorest[0].faults.add("answer", "**/appointment/a1", status=400, body={"message": "appointmentId is malformed"})
    [event_id] = await stage_all(postroom, import_of(Kind.APPOINTMENT, "a1", branch_id="DemoBranch"))
    await drain(settings=salon)
    became = await fate(postroom, event_id)
    assert (became.state, became.why) == ("skipped", "Phorest refuses it (400): appointmentId is malformed")


@pytest.mark.parametrize(
    ("fault", "waits", "standing"),
    [
        ({"status": 401}, "held for phorest", [{"name": "phorest", "state": "unauthorised"}]),
        ({"status": 429, "headers": {"Retry-After": "77"}}, "phorest limits the rate", []),
    ],
)
async def test_what_is_wrong_with_the_connection_costs_the_event_no_attempt(
    postroom: Postroom,
    drain: Drain,
    salon: DispatcherSettings,
    phorest: Phorest,
    fault: dict[str, Any],
    waits: str,
    standing: list[dict[str, str]],
) -> None:
    phorest[0].put_client("p1")
    phorest[0].faults.add("answer", times=None, **fault)
    [event_id] = await import_clients(postroom, "p1")
    await drain(settings=salon)
    became = await fate(postroom, event_id)
    assert (became.state, became.why, became.outcomes, became.failures) == ("pending", waits, "h", 0)
    assert became.is_held or (became.delay_s or 0) > 60
    assert await postroom.rows("select name, state from outbox.destinations where state <> 'flowing'") == standing


def refused(status: int, *message: str, **more: object) -> Answer:
    body: Json = json.loads(json.dumps({"statusCode": status, "message": message[0] if len(message) == 1 else list(message), **more}))
    return Answer("ghl", status, {}, body, True, Limits())


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (refused(400, "phone should not be empty"), "validation warning: missing phone"),
        (refused(400, "Email is required"), "validation warning: missing email"),
        (refused(400, "property locationId should not exist"), "validation warning: locationId should not exist"),
        (refused(400, "email must be an email", "phone should not be empty"), "validation warning: email must be an email, missing phone"),
        (refused(400, "phone should not be empty", "phone is required"), "validation warning: missing phone"),
        (refused(400, "the calendar is inactive"), "validation warning: the calendar is inactive"),
        (refused(400, "no", meta={"contactId": "c9"}), "validation warning: GHL has it already, as contact c9"),
        (refused(422, "email must be an email", "phone is odd"), "GHL will not take it (422): email must be an email; phone is odd"),
        (refused(422, "unprocessable"), "GHL will not take it (422): unprocessable"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_refusal_of_ghl_names_the_field(found: Answer, told: str) -> None:
    problem = classify_ghl(found)
    assert isinstance(problem, Refused)
    assert said_of(problem) == told
