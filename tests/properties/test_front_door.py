"""Any request at all, through the whole receiver: an answer of the front door's own, never a 500, and 202 only for what was rightly signed.

What each source makes of headers and bytes is proven without a server in tests/receiver/test_sources_properties.py, whose strategies
are used here. One receiver on one database serves all examples; requests come as an ASGI server hands them over, in pieces.
"""

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outbox.log import configure
from simulators.signing import GhlSigner, sign_notion, sign_standard
from tests.properties.ground import Ground, ground_on
from tests.receiver.running import Talk, started
from tests.receiver.senders import NOTION_TOKEN, STANDARD_SECRET, WORKFLOW_SECRET, packed
from tests.receiver.test_sources_properties import harmless_objects, headers, hostile_objects

SOURCES = ("ghl", "ghl-workflow", "notion", "standard/shop")
SIGNS_THE_BODY = ("ghl", "notion", "standard/shop")
NEEDS: dict[str, dict[str, str]] = {
    "ghl": {"type": "ContactCreate"},
    "ghl-workflow": {},
    "notion": {"id": "d698932b-5cc2-5232-916b-5fa9e2fe0e55", "type": "page.created"},
    "standard/shop": {},
}
PROOFS = {
    "ghl": "X-GHL-Signature",
    "ghl-workflow": "x-webhook-secret",
    "notion": "X-Notion-Signature",
    "standard/shop": "webhook-signature",
}
ANSWERS = {200, 202, 400, 401, 404, 405, 408, 413, 415, 429, 503}
OUR_FAULT = ("a webhook failed", "a request failed", "webhooks cannot be staged", "could not be kept")
# Twice as many as elsewhere: requests vary in more ways.
relaxed = settings(deadline=None, max_examples=2 * settings().max_examples, suppress_health_check=list(HealthCheck))


def sign(source: str, body: bytes, number: int) -> dict[str, str]:
    """As the sender would."""
    match source:
        case "ghl":
            return GhlSigner.for_demo().headers(body)
        case "ghl-workflow":
            return {"x-webhook-secret": WORKFLOW_SECRET, "idempotency-key": f"example {number}"}
        case "notion":
            return sign_notion(body, NOTION_TOKEN)
    return sign_standard(body, secret=STANDARD_SECRET, message_id=f"example {number}", timestamp=int(time.time()))


@dataclass(frozen=True)
class Request:
    """As a server hands it over. `pieces`: where the body is cut; `leaves`: the sender is gone before its last piece."""

    path: str
    body: bytes
    headers: list[tuple[bytes, bytes]]
    method: str = "POST"
    pieces: tuple[int, ...] = ()
    leaves: bool = False
    client: tuple[str, int] | None = ("203.0.113.9", 1)

    def parts(self) -> list[dict[str, Any]]:
        cuts = sorted({0, len(self.body), *(place % (len(self.body) + 1) for place in self.pieces)})
        chunks = [self.body[a:b] for a, b in pairwise(cuts)] or [b""]
        parts = [{"type": "http.request", "body": chunk, "more_body": n + 1 < len(chunks)} for n, chunk in enumerate(chunks)]
        return [*(parts[:-1] if self.leaves else parts), {"type": "http.disconnect"}]


@dataclass
class Door:
    """A running receiver, and what it logged as its own fault."""

    ground: Ground
    talk: Talk
    logged: io.StringIO
    numbers: Iterator[int] = field(default_factory=count)

    async def ask(self, request: Request) -> tuple[int | None, bytes]:
        """Status and body of the answer; None: nobody was there to be answered."""
        sent: list[Any] = []
        parts = request.parts()

        async def receive() -> dict[str, Any]:
            return parts.pop(0) if len(parts) > 1 else parts[0]

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.path,
            "raw_path": request.path.encode("utf-8", "surrogatepass"),
            "root_path": "",
            "query_string": b"",
            "headers": request.headers,
            "client": request.client,
            "server": ("receiver.example", 80),
        }
        await self.talk.app(scope, receive, send)
        if not sent:
            return None, b""
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        return sent[0]["status"], sent[1]["body"]

    def answer(self, request: Request) -> tuple[int | None, bytes]:
        status, body = self.ground.run(self.ask(request))
        assert status is None or status in ANSWERS
        assert (status is None) <= request.leaves
        assert not any(words in self.logged.getvalue() for words in OUR_FAULT), self.logged.getvalue()
        return status, body

    def rightly_signed(self, source: str, body: bytes) -> Request:
        signed = sign(source, body, next(self.numbers))
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in signed.items()]
        return Request(f"/api/webhooks/{source}", body, [*pairs, (b"content-type", b"application/json")])


@pytest.fixture(scope="module")
def door(postroom_database: str) -> Iterator[Door]:
    logged = io.StringIO()
    configure(json=True, level="warning", to=logged)
    with ground_on(postroom_database) as ground:
        ground.run(ground.empty())
        running = started(ground.postroom)
        opened = Door(ground, ground.run(running.__aenter__()), logged)
        yield opened
        ground.run(opened.talk.flushed())
        ground.run(running.__aexit__(None, None, None))
    configure(level="warning")
    assert not any(words in logged.getvalue() for words in OUR_FAULT), logged.getvalue()


bodies = st.binary(max_size=300) | hostile_objects.map(packed) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
pieces = st.lists(st.integers(0, 400), max_size=4).map(tuple)
clients = st.sampled_from([None, ("203.0.113.9", 1), ("2001:db8::1", 2), ("", 0), ("unix:", 0), ("a name", 1)])
names = st.sampled_from(SOURCES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
tails = st.sampled_from(["", "", "", "/", "/health", "//", "%2F", "?x", "\x00"])
paths = st.builds(lambda name, tail: f"/api/webhooks/{name}{tail}", names, tails)
framings = st.lists(
    st.sampled_from([(b"content-length", b"5"), (b"content-length", b"-1"), (b"content-encoding", b"gzip"), (b"expect", b"x")]), max_size=1
)
methods = st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "PUT", "BREW"])
all_headers = st.tuples(headers, framings).map(lambda both: [*both[0], *both[1]])
anything = st.builds(Request, paths, bodies, all_headers, methods, pieces, st.booleans(), clients)


@relaxed
@given(request=anything)
def test_no_request_at_all_is_our_own_fault_or_gets_in_unsigned(door: Door, request: Request) -> None:
    status, _ = door.answer(request)
    assert status != 202 or any(WORKFLOW_SECRET.encode() in value for _, value in request.headers), (
        "a secret is drawn by chance, a signature is not"
    )


@relaxed
@given(source=st.sampled_from(SOURCES), body=bodies, more=headers, cuts=pieces, leaves=st.booleans(), client=clients)
@example(source="notion", body=b'{"verification_token":"secret_of_a_test_not_real"}', more=[], cuts=(), leaves=False, client=None)
def test_no_rightly_signed_request_is_our_own_fault_whatever_else_it_brings(
    door: Door,
    source: str,
    body: bytes,
    more: list[tuple[bytes, bytes]],
    cuts: tuple[int, ...],
    leaves: bool,
    client: tuple[str, int] | None,
) -> None:
    request = door.rightly_signed(source, body)
    status, said = door.answer(replace(request, headers=[*request.headers, *more], pieces=cuts, leaves=leaves, client=client))
    if status == 202:
        event = door.ground.run(door.ground.postroom.rows("select payload from outbox.events where id = $1", json.loads(said)["id"]))
        assert event == [{"payload": body}] or json.loads(said)["duplicate"]


@relaxed
@given(source=st.sampled_from(SOURCES), members=harmless_objects, cuts=pieces)
def test_a_right_signature_over_any_body_is_accepted_and_its_bytes_are_kept(
    door: Door, source: str, members: dict[str, object], cuts: tuple[int, ...]
) -> None:
    body = packed({**members, **NEEDS[source]})
    status, said = door.answer(replace(door.rightly_signed(source, body), pieces=cuts))
    assert status == 202
    [event] = door.ground.run(door.ground.postroom.rows("select payload from outbox.events where id = $1", json.loads(said)["id"]))
    assert event["payload"] == body or json.loads(said)["duplicate"]


@relaxed
@given(source=st.sampled_from(SIGNS_THE_BODY), members=harmless_objects, place=st.integers(0), bit=st.integers(0, 7), cuts=pieces)
def test_one_flipped_bit_of_the_body_is_turned_away_before_anything_is_kept(
    door: Door, source: str, members: dict[str, object], place: int, bit: int, cuts: tuple[int, ...]
) -> None:
    body = packed({**members, **NEEDS[source]})
    request = door.rightly_signed(source, body)
    changed = bytearray(body)
    changed[place % len(body)] ^= 1 << bit
    before = door.ground.run(door.ground.postroom.value("select count(*) from outbox.events"))
    status, _ = door.answer(replace(request, body=bytes(changed), pieces=cuts))
    assert status == 401
    assert door.ground.run(door.ground.postroom.value("select count(*) from outbox.events")) == before


@relaxed
@given(source=st.sampled_from(SOURCES), place=st.integers(0), bit=st.integers(0, 7))
def test_one_flipped_bit_of_the_proof_is_turned_away(door: Door, source: str, place: int, bit: int) -> None:
    request = door.rightly_signed(source, packed(NEEDS[source]))
    name = PROOFS[source].encode()
    proof = bytearray(dict(request.headers)[name])
    right = bytes(proof)
    proof[place % len(proof)] ^= 1 << bit
    status, _ = door.answer(replace(request, headers=[(n, bytes(proof) if n == name else v) for n, v in request.headers]))
    is_the_same_hex = source == "notion" and proof.lower() == right.lower() and place % len(proof) >= len("sha256=")
    assert status == (202 if is_the_same_hex else 401)
