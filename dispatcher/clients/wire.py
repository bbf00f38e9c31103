"""HTTP/1.1 to one far side, as a transport of httpx: one write a request, one read an answer, connections kept for the next call.

Owns the connections and what their ends mean; h11 owns the protocol. Refuses redirects, cookies, proxies, HTTP/2: httpx brings its own
transport where a proxy is set. Leaner than that one because it knows one origin, one event loop and small requests.

    idle ─▶ at work ─answer read to its end─▶ idle (at most `keepalive_s`)
     │         └─ cut, cancelled, too slow, or either side says "close" ─▶ closed
     └─ the far side closes it, or says something unasked ─▶ closed
"""

import asyncio
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeAlias, cast

import h11
import httpx

HEAD_BYTES: Final = 100 * 1024  # more is no head of an answer

MayReach: TypeAlias = Callable[[str], bool]


class NotAllowed(httpx.TransportError):
    """Every address of the far side is one that must not be reached. Nothing was sent."""


class Line(asyncio.Protocol):
    """One connection; asked by one call at a time."""

    def __init__(self) -> None:
        self.state = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self.is_open, self.is_idle, self.since = True, False, 0.0
        self._problem: Exception | None = None
        self._more: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._is_full = False

    # ── what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._unread = select.poll()
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self.is_idle:  # an answer to nothing must not become the next call's
            self.close()
            return
        self._take(data)

    def eof_received(self) -> None:
        self.is_open = False
        self._take(b"")

    def connection_lost(self, problem: Exception | None) -> None:
        if self.is_open or problem is not None:
            self.is_open, self._problem = False, problem
            if problem is None:
                self._take(b"")
        _wake(self._more)
        _wake(self._room)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._room)

    def _take(self, data: bytes) -> None:
        try:
            self.state.receive_data(data)
        except h11.RemoteProtocolError as problem:
            self._problem = problem
        _wake(self._more)

    # ── what a call asks

    def write(self, data: bytes) -> None:
        """Sent, or lost with the connection: which of both, the answer shows."""
        self._transport.write(data)

    async def written(self, timeout_s: float | None) -> None:
        """Returns when the far side has taken most of what was written. Raises WriteTimeout."""
        while self._is_full and self.is_open:
            self._room = asyncio.get_running_loop().create_future()
            await _in_time(self._room, timeout_s, httpx.WriteTimeout)

    async def next_event(self, timeout_s: float | None) -> h11.Event:
        """What comes next of the answer. Raises ReadTimeout, ReadError, RemoteProtocolError."""
        while True:
            try:
                event = self.state.next_event()
            except h11.RemoteProtocolError as problem:
                raise self._end_of(problem) from problem
            if isinstance(event, h11.ConnectionClosed):
                raise self._end_of(None)
            if isinstance(event, h11.Event):
                return event
            if self._problem is not None or not self.is_open:
                raise self._end_of(self._problem)
            self._more = asyncio.get_running_loop().create_future()
            await _in_time(self._more, timeout_s, httpx.ReadTimeout)

    def _end_of(self, problem: Exception | None) -> httpx.TransportError:
        if isinstance(self._problem, OSError):
            return httpx.ReadError(str(self._problem))
        return httpx.RemoteProtocolError("the connection was closed before an answer" if problem is None else str(problem))

    def may_stay(self) -> bool:
        """After an answer: whether another call may follow. Then it is idle."""
        if not self.is_open or self.state.our_state is not h11.DONE or self.state.their_state is not h11.DONE:
            return False
        self.state.start_next_cycle()
        if self.state.trailing_data[0]:
            return False
        self.is_idle, self.since, self._more = True, time.monotonic(), None
        return True

    def is_quiet(self) -> bool:
        """Whether it stands and nothing has come: its end may have arrived without the event loop having had a look."""
        return self.is_open and not self._unread.poll(0)

    def close(self) -> None:
        """At once; what was not sent is dropped."""
        self.is_open = False
        self._transport.abort()


class Wire(httpx.AsyncBaseTransport):
    """All calls go to the origin of their URL, which is the same for all. `verify`: whose word is taken for a far side by https.

    `may_reach` is asked of each address that the name stands for; the connection goes to one that was asked about, and to no other.
    """

    def __init__(
        self, *, verify: ssl.SSLContext | None, max_connections: int, keepalive_s: float, may_reach: MayReach | None = None
    ) -> None:
        self._verify, self._keepalive_s, self._may_reach = verify, keepalive_s, may_reach
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: deque[Line] = deque()  # the latest used last
        self._lines: set[Line] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer's head, its body still to be read. Raises httpx.TransportError; its timeouts are the request's."""
        timeouts = request.extensions.get("timeout", {})
        body = await request.aread()
        await self._slot(timeouts.get("pool"))
        line = None
        try:
            line = self._kept() or await self._connect(request.url, timeouts.get("connect"))
            message = _written(line.state, request, body)
            trace = request.extensions.get("trace")
            if trace is not None:
                await trace("wire.send_request_headers.started", {})
            line.write(message)
            await line.written(timeouts.get("write"))
            if trace is not None:
                await trace("wire.send_request_body.complete", {})
            head = await line.next_event(timeouts.get("read"))
            while isinstance(head, h11.InformationalResponse):
                head = await line.next_event(timeouts.get("read"))
            assert isinstance(head, h11.Response)
            stream = _Body(self, line, timeouts.get("read"))
            return httpx.Response(
                head.status_code, headers=head.headers.raw_items(), stream=stream, extensions={"http_version": b"HTTP/1.1"}
            )
        except BaseException:
            self.release(line, whole=False)
            raise

    async def _slot(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(f"no connection was free within {timeout_s} s") from None

    def _kept(self) -> Line | None:
        """The connection that was used last, so that those that are not needed grow old; they are closed then."""
        oldest = time.monotonic() - self._keepalive_s
        while self._idle and not (self._idle[0].is_open and self._idle[0].since > oldest):
            self._drop(self._idle.popleft())
        while self._idle:
            line = self._idle.pop()
            if line.is_quiet():
                line.is_idle = False
                return line
            self._drop(line)
        return None

    async def _connect(self, url: httpx.URL, timeout_s: float | None) -> Line:
        """To the first address that answers; each gets its share of the time, so that a dead one does not take it all."""
        host, secure = url.raw_host.decode("ascii"), url.scheme == "https"
        if secure and self._verify is None:
            raise httpx.UnsupportedProtocol("this transport was set up without certificates")
        tls, name = (self._verify, host) if secure else (None, None)
        loop, began = asyncio.get_running_loop(), time.monotonic()
        problem: OSError = OSError("no address")
        try:
            async with asyncio.timeout(timeout_s):
                found = await loop.getaddrinfo(host, url.port or (443 if secure else 80), type=socket.SOCK_STREAM)
        except OSError as error:
            found, problem = [], error
        if self._may_reach is not None and found:
            found = [one for one in found if self._may_reach(str(one[4][0]))]
            if not found:
                raise NotAllowed(f"no address of {host} may be reached")
        for tried, (*_, (address, port, *_)) in enumerate(found):
            share_s = None if timeout_s is None else max(0.001, began + timeout_s - time.monotonic()) / (len(found) - tried)
            try:
                async with asyncio.timeout(share_s):
                    _, line = await loop.create_connection(Line, str(address), int(port), ssl=tls, server_hostname=name)
            except OSError as error:
                problem = error
            else:
                self._lines.add(line)
                return line
        if isinstance(problem, TimeoutError):
            raise httpx.ConnectTimeout(f"no connection to {host} within {timeout_s} s") from problem
        raise httpx.ConnectError(str(problem)) from problem

    def release(self, line: Line | None, *, whole: bool) -> None:
        """After a call. `whole`: its answer was read to the end."""
        self._slots.release()
        if line is None:
            return
        if whole and line in self._lines and line.may_stay():
            self._idle.append(line)
        else:
            self._drop(line)

    def _drop(self, line: Line) -> None:
        line.close()
        self._lines.discard(line)

    async def aclose(self) -> None:
        """Closes all; calls in flight fail."""
        self._idle.clear()
        for line in list(self._lines):
            self._drop(line)


class _Body(httpx.AsyncByteStream):
    """An answer's body; its end, or its closing, gives the connection back."""

    def __init__(self, wire: Wire, line: Line, timeout_s: float | None) -> None:
        self._wire, self._line, self._timeout_s = wire, line, timeout_s
        self._is_whole = self._is_released = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._line.next_event(self._timeout_s), h11.Data):
            yield bytes(event.data)
        self._is_whole = True

    async def aclose(self) -> None:
        if not self._is_released:
            self._is_released = True
            self._wire.release(self._line, whole=self._is_whole)


def _written(state: h11.Connection, request: httpx.Request, body: bytes) -> bytes:
    """The whole request in one piece: two would be two packets, and twice the work."""
    try:
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        parts = [state.send(head), state.send(h11.Data(data=body)) if body else b"", state.send(h11.EndOfMessage())]
    except h11.LocalProtocolError as problem:
        raise httpx.LocalProtocolError(str(problem)) from problem
    return b"".join(part or b"" for part in parts)


async def _in_time(happens: "asyncio.Future[None]", timeout_s: float | None, late: type[httpx.TimeoutException]) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await happens
    except TimeoutError:
        raise late(f"nothing within {timeout_s} s") from None


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
