"""The one door of a simulator: every request passes here, is logged, slowed, and made to meet the fault that awaits it.

Carries out what `faults` decided. Requests under `/_sim/` pass untouched, or a fault could lock its own owner out.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulators.faults import Fault, FaultKind, Faults
from simulators.request_log import RequestLog, SeenRequest
from simulators.shapes import Clock, utc_now

_NOT_JSON = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. Content-Length is counted when it is sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request that has arrived whole. Its work goes on even when the client gives up meanwhile, as at a real server."""

    scope: Scope
    body: bytes
    receive: Receive
    send: Send

    async def work(self, app: ASGIApp) -> Answer:
        """Let the app answer, without sending it."""
        status, body = 500, b""
        headers: tuple[tuple[str, str], ...] = ()

        async def arrived() -> Message:
            return {"type": "http.request", "body": self.body, "more_body": False}

        async def keep(message: Message) -> None:
            nonlocal status, headers, body
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"])
            else:
                body += message.get("body", b"")

        await app(self.scope, arrived, keep)
        return Answer(status, headers, body)

    async def answer(self, answer: Answer, *, sent_bytes: int | None = None) -> None:
        """Send it, or only its first bytes."""
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers if name.lower() != "content-length"
        ]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": answer.body[:sent_bytes], "more_body": sent_bytes is not None})

    async def drop(self) -> None:
        """End the connection; `serving` puts the means into the scope, since ASGI has none."""
        drop = self.scope.get("state", {}).get("drop_connection")
        if drop is None:
            raise ConnectionAbortedError("connection dropped by a fault (without simulators.serving there is no socket to close)")
        drop()
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Gate:
    """ASGI middleware. `said_with` gives the provider's own answer for a status that a fault names without a body."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        faults: Faults,
        requests: RequestLog,
        said_with: Callable[[int], Answer],
        latency_s: float = 0.0,
        clock: Clock = utc_now,
    ) -> None:
        self._app = app
        self._faults = faults
        self._requests = requests
        self._said_with = said_with
        self._latency_s = latency_s
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_sim/"):
            await self._app(scope, receive, send)
            return
        at, started = self._clock(), time.perf_counter()
        body = await _received(receive)
        fault = self._faults.take(scope["method"], scope["path"]) if body is not None else None
        status: int | None = None
        try:
            if body is not None:
                status = await self._pass(_Exchange(scope, body, receive, send), fault)
        finally:
            took_ms = (time.perf_counter() - started) * 1000
            self._requests.add(SeenRequest(at, scope["method"], scope["path"], status, took_ms, fault.id if fault else None))

    async def _pass(self, exchange: _Exchange, fault: Fault | None) -> int | None:
        """Do the work, or not, and answer, or not. Returns the status that was sent."""
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        answer: Answer | None = None
        if fault is None or fault.after_work:
            answer = await exchange.work(self._app)
        if fault is not None:
            answer = await self._misbehave(fault, answer)
            if fault.kind is FaultKind.DROP:
                await exchange.drop()
                return None
            if fault.kind is FaultKind.CUT and answer is not None:
                await exchange.answer(answer, sent_bytes=len(answer.body) // 2)
                await exchange.drop()
                return None
        answer = answer or await exchange.work(self._app)
        await exchange.answer(answer)
        return answer.status

    async def _misbehave(self, fault: Fault, answer: Answer | None) -> Answer | None:
        """The answer as the fault makes it; None when the true work is still to be done."""
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        match fault.kind:
            case FaultKind.ANSWER:
                said = self._said_with(fault.status)
                headers = {**dict(said.headers), **{name.lower(): value for name, value in fault.headers.items()}}
                return Answer(fault.status, tuple(headers.items()), said.body if fault.body is None else fault.body)
            case FaultKind.HANG:
                await self._faults.hang(fault)
            case FaultKind.TRUNCATE if answer is not None:
                return replace(answer, body=answer.body[: len(answer.body) // 2])
            case FaultKind.GARBLE if answer is not None:
                return replace(answer, body=_NOT_JSON)
            case _:
                pass
        return answer


async def _received(receive: Receive) -> bytes | None:
    """The whole body; None when the client died while it sent it: then nothing is done and nobody is there to be told."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body
