"""Makes this process stop at armed points: wraps the functions of the table where their modules keep them, before anything starts.

Production code holds no hook. What is in flight is known from the driver and from httpx themselves: a statement is sent when asyncpg has
written its bytes, a request when its body is complete. A point fires once in the life of a process.
"""

import asyncio
import importlib
import inspect
import os
import select
import signal
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

import httpx
from asyncpg.protocol import Protocol

from outbox.queries import load
from tests.crashes.points import COMMIT, POINTS, Action, Moment, Spec

ANSWER_S = 2.0
Send = Callable[[], Awaitable[Any]]
_go_on = asyncio.Event()


def say(news: str) -> None:
    """A line for the parent, written at once and whole."""
    os.write(1, f"{news}\n".encode())


def go_on() -> None:
    """Lets go what waits at a point that only tells."""
    _go_on.set()


def arm(specs: str) -> None:
    """Wraps what the comma-separated specs name."""
    armed = [Armed(Spec.parse(text)) for text in specs.split(",") if text]
    if any(one.spec.moment is Moment.DURING for one in armed):
        _watch_the_driver()
    for one in armed:
        one.wrap()


class Armed:
    """One point that waits to be come to."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.point = spec, POINTS[spec.name]
        self.statements = {_text(name) for name in self.point.queries}
        self._seen = 0

    def wrap(self) -> None:
        """Puts the wrapper where the module, or its class, keeps the function."""
        *owners, name = self.point.attribute.split(".")
        owner = reduce(getattr, owners, importlib.import_module(self.point.module))
        real = getattr(owner, name)
        setattr(owner, name, self._exiting(real) if self.point.exits else self._calling(real))

    def _calling(self, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        signature = inspect.signature(real)

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(*args, **kwargs).arguments
            if not self._is_meant(arguments):
                return await real(*args, **kwargs)
            if "request" in self.point.only and self.spec.moment is Moment.DURING:
                self._trace(arguments["request"])
            return await self._pass(lambda: real(*args, **kwargs))

        return wrapped

    def _exiting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        armed = self

        class Exiting:
            """The context manager, whose orderly end is the point."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                self._inner = real(*args, **kwargs)

            async def __aenter__(self) -> Any:
                return await self._inner.__aenter__()

            async def __aexit__(self, kind: Any, problem: Any, trace: Any) -> Any:
                if kind is not None or not armed._is_meant({}):
                    return await self._inner.__aexit__(kind, problem, trace)
                return await armed._pass(lambda: self._inner.__aexit__(kind, problem, trace))

        return lambda *args, **kwargs: Exiting(*args, **kwargs)  # noqa: PLW0108 -- a class would not be bound as a method is

    def _is_meant(self, arguments: dict[str, Any]) -> bool:
        """Whether this is the call; counts those that fit."""
        if not all(_fits(arguments.get(name), wanted) for name, wanted in self.point.only.items()):
            return False
        self._seen += 1
        return self._seen == self.spec.nth

    async def _pass(self, send: Send) -> Any:
        match self.spec.moment:
            case Moment.BEFORE:
                await self.fire()
                return await send()
            case Moment.AFTER:
                answer = await send()
                await self.fire()
                return answer
        token = _awaited.set(self)
        try:
            return await send()
        finally:
            _awaited.reset(token)

    def _trace(self, request: httpx.Request) -> None:
        theirs = request.extensions.get("trace")  # the engine listens as well

        async def trace(event: str, info: dict[str, Any]) -> None:
            if theirs is not None:
                await theirs(event, info)
            if event == "wire.send_request_body.complete":
                await self.fire()

        request.extensions = {**request.extensions, "trace": trace}

    async def fire(self) -> None:
        """The process is at the point."""
        if self.spec.action is Action.LOSE:
            return
        say(f"point {self.spec.where}")
        if self.spec.action is Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        await _go_on.wait()


_awaited: ContextVar[Armed | None] = ContextVar("_awaited", default=None)


def _fits(value: Any, wanted: str) -> bool:
    if isinstance(value, httpx.Request):
        return fnmatchcase(f"{value.method} {value.url.path}", wanted) and value.url.path.count("/") == wanted.count("/")
    if isinstance(value, list):
        return any(one.entry == wanted for one in value)
    return bool(value == wanted or value == _text(wanted))


def _text(name: str) -> str:
    """The statement that `file.name` stands for."""
    stem, _, query = name.partition(".")
    return load(stem)[query] if query and name != COMMIT else name


def _watch_the_driver() -> None:
    """From now on a statement that an armed point waits for is caught between its sending and the reading of its answer."""
    for name in ("bind_execute", "query"):
        setattr(Protocol, name, _flying(getattr(Protocol, name)))
    made = Protocol.connection_made

    def connection_made(self: Any, transport: Any) -> None:
        self.transport_of_ours = transport
        made(self, transport)

    Protocol.connection_made = connection_made  # type: ignore[method-assign]


def _flying(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        armed, statement = _awaited.get(), (*args, *kwargs.values())[0]
        if armed is None or getattr(statement, "query", statement) not in armed.statements:
            return await real(self, *args, **kwargs)
        _awaited.set(None)
        transport = self.transport_of_ours
        if armed.spec.action is not Action.KILL:
            transport.pause_reading()
        flight = asyncio.ensure_future(real(self, *args, **kwargs))
        await asyncio.sleep(0)  # the statement is written in its task's first turn
        while transport.get_write_buffer_size():  # noqa: ASYNC110 -- a transport has no event for this
            await asyncio.sleep(0)
        if armed.spec.action is not Action.KILL:
            await asyncio.to_thread(_answered, transport.get_extra_info("socket").fileno())
        await armed.fire()
        transport.abort()
        return await flight

    return wrapped


def _answered(descriptor: int) -> None:
    """Returns when there is something to read, which is then left unread: the work is done, and nobody here knows."""
    select.select([descriptor], [], [], ANSWER_S)
