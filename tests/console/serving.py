"""A receiver on a free port of this machine, for what needs a real server: streams, and a browser."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from receiver.app import Receiver, create_app
from receiver.config import ReceiverSettings
from tests.receiver.running import sealer, settings


@asynccontextmanager
async def serving(dsn: str, own: ReceiverSettings | None = None, *, at: int = 0) -> AsyncIterator[tuple[str, Receiver]]:
    """Its address and the app, until the block ends. `at`: the port of one that has ended."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", at))
        listening.listen()  # who comes before the server is up waits
        app = create_app(dsn, own or settings(), sealer=sealer())
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on"))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", app
        finally:
            app.leave()
            server.should_exit = True
            await running
