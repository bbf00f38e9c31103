"""Bounds: the size and the slowness of a body over a real connection, and the buckets that limit how often."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.testing import Postroom
from receiver import limits
from receiver.limits import BodyRefused, Buckets, Disconnected, network_of, read_body
from simulators.serving import Running, serve
from tests.receiver.running import ghl_delivery, settings, started

LIMIT = 4096


@asynccontextmanager
async def served(postroom: Postroom) -> AsyncIterator[Running]:
    """The receiver behind a real server."""
    async with started(postroom, settings(body_limit_bytes=LIMIT)) as talk, serve(talk.app) as running:
        yield running


async def spoken(running: Running, *sent: bytes) -> bytes:
    """What comes back for bytes on a connection of its own, until the server closes it or has answered."""
    reader, writer = await asyncio.open_connection(running.host, running.port)
    try:
        for part in sent:
            writer.write(part)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return head + await reader.readexactly(length)
    finally:
        writer.close()


def head(*lines: str, path: str = "/api/webhooks/ghl") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: receiver.example", *lines, "", ""]).encode()


def signed_lines() -> tuple[list[str], bytes]:
    headers, body = ghl_delivery()
    return [f"{name}: {value}" for name, value in headers.items()], body


async def test_a_body_in_chunks_without_a_length_is_accepted(postroom: Postroom) -> None:
    lines, body = signed_lines()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:11], body[11:])) + b"0\r\n\r\n"
    async with served(postroom) as running:
        answer = await spoken(running, head(*lines, "transfer-encoding: chunked"), chunks)
    assert b" 202 " in answer
    assert await postroom.value("select payload from outbox.events") == body


async def test_a_body_in_chunks_is_counted_while_it_is_read(postroom: Postroom) -> None:
    async with served(postroom) as running:
        chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
        answer = await spoken(running, head("transfer-encoding: chunked"), chunk * 5)  # without an end
    assert b" 413 " in answer
    assert b"connection: close" in answer


async def test_a_length_over_the_limit_is_refused_before_the_body_comes(postroom: Postroom) -> None:
    async with served(postroom) as running:
        answer = await spoken(running, head("content-length: 10000000"))
    assert b" 413 " in answer


async def test_a_body_of_exactly_the_limit_is_read(postroom: Postroom) -> None:
    async with served(postroom) as running:
        at, over = [await spoken(running, head(f"content-length: {n}"), b"x" * n) for n in (LIMIT, LIMIT + 1)]
    assert (b" 401 " in at, b" 413 " in over) == (True, True)


async def test_a_slow_body_is_a_408(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.read_body, "__kwdefaults__", {"timeout_s": 0.05})
    async with served(postroom) as running:
        answer = await spoken(running, head("content-length: 100"), b'{"type"')
    assert b" 408 " in answer
    assert b"connection: close" in answer


async def test_ten_megabytes_are_refused_without_being_kept(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        answer = await talk.webhook("ghl", ({}, b"x" * 10_000_000))
        await talk.flushed()
    assert answer.status_code == 413
    assert await postroom.value("select length(body_head) from outbox.rejected") <= 200


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}


def messages(*given: dict[str, Any]) -> Any:
    left = list(given)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return receive


@pytest.mark.parametrize("length", [b"-1", b"+5", b"1_0", b" 5", b"0x10", b"five", b""])
async def test_a_content_length_that_is_no_number_is_refused(length: bytes) -> None:
    with pytest.raises(BodyRefused) as refused:
        await read_body(scope((b"content-length", length)), messages(), limit_bytes=LIMIT)
    assert refused.value.status == 400


async def test_a_length_of_a_hundred_digits_is_too_large() -> None:
    with pytest.raises(BodyRefused) as refused:
        await read_body(scope((b"content-length", b"9" * 100)), messages(), limit_bytes=LIMIT)
    assert refused.value.status == 413


async def test_a_sender_that_leaves_is_not_answered() -> None:
    parts = messages({"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"})
    with pytest.raises(Disconnected):
        await read_body(scope(), parts, limit_bytes=LIMIT)


async def test_cancelling_a_request_is_not_taken_for_slowness() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    reading = asyncio.create_task(read_body(scope(), receive, limit_bytes=LIMIT))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@given(parts=st.lists(st.binary(max_size=300), max_size=20))
async def test_any_cutting_of_a_body_gives_the_same_body(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    sent = [{"type": "http.request", "body": part, "more_body": True} for part in parts] + [{"type": "http.request"}]
    if len(whole) > LIMIT:
        with pytest.raises(BodyRefused):
            await read_body(scope(), messages(*sent), limit_bytes=LIMIT)
    else:
        assert await read_body(scope(), messages(*sent), limit_bytes=LIMIT) == whole


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets = Buckets(per_s=2, burst=3)
    assert [buckets.take("a", now=0.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b", now=0.0)
    assert buckets.wait_s("a", now=0.0) == pytest.approx(0.5)
    assert [buckets.take("a", now=0.5), buckets.take("a", now=0.5)] == [True, False]
    assert [buckets.take("a", now=1000.0) for _ in range(4)] == [True, True, True, False]


def test_buckets_forget_the_longest_unused_and_stay_bounded() -> None:
    buckets = Buckets(per_s=1, burst=1, names=100)
    for n in range(10_000):
        buckets.take(str(n), now=0.0)
    assert len(buckets._buckets) == 100
    assert not buckets.take("9999", now=0.0)


@given(
    takes=st.lists(st.floats(min_value=0, max_value=10), max_size=200),
    per_s=st.floats(min_value=0.1, max_value=50),
    burst=st.integers(min_value=1, max_value=20),
)
def test_a_bucket_never_gives_more_than_its_burst_and_rate(takes: list[float], per_s: float, burst: int) -> None:
    buckets, now, given_out = Buckets(per_s=per_s, burst=burst), 0.0, 0
    for pause in takes:
        now += pause
        given_out += buckets.take("a", now=now)
    assert given_out <= burst + now * per_s + 1e-6


@pytest.mark.parametrize(
    ("client", "network"),
    [
        (("203.0.113.77", 1), "203.0.113.0/24"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1::/48"),
        (("testclient", 1), None),
        (("", 0), None),
        (None, None),
    ],
)
def test_only_the_network_of_a_sender_is_known(client: tuple[str, int] | None, network: str | None) -> None:
    assert network_of({"client": client}) == network
