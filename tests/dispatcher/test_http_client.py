"""The HTTP client: each failure mapped once, nothing private kept, nothing hostile followed."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dispatcher.clients.answer import Answer, by_status, encode, parse
from dispatcher.clients.http import MAX_ANSWER_BYTES, Call, Http, Timeouts, Unlimited
from dispatcher.errors import (
    AnswerLost,
    Failed,
    Forbidden,
    Gone,
    Misused,
    RateLimited,
    Refused,
    RemoteError,
    Unauthorised,
    Unavailable,
)
from dispatcher.policy.ratelimit import Limits
from outbox.errors import DatabaseUnavailable
from tests.dispatcher import patient

BASE = "https://api.example.com"
TOKEN = "pit-00000000-invented"


def classify(answer: Answer) -> RemoteError:
    return by_status(answer, "no")


IDLE = Http("there", BASE, token=SecretStr("x"), classify=classify, budget=Unlimited())


class Ledger(Unlimited):
    """A budget that writes down what it is asked and told."""

    def __init__(self, *, refuses: bool = False, forgets: bool = False) -> None:
        self.refuses, self.forgets = refuses, forgets
        self.taken: list[int] = []
        self.learned: list[tuple[int, Limits]] = []

    async def take(self, *, urgency: int) -> None:
        self.taken.append(urgency)
        if self.refuses:
            raise RateLimited("there", "the day is used up", retry_after_s=60)

    async def learn(self, limits: Limits, *, status: int) -> None:
        self.learned.append((status, limits))
        if self.forgets:
            raise DatabaseUnavailable("away")


@asynccontextmanager
async def client(
    base_url: str = BASE, *, budget: Unlimited | None = None, token: str = TOKEN, total_s: float = 60, calls: list[Call] | None = None
) -> AsyncIterator[Http]:
    async with Http(
        "there",
        base_url,
        token=SecretStr(token),
        classify=classify,
        budget=budget or Unlimited(),
        observe=None if calls is None else calls.append,
        timeouts=Timeouts(total_s=total_s),
    ) as http:
        yield http


@asynccontextmanager
async def server(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[str]:
    """A raw server that reads one request's head and then does what it likes; its base address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        done = answer(reader, writer)
        if asyncio.iscoroutine(done):
            await done
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


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


@pytest.mark.parametrize(
    ("status", "error", "happened"),
    [
        (301, Misused, False),
        (400, Refused, False),
        (401, Unauthorised, False),
        (402, Forbidden, False),
        (404, Gone, False),
        (405, Misused, False),
        (408, AnswerLost, None),
        (409, Refused, False),
        (410, Gone, False),
        (418, Refused, False),
        (422, Refused, False),
        (429, RateLimited, False),
        (500, Failed, None),
        (502, Unavailable, None),
        (503, Unavailable, None),
        (504, Unavailable, None),
        (520, Failed, None),
        (529, Unavailable, None),
    ],
)
@respx.mock
async def test_each_status_means_one_error(status: int, error: type[RemoteError], happened: bool | None) -> None:
    respx.get(BASE).respond(status, json={"message": "no"})
    async with client() as http:
        with pytest.raises(error) as caught:
            await http.call("GET", "/")
    assert type(caught.value) is error
    assert (caught.value.destination, caught.value.status, caught.value.happened) == ("there", status, happened)


@respx.mock
async def test_a_refusal_in_front_of_the_api_is_not_taken_for_a_missing_permission() -> None:
    respx.get(BASE).respond(403, html="<html>blocked</html>")
    async with client() as http:
        with pytest.raises(Unavailable) as caught:
            await http.call("GET", "/")
    assert caught.value.happened is False


@pytest.mark.parametrize(
    ("raised", "error", "happened"),
    [
        (httpx.ConnectError, Unavailable, False),
        (httpx.ConnectTimeout, Unavailable, False),
        (httpx.PoolTimeout, Unavailable, False),
        (httpx.ProxyError, Unavailable, False),
        (httpx.ReadTimeout, AnswerLost, None),
        (httpx.WriteTimeout, AnswerLost, None),
        (httpx.ReadError, AnswerLost, None),
        (httpx.WriteError, AnswerLost, None),
        (httpx.CloseError, AnswerLost, None),
        (httpx.RemoteProtocolError, AnswerLost, None),
        (httpx.DecodingError, Failed, None),
        (httpx.LocalProtocolError, Misused, False),
        (httpx.UnsupportedProtocol, Misused, False),
    ],
)
@respx.mock
async def test_each_broken_connection_says_whether_the_request_may_have_been_sent(
    raised: type[httpx.TransportError], error: type[RemoteError], happened: bool | None
) -> None:
    respx.post(BASE).mock(side_effect=raised("for ada@example.com"))
    calls: list[Call] = []
    async with client(calls=calls) as http:
        with pytest.raises(error) as caught:
            await http.call("POST", "/", json={})
    assert (caught.value.happened, caught.value.status) == (happened, None)
    assert "ada@" not in str(caught.value)
    assert [call.status for call in calls] == [None]


async def test_nobody_listening_means_not_sent() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{held.getsockname()[1]}") as http:
            with pytest.raises(Unavailable) as caught:
                await http.call("POST", "/", json={})
    assert caught.value.happened is False


async def test_a_connection_cut_after_the_request_means_the_answer_is_lost() -> None:
    async with server(lambda _reader, writer: writer.transport.abort()) as base, client(base) as http:
        with pytest.raises(AnswerLost) as caught:
            await http.call("POST", "/", json={})
    assert caught.value.happened is None


async def test_an_answer_cut_in_the_middle_is_lost() -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    async with server(lambda _reader, writer: writer.write(cut)) as base, client(base) as http:
        with pytest.raises(AnswerLost):
            await http.call("POST", "/", json={})


async def test_an_answer_that_never_ends_is_given_up() -> None:
    gone = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
        await gone.wait()

    async with server(drip) as base, client(base, total_s=0.2) as http:
        with pytest.raises(AnswerLost, match=r"within 0\.2 s"):
            await http.call("POST", "/", json={})
        gone.set()


async def test_cancelling_a_call_passes_through_and_says_nothing_of_the_far_side() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await gone.wait()

    calls: list[Call] = []
    async with server(hang) as base, client(base, calls=calls) as http:
        task = asyncio.create_task(http.call("POST", "/notes", json={}))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gone.set()
    assert calls == []


@respx.mock
async def test_an_answer_that_is_too_large_is_not_read_to_its_end() -> None:
    respx.get(BASE).respond(200, content=b" " * (MAX_ANSWER_BYTES + 1))
    async with client() as http:
        with pytest.raises(Failed, match="larger than 5 MiB") as caught:
            await http.call("GET", "/")
    assert caught.value.happened is None


@pytest.mark.parametrize("body", [b"<html>", b'{"a":', b"\xff\xfe{}", b"[" * 100_000, b"NaN", b'{"n":' + b"9" * 5_000 + b"}", b'"\x00"'])
@respx.mock
async def test_an_answer_that_is_no_json_fails_without_saying_that_nothing_happened(body: bytes) -> None:
    respx.post(BASE).respond(200, content=body)
    async with client() as http:
        with pytest.raises(Failed) as caught:
            await http.call("POST", "/", json={})
    assert (caught.value.happened, caught.value.status) == (None, 200)


async def test_a_wrongly_compressed_answer_fails() -> None:
    wrong = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\nnot gzip"
    async with server(lambda _reader, writer: writer.write(wrong)) as base, client(base) as http:
        with pytest.raises(Failed, match="compressed wrongly"):
            await http.call("GET", "/")


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
