"""The HTTP client: nothing private kept, nothing hostile followed; each call asked for, observed and counted."""

import json

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dispatcher.clients.answer import encode, parse
from dispatcher.clients.http import Call, Http, Unlimited
from dispatcher.errors import Forbidden, Gone, Misused, RateLimited, Refused, Unauthorised
from tests.dispatcher import patient
from tests.dispatcher.calling import BASE, TOKEN, Ledger, classify, client

IDLE = Http("there", BASE, token=SecretStr("x"), classify=classify, budget=Unlimited())


@respx.mock
async def test_a_cookie_of_an_answer_is_not_sent_with_later_calls() -> None:
    """Several accounts share the connections to their provider: what it said to one is not for another."""
    respx.get(f"{BASE}/x").respond(200, json={}, headers={"set-cookie": "session=of-one-account; Path=/"})
    async with client() as http:
        other = http.for_account("there:b", token=SecretStr("of-another"), budget=Unlimited())
        await http.call("GET", "/x")
        for account in (http, other):
            await account.call("GET", "/x")
            assert "cookie" not in respx.calls.last.request.headers


@respx.mock
async def test_an_answer_comes_back_as_json_and_the_request_carries_token_and_headers() -> None:
    route = respx.post(f"{BASE}/things/a%20b").respond(200, json={"ok": [1, 2.5, None, True]})
    async with client() as http:
        answer = await http.call("POST", http.path("things", "a b"), json={"name": "Ada é"}, headers={"version": "2"}, params={"n": 3})
    assert answer == {"ok": [1, 2.5, None, True]}
    request = route.calls.last.request
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert (request.headers["version"], request.headers["content-type"], request.url.query) == ("2", "application/json", b"n=3")
    assert json.loads(request.content) == {"name": "Ada é"}


@respx.mock
async def test_a_token_of_the_moment_is_asked_for_at_each_call() -> None:
    respx.get(BASE).respond(200, json={})
    tokens = iter([SecretStr("first"), SecretStr("second")])

    async def current() -> SecretStr:
        return next(tokens)

    async with Http("there", BASE, token=current, classify=classify, budget=Unlimited()) as http:
        for expected in ("Bearer first", "Bearer second"):
            await http.call("GET", "/")
            assert respx.calls.last.request.headers["authorization"] == expected


def with_tokens(*tokens: str) -> tuple[Http, list[str]]:
    """A client whose token is the first of these until it is refused, then the next; and those that were refused."""
    left, refused = list(tokens), list[str]()

    async def current() -> SecretStr:
        return SecretStr(left[0])

    async def renew(token: SecretStr) -> bool:
        refused.append(token.get_secret_value())
        if len(left) > 1:
            left.pop(0)
        return left[0] != refused[-1]

    http = Http("there", BASE, token=None, classify=classify, budget=Unlimited())
    return http.for_account("there:one", token=current, budget=Ledger(), renew=renew), refused


@respx.mock
async def test_a_refused_token_is_renewed_and_the_call_made_once_more() -> None:
    route = respx.post(f"{BASE}/x").mock(side_effect=[httpx.Response(401, json={}), httpx.Response(201, json={"id": 1})])
    http, refused = with_tokens("old", "new")
    assert await http.call("POST", "/x", json={"a": 1}) == {"id": 1}
    assert refused == ["old"]
    assert [call.request.headers["authorization"] for call in route.calls] == ["Bearer old", "Bearer new"]
    assert [call.request.content for call in route.calls] == [b'{"a":1}'] * 2
    assert isinstance(http._budget, Ledger)
    assert len(http._budget.taken) == 2  # each call costs the location one
    await http.aclose()


@respx.mock
async def test_a_token_that_cannot_be_renewed_and_a_fresh_one_that_is_refused_are_not_tried_again() -> None:
    route = respx.get(f"{BASE}/x").respond(401, json={})
    for tokens, calls in ((("old",), 1), (("old", "new"), 2)):
        route.reset()
        http, _ = with_tokens(*tokens)
        with pytest.raises(Unauthorised) as caught:
            await http.call("GET", "/x")
        assert (caught.value.destination, route.call_count) == ("there:one", calls)
        await http.aclose()


@respx.mock
async def test_only_a_401_is_answered_with_another_token() -> None:
    respx.get(f"{BASE}/x").respond(403, json={})
    http, refused = with_tokens("old", "new")
    with pytest.raises(Forbidden):
        await http.call("GET", "/x")
    assert refused == []
    await http.aclose()


@respx.mock
async def test_a_form_is_sent_as_one_and_without_a_token_where_there_is_none() -> None:
    route = respx.post(f"{BASE}/token").respond(200, json={})
    async with Http("there", BASE, token=None, classify=classify, budget=Unlimited()) as http:
        await http.call("POST", "/token", form={"client_secret": "a&b=c é", "grant_type": "x"})
        with pytest.raises(Refused):
            await http.call("POST", "/token", form={"code": "half \ud800"})
    request = route.calls.last.request
    assert "authorization" not in request.headers
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.content == b"client_secret=a%26b%3Dc+%C3%A9&grant_type=x"


@respx.mock
async def test_an_empty_answer_is_none() -> None:
    respx.delete(f"{BASE}/x").respond(204)
    async with client() as http:
        assert await http.call("DELETE", "/x") is None


@respx.mock
async def test_a_delete_can_carry_a_body() -> None:
    route = respx.delete(f"{BASE}/x").respond(200, json={})
    async with client() as http:
        await http.call("DELETE", "/x", json={"tags": ["a"]})
    assert route.calls.last.request.content == b'{"tags":["a"]}'


def test_text_that_no_database_stores_ends_here() -> None:
    assert parse(rb'{"a\u0000":["x\u0000y","\ud800","\ud83d\ude00"]}') == {"a": ["xy", "?", "😀"]}


@patient
@given(st.binary(max_size=200))
def test_no_bytes_of_an_answer_raise_anything_but_value_error(raw: bytes) -> None:
    try:
        parse(raw)
    except ValueError:
        return
    json.loads(raw)


@patient
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_can_be_sent_is_plain_ascii_json_and_the_rest_is_refused(value: object) -> None:
    try:
        raw = encode(value)
    except ValueError:
        assert any(word in repr(value) for word in ("nan", "inf"))
        return
    assert raw.isascii()
    assert json.loads(raw) == value


async def test_a_body_that_is_no_json_is_refused_before_anything_is_sent() -> None:
    budget = Ledger()
    async with client(budget=budget) as http:
        for value in (float("nan"), object(), {1, 2}):
            with pytest.raises(Refused) as caught:
                await http.call("POST", "/", json={"value": value})
            assert caught.value.happened is False
    assert budget.taken == []


@pytest.mark.parametrize("token", ["", "hidden\nnewline", "hidden é", "hidden\x00nul", "hidden blank"])
@respx.mock
async def test_a_token_that_cannot_be_a_header_is_misuse_and_is_not_quoted(token: str) -> None:
    async with client(token=token) as http:
        with pytest.raises(Misused, match="copy it again") as caught:
            await http.call("GET", "/")
    assert "hidden" not in str(caught.value)
    assert respx.calls.call_count == 0


@patient
@given(st.text(min_size=1, max_size=60))
def test_an_id_is_one_segment_of_the_path_whatever_it_contains(identifier: str) -> None:
    try:
        path = IDLE.path("contacts", identifier, "notes")
    except Refused:
        assert not identifier.strip(".") or any("\ud800" <= c <= "\udfff" for c in identifier)
        return
    url = IDLE._build("GET", path, None, params=None, content=None, headers={}).url
    assert url.raw_path.count(b"/") == 3
    assert url.raw_path == path.encode()
    assert (url.host, url.query, url.fragment) == ("api.example.com", b"", "")
    assert httpx.URL(f"{BASE}{path}").path.endswith("/notes")


@pytest.mark.parametrize("identifier", ["", ".", "..", "...", "x" * 201, "\ud800"])
async def test_an_id_that_could_be_taken_for_a_direction_is_refused(identifier: str) -> None:
    async with client() as http:
        with pytest.raises(Refused) as caught:
            http.path("contacts", identifier)
    assert caught.value.happened is False


@respx.mock
async def test_every_call_is_observed_without_its_query() -> None:
    respx.get(f"{BASE}/a").respond(404, json={})
    calls: list[Call] = []
    async with client(calls=calls) as http:
        with pytest.raises(Gone):
            await http.call("GET", "/a", params={"email": "ada@example.com"})
    assert [(call.method, call.path, call.status, call.took_ms >= 0) for call in calls] == [("GET", "/a", 404, True)]


@respx.mock
async def test_the_budget_is_asked_before_each_call_and_told_after_it() -> None:
    respx.get(BASE).mock(side_effect=[httpx.Response(200, json={}), httpx.Response(429, headers={"retry-after": "7"}, json={})])
    budget = Ledger()
    async with client(budget=budget) as http:
        await http.call("GET", "/", urgency=1)
        with pytest.raises(RateLimited) as caught:
            await http.call("GET", "/")
    assert budget.taken == [1, 0]
    assert [(status, limits.retry_after_s) for status, limits in budget.learned] == [(200, None), (429, 7)]
    assert caught.value.retry_after_s == 7


@respx.mock
async def test_without_budget_nothing_is_sent() -> None:
    route = respx.get(BASE).respond(200, json={})
    async with client(budget=Ledger(refuses=True)) as http:
        with pytest.raises(RateLimited):
            await http.call("GET", "/")
    assert route.call_count == 0


@respx.mock
async def test_a_known_answer_is_not_lost_because_its_limits_could_not_be_stored() -> None:
    respx.post(BASE).respond(200, json={"id": "n1"})
    async with client(budget=Ledger(forgets=True)) as http:
        assert await http.call("POST", "/", json={}) == {"id": "n1"}
