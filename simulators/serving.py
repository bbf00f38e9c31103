"""Serves an ASGI app on a loopback port inside the running event loop: up in a millisecond, down without a trace.

Uses uvicorn's HTTP protocol without its `Server`: that one takes over signals and polls ten times a second, which costs each stop 0.2 s.
No lifespan, no logs, no TLS: for simulators and tests, not for production.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections."""

    host: str
    port: int

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}"


class _Stoppable:
    """Ends quietly when the server stops under a request: uvicorn would log our own cancellation as the app's failure."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self.is_stopping:
                raise
            while (await receive())["type"] != "http.disconnect":  # its connection was aborted, so this comes
                pass


@asynccontextmanager
async def serve(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Running]:
    """Serve until the block ends; port 0 takes a free one. Requests under way at the end are cut off. OSError when the port is taken.

    The scope's `state` holds `drop_connection()`, by which an app ends the connection without an answer.
    """
    stoppable = _Stoppable(app)
    config = uvicorn.Config(
        stoppable, lifespan="off", ws="none", log_config=None, access_log=False, proxy_headers=False, server_header=False
    )
    config.load()
    state = ServerState()

    def connect() -> asyncio.Protocol:
        shared: dict[str, Any] = {}
        protocol: Any = config.http_protocol_class  # uvicorn types the class as a bare asyncio.Protocol
        connection: asyncio.Protocol = protocol(config=config, server_state=state, app_state=shared)
        shared["drop_connection"] = lambda: _transport(connection).close()
        return connection

    server = await asyncio.get_running_loop().create_server(connect, host, port)
    try:
        yield Running(host, server.sockets[0].getsockname()[1])
    finally:
        stoppable.is_stopping = True
        await _stop(server, state)


async def _stop(server: asyncio.Server, state: ServerState) -> None:
    server.close()
    for connection in list(state.connections):
        _transport(connection).abort()
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.wait_closed()


def _transport(connection: Any) -> asyncio.Transport:
    """Known only once the connection is made."""
    transport: asyncio.Transport = connection.transport
    return transport
