"""The HTTP client: each failure mapped once, nothing that is broken taken for an answer."""

import asyncio
import socket

import httpx
import pytest
import respx

from dispatcher.clients.http import MAX_ANSWER_BYTES, Call
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
from tests.dispatcher.calling import BASE, client, server


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
