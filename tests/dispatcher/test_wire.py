"""The transport: a connection is kept exactly as long as the next call can trust it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from dispatcher.clients.http import Http, Unlimited, before_sending
from dispatcher.clients.wire import Wire
from dispatcher.errors import AnswerLost
from outbox.errors import OwnershipLost
from tests.dispatcher.calling import classify

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class FarSide:
    """Answers each request as it is told to. `heads`: the requests of each connection."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self.heads: list[list[bytes]] = []
        self.asked, self.ended = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads: list[bytes] = []
        self.heads.append(heads)
        try:
            while not writer.is_closing():
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                self.asked.set()
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def far_side(answer: Answering) -> AsyncIterator[tuple[FarSide, str]]:
    side = FarSide(answer)
    async with await asyncio.start_server(side.serve, "127.0.0.1", 0) as listening:
        yield side, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def answering(data: bytes) -> Answering:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


@asynccontextmanager
async def client(url: str, *, connections: int = 8, keepalive_s: float = 30, pool_s: float = 10) -> AsyncIterator[httpx.AsyncClient]:
    wire = Wire(verify=None, max_connections=connections, keepalive_s=keepalive_s)
    async with httpx.AsyncClient(base_url=url, transport=wire, timeout=httpx.Timeout(10, pool=pool_s)) as made:
        yield made


async def test_calls_one_after_the_other_share_a_connection_and_calls_at_once_do_not() -> None:
    together = asyncio.Barrier(3)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(side.heads) > 1:
            await together.wait()
        writer.write(OK)

    async with far_side(answer) as (side, url), client(url) as http:
        for _ in range(3):
            assert (await http.get("/")).content == b"{}"
        assert [len(heads) for heads in side.heads] == [3]
        side.heads.append([])
        await asyncio.gather(*(http.get("/") for _ in range(3)))
        assert sorted(len(heads) for heads in side.heads) == [0, 1, 1, 4]


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", id="it says close"),
        pytest.param(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", id="it speaks HTTP/1.0"),
        pytest.param(OK + OK, id="it says more than it was asked"),
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(last: bytes) -> None:
    async with far_side(answering(last)) as (side, url), client(url) as http:
        for _ in range(2):
            assert (await http.get("/")).content == b"{}"
        assert [len(heads) for heads in side.heads] == [1, 1]


@pytest.mark.parametrize("word", [pytest.param(b"", id="closes"), pytest.param(OK, id="says something")])
async def test_an_idle_connection_that_the_far_side_ends_or_talks_on_is_left(word: bytes) -> None:
    then = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        if len(side.heads) == 1:
            await then.wait()
            writer.write(word)
            if not word:
                writer.close()

    async with far_side(answer) as (side, url), client(url) as http:
        await http.get("/")
        then.set()
        await side.ended.wait()  # by itself, or because our end was closed
        assert (await http.get("/")).status_code == 200
        assert [len(heads) for heads in side.heads] == [1, 1]


async def test_a_connection_is_kept_no_longer_than_it_may() -> None:
    async with far_side(answering(OK)) as (side, url), client(url, keepalive_s=0) as http:
        await http.get("/")
        await http.get("/")
        assert [len(heads) for heads in side.heads] == [1, 1]
        await side.ended.wait()


async def test_an_answer_may_come_in_pieces_without_length_and_after_an_early_hint() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 2", b"00 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab"):
            writer.write(piece)
            await writer.drain()
        writer.write(b"c\r\n2\r\nde\r\n0\r\n\r\n")

    async with far_side(answer) as (side, url), client(url) as http:
        for _ in range(2):
            assert (await http.get("/")).content == b"abcde"
        assert [len(heads) for heads in side.heads] == [2]


async def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)
        writer.close()

    async with far_side(answer) as (_, url), client(url) as http:
        assert len((await http.get("/")).content) == 100_000


async def test_a_large_request_is_sent_whole_to_a_far_side_that_reads_late() -> None:
    size, begin = 4 * 2**20, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await begin.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n%d" % len(await reader.readexactly(size)))

    async with far_side(answer) as (side, url), client(url) as http:
        asking = asyncio.create_task(http.post("/", content=b"x" * size))
        await side.asked.wait()
        begin.set()
        assert (await asking).content == str(size).encode()


async def test_a_head_without_end_and_one_that_is_no_http_are_refused() -> None:
    for word in (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 300_000, b"SSH-2.0-x\r\n\r\n"):
        async with far_side(answering(word)) as (_, url), client(url) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get("/")


async def test_a_call_waits_for_a_connection_and_not_for_ever() -> None:
    free = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await free.wait()
        writer.write(OK)

    async with far_side(answer) as (side, url), client(url, connections=1, pool_s=0.05) as http:
        first = asyncio.create_task(http.get("/"))
        await side.asked.wait()
        with pytest.raises(httpx.PoolTimeout):
            await http.get("/")
        free.set()
        assert (await first).status_code == 200
        assert (await http.get("/")).status_code == 200, "the slot was given back"


async def test_a_cancelled_call_closes_its_connection_and_frees_its_slot() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(side.heads) == 1:
            await reader.read()
        writer.write(OK)

    async with far_side(answer) as (side, url), client(url, connections=1) as http:
        asking = asyncio.create_task(http.get("/"))
        await side.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await side.ended.wait()
        assert (await http.get("/")).status_code == 200


async def test_closing_ends_the_calls_in_flight() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with far_side(answer) as (side, url):
        http = Http("there", url, token=SecretStr("x"), classify=classify, budget=Unlimited())
        asking = asyncio.create_task(http.call("GET", "/"))
        await side.asked.wait()
        await http.aclose()
        with pytest.raises(AnswerLost):
            await asking


async def test_what_must_not_be_sent_is_not_although_its_connection_stands() -> None:
    async with far_side(answering(OK)) as (side, url), Http("there", url, token=None, classify=classify, budget=Unlimited()) as http:
        await http.call("GET", "/")

        def refuse() -> None:
            raise OwnershipLost("it is another's")

        asked = before_sending.set(refuse)
        with pytest.raises(OwnershipLost):
            await http.call("POST", "/", json={})
        before_sending.reset(asked)
        await http.call("GET", "/")
        assert [head.split()[0] for heads in side.heads for head in heads] == [b"GET", b"GET"]


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with far_side(answering(OK)) as (_, url), client("http://two-addresses.example.com") as http:
        port, loop = httpx.URL(url).port, asyncio.get_running_loop()
        create = loop.create_connection

        async def found(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
            return [(0, 0, 0, "", ("192.0.2.1", 80)), (0, 0, 0, "", ("127.0.0.1", port or 0))]

        async def connect(factory: Callable[[], asyncio.Protocol], host: str, *args: int, **options: object) -> object:
            if host == "192.0.2.1":
                await asyncio.Event().wait()
            return await create(factory, host, *args, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(loop, "getaddrinfo", found)
        monkeypatch.setattr(loop, "create_connection", connect)
        assert (await http.get("/", timeout=httpx.Timeout(5, connect=0.2))).status_code == 200


def certificate(name: str, folder: Path) -> Path:
    """Of its own making, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / f"{name}.pem"
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return path


async def test_https_asks_for_the_certificate_of_the_name_it_calls(tmp_path: Path) -> None:
    file = certificate("localhost", tmp_path)
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(file))
    theirs.load_cert_chain(file)
    side = FarSide(answering(OK))
    async with await asyncio.start_server(side.serve, "127.0.0.1", 0, ssl=theirs) as listening:
        port = listening.sockets[0].getsockname()[1]
        for verify, host in ((ours, "localhost"), (ours, "127.0.0.1"), (ssl.create_default_context(), "localhost")):
            wire = Wire(verify=verify, max_connections=8, keepalive_s=30)
            async with httpx.AsyncClient(base_url=f"https://{host}:{port}", transport=wire) as http:
                if (verify, host) == (ours, "localhost"):
                    assert [(await http.get("/")).content for _ in range(2)] == [b"{}", b"{}"]
                    continue
                with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                    await http.get("/")
        assert [len(heads) for heads in side.heads] == [2]


async def test_a_proxy_of_the_environment_is_used_for_the_world_outside_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with far_side(answering(OK)) as (proxy, proxy_url), far_side(answering(OK)) as (near, near_url):
        monkeypatch.setenv("http_proxy", proxy_url)
        monkeypatch.setenv("no_proxy", "inside.example.com")
        for url in ("http://there.example.com", near_url):
            async with Http("there", url, token=None, classify=classify, budget=Unlimited()) as http:
                await http.call("GET", "/things")
        inside = Http("there", "http://inside.example.com", token=None, classify=classify, budget=Unlimited())
        assert isinstance(inside._client._transport, Wire)
        await inside.aclose()
        assert [heads[0].split()[1] for heads in proxy.heads] == [b"http://there.example.com/things"]
        assert [heads[0].split()[1] for heads in near.heads] == [b"/things"]
