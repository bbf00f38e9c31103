"""A TCP line on 127.0.0.1 that can fail in the ways in which lines fail: to Postgres, or to a provider.

Owns how a line misbehaves, and nothing of what is said over it.

    cut       what stands falls (RST), new connections are refused          ─mend─▶ as before, at the same port
    stall     nothing is carried any more, one way or both, nothing closes  ─flow─▶ goes on where it stopped
    strand    what stands is dead, but one side does not know; new connections work
    slow      each piece is carried later
    lose      some of what the far side answers is not carried; the connection falls instead
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PIECE_BYTES = 64 * 1024
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing resets


class Way(StrEnum):
    """A direction of a line."""

    THERE = "there"  # what our process says
    BACK = "back"  # what the far side says


class _Tie:
    """One connection of our process, and the one that carries it on."""

    def __init__(self, near: Streams, far: Streams) -> None:
        self.near, self.far = near, far
        self.is_stranded = False

    def fall(self) -> None:
        """Both ends are reset."""
        for _, writer in (self.near, self.far):
            _reset(writer)


class Proxy:
    """A line to the far side that `reach` connects to."""

    def __init__(self, reach: Callable[[], Awaitable[Streams]]) -> None:
        self._reach = reach
        self._server: asyncio.Server | None = None
        self._ties: set[_Tie] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flows = {way: asyncio.Event() for way in Way}
        self._delay_s = 0.0
        self._lose_every = 0
        self._answers = 0
        self._mark: tuple[Way, bytes] | None = None
        self.struck = asyncio.Event()  # the mark of `stall_at` was seen
        self.port = 0
        self.lost = 0  # answers that were not carried
        self.carried = 0  # pieces that were
        for flow in self._flows.values():
            flow.set()

    @property
    def base_url(self) -> str:
        """Of a provider behind this line."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def standing(self) -> int:
        """How many connections stand, or seem to."""
        return len(self._ties)

    async def mend(self) -> None:
        """Connections get through, at the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """All connections are reset, and new ones are refused until `mend`."""
        if self._server is not None:
            server, self._server = self._server, None
            for listening in server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await asyncio.sleep(0.01)  # what was just accepted becomes a connection first: asyncio would lose it, open
            server.close()
        self.drop()

    def drop(self) -> None:
        """All connections are reset; new ones get through."""
        for tie in list(self._ties):
            tie.fall()

    def stall(self, *ways: Way) -> None:
        """Nothing is carried these ways (none named: both) until `flow`; nothing closes, and new connections only seem to stand."""
        for way in ways or tuple(Way):
            self._flows[way].clear()

    def stall_at(self, way: Way, mark: bytes) -> None:
        """Stalls both ways at the first piece that holds `mark`: right after what our process says, right before what it is told."""
        self._mark = (way, mark)

    def _loses(self) -> bool:
        """Whether this answer is one that gets lost."""
        self._answers += 1
        lost = self._lose_every > 0 and self._answers % self._lose_every == 0
        self.lost += lost
        return lost

    def _strike(self) -> None:
        self._mark = None
        self.stall()
        self.struck.set()

    def flow(self) -> None:
        """Everything is carried again, what was held up first."""
        for flow in self._flows.values():
            flow.set()

    def strand(self, who: Way) -> int:
        """Kills what stands, so that one side does not know. Returns how many.

        THERE: our process goes on speaking into a line whose far side has closed. BACK: the far side goes on waiting for us, who have
        been reset. New connections get through.
        """
        for tie in self._ties:
            tie.is_stranded = True
            _reset((tie.far if who is Way.THERE else tie.near)[1])
        return len(self._ties)

    def slow(self, delay_s: float) -> None:
        """Each piece is carried so much later; 0 ends it."""
        self._delay_s = delay_s

    def lose(self, every: int) -> None:
        """Of the answers each `every`-th is not carried: the request was, the connection falls instead. 0 ends it."""
        self._lose_every = every

    async def close(self) -> None:
        """For good."""
        await self.cut()
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._keep(serving)
        try:
            tie = _Tie((reader, writer), await self._reach())
        except (OSError, asyncio.CancelledError):
            _reset(writer)
            return
        self._ties.add(tie)
        carriers = [
            self._spawn(self._carry(tie, tie.near[0], tie.far[1], Way.THERE)),
            self._spawn(self._carry(tie, tie.far[0], tie.near[1], Way.BACK)),
        ]
        carriers[0].add_done_callback(lambda _: self._ended(tie, carriers))
        carriers[1].add_done_callback(lambda _: self._ended(tie, carriers))

    def _spawn(self, carrying: Awaitable[None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(carrying)
        self._keep(task)
        return task

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ended(self, tie: _Tie, carriers: "list[asyncio.Task[None]]") -> None:
        if all(carrier.done() for carrier in carriers):
            self._ties.discard(tie)
            tie.fall()

    async def _carry(self, tie: _Tie, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way) -> None:
        flows = self._flows[way]
        try:
            while data := await source.read(PIECE_BYTES):
                is_marked = self._mark is not None and self._mark[0] is way and self._mark[1] in data
                if is_marked and way is Way.BACK:
                    self._strike()
                await flows.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if tie.is_stranded:
                    continue  # swallowed, as by a network that forgot the connection
                if way is Way.BACK and self._loses():
                    tie.fall()
                    return
                sink.write(data)
                await sink.drain()
                self.carried += 1
                if is_marked and way is Way.THERE:
                    self._strike()
            await flows.wait()
        except OSError:
            pass
        if not tie.is_stranded:
            sink.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    handle = writer.get_extra_info("socket")
    if handle is not None and not writer.transport.is_closing() and handle.family != socket.AF_UNIX:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    writer.transport.abort()


@asynccontextmanager
async def line_to(reach: Callable[[], Awaitable[Streams]]) -> AsyncIterator[Proxy]:
    """An open line, closed at the end."""
    proxy = Proxy(reach)
    await proxy.mend()
    try:
        yield proxy
    finally:
        await proxy.close()


@asynccontextmanager
async def line_to_port(base_url: str) -> AsyncIterator[Proxy]:
    """A line to a provider on this machine; `proxy.base_url` is its address."""
    parts = urlsplit(base_url)
    async with line_to(lambda: asyncio.open_connection(parts.hostname, parts.port)) as proxy:
        yield proxy


@asynccontextmanager
async def line_to_database(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A line to the database of a connection string through the socket, and the connection string that goes over it."""
    parts = urlsplit(dsn)
    asked = parse_qs(parts.query)
    path = f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}"
    async with line_to(lambda: asyncio.open_unix_connection(path)) as proxy:
        yield proxy, f"postgresql://postgres@127.0.0.1:{proxy.port}{parts.path}?sslmode=disable"
