"""Whatever comes in: a clear answer, never a 5xx but 503, nothing secret in the log. Every route, then anything at all."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count, product
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox.testing import Postroom
from receiver.api.operation import Operation
from receiver.api.table import build_table
from receiver.config import Role
from simulators.signing import GhlSigner, sign_notion
from tests.properties.ground import running_loop
from tests.receiver.running import (
    AS_OPERATOR,
    AS_VIEWER,
    JSON,
    OPERATOR_TOKEN,
    VIEWER_TOKEN,
    Talk,
    ghl_delivery,
    notion_delivery,
    standard_delivery,
    started,
    workflow_delivery,
)
from tests.receiver.senders import NOTION_TOKEN, STANDARD_SECRET, WORKFLOW_SECRET

TABLE = build_table()
SECRETS = (OPERATOR_TOKEN, VIEWER_TOKEN, NOTION_TOKEN, STANDARD_SECRET, WORKFLOW_SECRET, "sesame-in-a-body")
DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "invalid UTF-8": b'{"kind":"\xff\xfe"}',
    "NUL": b"\x00" * 100,
    "an escaped NUL": b'{"kind":"a\\u0000b","reason":"a\\u0000b","title":"a\\u0000b","payload":{"a":"\\u0000"}}',
    "half a surrogate pair": b'{"kind":"\\ud800","reason":"\\ud800","title":"\\udfff"}',
    "10 MB": b"x" * 10_000_000,
    "deep nesting": DEEP,
    "deep nesting inside": b'{"payload":' + DEEP[:50_000] + b',"kind":"a.b"}',
    "duplicate keys": b'{"kind":"a.b","kind":"c.d","payload":1,"payload":2,"reason":"x","reason":"y","colour":1,"colour":2}',
    "huge numbers": b'{"kind":"a.b","payload":1e999,"limit":1e999,"minutes":1e400,"ceiling":' + b"9" * 400 + b"}",
    "a number of 100,000 digits": b'{"limit":' + b"7" * 100_000 + b"}",
    "no object": b"[1,2,3]",
    "null": b"null",
    "a string": b'"sesame-in-a-body"',
    "cut short": b'{"kind":"a.b","payload":{"token":"sesame-in-a-body',
    "unknown members": b'{"sesame-in-a-body":"sesame-in-a-body"}',
    "wrong types": b'{"kind":[],"payload":{},"reason":7,"limit":"ten","all":"yes","starts_at":[],"retire_others":2}',
    "a form": b"kind=a.b&payload=1",
}
QUERIES = [
    "limit=0",
    "limit=201",
    "limit=x",
    "limit=1e9",
    "limit=",
    "before=-1",
    "before=99999999999999999999999",
    "before=x",
    "colour=red",
    "state=lost",
    "state=",
    "kind=%00",
    "kind=%ff%fe",
    "kind=%ED%A0%80",
    "kind=" + "x" * 5000,
    "since=yesterday",
    "since=9999-12-31T23:59:59-14:00",
    "until=0001-01-01T00:00:00%2B14:00",
    "limit=5&limit=6",
    "&&&==&",
    "%",
    "payload=maybe",
    "blocked=maybe",
    "above=-5",
    "&".join(f"a{n}=1" for n in range(100)),
]
SIGNATURES = ["", "=", "====", "ü", "A" * 88, "A" * 100_000, "sha256=" + "G" * 64, "v1,", "v1,x v1,y " * 50, "\x01"]
IDS = ["1", "0", "x", "%00", "%ff", "99999999999999999999", "-1", "a%2Fb", "..", "'; drop table outbox.events; --", "١"]


@pytest.fixture
async def talk(postroom: Postroom) -> AsyncIterator[Talk]:
    async with started(postroom) as started_talk:
        yield started_talk


def check(answer: httpx.Response, what: object) -> None:
    """Said clearly, and not a fault of ours."""
    assert answer.status_code < 500 or answer.status_code == 503, (what, answer.status_code, answer.text)
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json", what
        said = answer.json()
        assert said["status"] == answer.status_code
        assert said["title"]
    assert not any(secret in answer.text for secret in SECRETS[:-1]), what


def paths(operation: Operation[Any, Any], value: str = "1") -> str:
    return re.sub(r"\{\w+\}", lambda _: value, operation.path)


@pytest.mark.parametrize("what", BODIES)
async def test_no_route_breaks_on_a_body(talk: Talk, logged: Callable[[], str], what: str) -> None:
    for operation in TABLE:
        if operation.method == "GET" and what not in ("NUL", "10 MB"):
            continue  # it reads none, whatever it is
        for content_type in ("application/json", "text/plain") if what in ("NUL", "a form") else ("application/json",):
            headers = {**AS_OPERATOR, "content-type": content_type}
            answer = await talk.client.request(operation.method, paths(operation), headers=headers, content=BODIES[what])
            check(answer, (operation.method, operation.path, what))
    assert not any(secret in logged() for secret in SECRETS)


@pytest.mark.parametrize("what", BODIES)
async def test_no_source_breaks_on_a_rightly_signed_body(talk: Talk, logged: Callable[[], str], what: str) -> None:
    body = BODIES[what]
    signed = {
        "ghl": GhlSigner.for_demo().headers(body),
        "notion": notion_headers(body),
        "ghl-workflow": {"x-webhook-secret": WORKFLOW_SECRET},
        "standard/shop": standard_delivery("m1", int(time.time()), body)[0],
    }
    for source, headers in signed.items():
        answer = await talk.webhook(source, ({**JSON, **headers}, body))
        check(answer, (source, what))
        assert answer.status_code in (202, 400, 413), (source, what)
    assert not any(secret in logged() for secret in SECRETS)


def notion_headers(body: bytes) -> dict[str, str]:
    return sign_notion(body, NOTION_TOKEN)


async def test_no_route_breaks_on_a_query(talk: Talk) -> None:
    for operation, query in product(TABLE, QUERIES):
        answer = await talk.client.request(operation.method, f"{paths(operation)}?{query}", headers=AS_OPERATOR)
        check(answer, (operation.method, operation.path, query))


async def test_an_unknown_parameter_is_named(talk: Talk) -> None:
    for operation in TABLE:
        if operation.by_cron:
            continue  # asks for another secret first
        if operation.method == "GET" and operation.query.model_config.get("extra") != "ignore":  # where a provider adds what it likes
            answer = await talk.client.get(f"{paths(operation)}?colour=red&limt=5", headers=AS_OPERATOR)
            assert answer.status_code == 400, operation.path
            assert {error["field"] for error in answer.json()["errors"]} == {"colour", "limt"}


async def test_no_route_breaks_on_an_id(talk: Talk) -> None:
    for operation, which in product((one for one in TABLE if "{" in one.path), IDS):
        answer = await talk.client.request(operation.method, paths(operation, which), headers={**AS_OPERATOR, **JSON}, content=b"{}")
        check(answer, (operation.method, operation.path, which))


async def test_another_method_is_a_405_with_what_is_allowed(talk: Talk) -> None:
    allowed: dict[str, set[str]] = {}
    for operation in TABLE:
        allowed.setdefault(operation.path, set()).update({operation.method, *(["HEAD"] if operation.method == "GET" else [])})
    for path, methods in allowed.items():
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - methods:
            answer = await talk.client.request(method, re.sub(r"\{\w+\}", "1", path), headers=AS_OPERATOR)
            assert answer.status_code == 405, (method, path)
            assert set(answer.headers["allow"].split(", ")) == methods, (method, path)


async def test_no_source_breaks_on_a_signature(talk: Talk) -> None:
    names = (
        "x-ghl-signature",
        "x-wh-signature",
        "x-notion-signature",
        "x-webhook-secret",
        "webhook-signature",
        "webhook-id",
        "authorization",
    )
    for signature, source in product(SIGNATURES, ("ghl", "ghl-workflow", "notion", "standard/shop")):
        headers = [(name.encode(), signature.encode("latin-1")) for name in names] + [(b"webhook-timestamp", b"1")]
        answer = await talk.client.post(f"/api/webhooks/{source}", headers=headers, content=b"{}")
        check(answer, (signature, source))
        assert answer.status_code == 401, (signature, source)


async def test_a_signature_in_upper_case_hex_counts_as_notions_own_library_has_it(talk: Talk) -> None:
    headers, body = notion_delivery()
    name = "X-Notion-Signature"
    prefix, _, digits = headers[name].partition("=")
    assert (await talk.webhook("notion", ({**JSON, name: f"{prefix}={digits.upper()}"}, body))).status_code == 202
    assert (await talk.webhook("notion", ({**JSON, name: headers[name].upper()}, body))).status_code == 401


async def test_a_page_of_nothing_is_an_empty_list(talk: Talk) -> None:
    for path in ("events", "dead-letters", "lanes", "appointments", "audit", "rejected"):
        answer = await talk.client.get(f"/api/{path}?limit=200", headers=AS_VIEWER)
        assert answer.status_code == 200
        assert [value for value in answer.json().values() if isinstance(value, list)] == [[]]


async def test_nothing_that_was_refused_is_in_the_outbox(talk: Talk, postroom: Postroom) -> None:
    for operation in TABLE:
        if operation.role is Role.OPERATOR:
            await talk.client.request(operation.method, paths(operation), headers={**AS_OPERATOR, **JSON}, content=b'{"colour":1}')
    for table in ("events", "audit", "destinations", "keys"):
        assert await postroom.value(f"select count(*) from outbox.{table}") == 0


PATHS = st.one_of(
    st.sampled_from([paths(operation, value) for operation in TABLE for value in ("1", "shop", "x")]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30).map(lambda text: "/" + text),
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"])
NAMES = st.sampled_from(
    [
        "authorization",
        "content-type",
        "content-encoding",
        "content-length",
        "idempotency-key",
        "x-ghl-signature",
        "x-webhook-secret",
        "webhook-id",
    ]
)
VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([f"Bearer {OPERATOR_TOKEN}".encode(), b"application/json", WORKFLOW_SECRET.encode(), b"gzip", b"5"]),
)
HEADERS = st.lists(st.tuples(NAMES.map(str.encode), VALUES), max_size=6)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["kind", "payload", "reason", "limit", "all", "starts_at", "ends_at", "title", "status"]), inner, max_size=6
        )
    ),
    max_leaves=12,
)
REQUEST_BODIES = st.one_of(st.binary(max_size=200), JSON_VALUES.map(lambda value: json.dumps(value).encode()))


NUMBERS = count(1)


async def call(app: Any, method: str, path: str, headers: list[tuple[bytes, bytes]], query: bytes, body: bytes) -> int:
    """One request as a server hands it over: nothing between it and the app corrects it.

    Each comes from an address of its own, because of one with many wrong tokens nothing else would be looked at.
    """
    sent: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": headers,
        "client": (f"2001:db8::{next(NUMBERS):x}", 1),
        "server": ("receiver.example", 80),
    }
    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    status: int = sent[0]["status"]
    assert all(isinstance(part, bytes) for pair in sent[0]["headers"] for part in pair)
    return status


Ask = Callable[[str, str, list[tuple[bytes, bytes]], bytes, bytes], int]


@pytest.fixture
def ask(postroom_database: str) -> Iterator[Ask]:
    """The status of a request's answer. One receiver serves all examples."""
    with running_loop() as loop:
        running = started(postroom_database)
        talk = loop.run_until_complete(running.__aenter__())
        yield lambda *request: loop.run_until_complete(call(talk.app, *request))
        loop.run_until_complete(running.__aexit__(None, None, None))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(method=METHODS, path=PATHS, headers=HEADERS, query=st.binary(max_size=60), body=REQUEST_BODIES, known=st.booleans())
def test_no_request_gives_a_5xx_but_503_and_nothing_secret_is_logged(
    ask: Ask,
    logged: Callable[[], str],
    method: str,
    path: str,
    headers: list[tuple[bytes, bytes]],
    query: bytes,
    body: bytes,
    known: bool,
) -> None:
    shown = [*headers, *((name.encode(), value.encode()) for name, value in {**AS_OPERATOR, **JSON}.items())] if known else headers
    status = ask(method, path, shown, query, body)
    assert status < 500 or status == 503
    assert not any(secret in logged() for secret in SECRETS)


def test_the_deliveries_of_these_tests_are_good_ones() -> None:
    """So that what is refused above is refused for what was done to it."""
    assert all(delivery()[1] for delivery in (ghl_delivery, notion_delivery, workflow_delivery))
