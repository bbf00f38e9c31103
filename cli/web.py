"""`postroom web`: a receiver process."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from cli import kept, running
from cli.database import database
from cli.errors import Failed
from cli.lifeline import say_ready
from cli.listening import BACKLOG, LARGEST_PORT, listen
from cli.options import StopWithParent
from dispatcher import vigil
from dispatcher.config import AlertSettings
from outbox.config import DatabaseSettings
from outbox.log import get_logger
from receiver.app import create_app
from receiver.config import ReceiverSettings

log = get_logger(__name__)

GRACE_S = 10


def command(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Absent: POSTROOM_HOST, or 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_PORT, help="Port to listen on; 0 takes a free one. Absent: PORT, or 8000.")
    ] = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A listening socket that was inherited.")] = None,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Run a receiver: webhooks, the operators' API, health. Several may run at once, on several machines.

    SIGTERM or Ctrl-C: no new connections; requests under way are answered (at most 10 s), then it ends.

    Examples:

        postroom web

        postroom web --host 0.0.0.0 --port 8080
    """
    settings, own = DatabaseSettings.read(), ReceiverSettings.read()
    running.configure_log(settings)
    listening = socket.socket(fileno=fd) if fd is not None else listen(host or own.host, own.port if port is None else port)
    with database(settings, keep=True) as dsn:
        running.run(_serve(dsn, settings, own, listening, say=stop_with_parent), stop_with_parent=stop_with_parent)


async def _serve(dsn: str, settings: DatabaseSettings, own: ReceiverSettings, listening: socket.socket, *, say: bool) -> None:
    told = AlertSettings.read()
    receiver = create_app(dsn, own, sealer=kept.sealer(settings), watches=bool(told.channels()))
    app = Noted(receiver)
    address = listening.getsockname()
    _route_uvicorn_log()
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        backlog=BACKLOG,
    )

    def ready() -> None:
        log.info("receiver listens", host=address[0], port=address[1])
        if not told.channels():
            log.warning("nobody is told from here when no dispatcher is alive", do="set POSTROOM_ALERT_URLS for the receiver, too")
        if say:
            say_ready(port=address[1])

    server = Server(config, ready, leave=receiver.leave)
    running.on_signals(server.ask)
    try:
        async with vigil.kept(dsn, told):
            await server.serve(sockets=[listening])
    except SystemExit:
        raise app.failure or Failed("The receiver did not start; its log says why.") from None


class Server(uvicorn.Server):
    """Uvicorn, with our signals and with a word when it is ready and when it stops."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], *, leave: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._leave = ready, leave

    def ask(self) -> None:
        """To stop; asked twice, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own handlers end the process by the signal again; ours end it with 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leave()
        await super().shutdown(sockets)


class Noted:
    """An ASGI app whose failure at start is kept: uvicorn would only print it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseException as problem:
            if scope["type"] == "lifespan":
                self.failure = problem
            raise


class _IntoOurs(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not message.startswith("Traceback"):
            log.log(record.levelno, message.splitlines()[0], exc_info=record.exc_info)


def _route_uvicorn_log() -> None:
    logger = logging.getLogger("uvicorn")
    logger.handlers, logger.propagate = [_IntoOurs()], False
    logger.setLevel(logging.WARNING)
