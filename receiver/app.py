"""The receiver as an ASGI app: webhooks on a path of their own, everything else by Starlette's router.

Owns start and stop. Starting needs no database: until there is one, webhooks are told to come again and /readyz says why.

    start   pool, intake, ledger, Notion's tokens      each loop survives an outage by itself
    stop    the intake commits what waits, the ledger writes its counts, then the loops end
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from outbox import db
from outbox.log import get_logger
from outbox.seal import Sealer
from receiver.api.operation import Table
from receiver.api.table import build_table, routes
from receiver.auth import Gate
from receiver.config import ReceiverSettings
from receiver.console.frame import Console
from receiver.console.site import PAGES, TABS
from receiver.desk import Desk
from receiver.errors import PROBLEM_TYPE, Problem, answer_problem, internal, not_found, origin, unavailable
from receiver.handshakes import NotionTokens
from receiver.intake import Intake
from receiver.ledger import Ledger
from receiver.webhooks import Webhooks

log = get_logger(__name__)

POOL_SIZE = 6
CONSOLE_POOL_SIZE = 2
FLUSH_TIMEOUT_S = 3
RETRY_STOPPED_S = 5


class Receiver(Starlette):
    """The app. `desk` is there while it runs."""

    def __init__(
        self, dsn: str, settings: ReceiverSettings, *, sealer: Sealer, more: Sequence[BaseRoute] = (), watches: bool = False
    ) -> None:
        self.table: Table = build_table()
        self.console = Console(settings, PAGES, TABS)
        super().__init__(
            routes=[*routes(self.table), *self.console.routes(), *more],
            lifespan=lambda app: app.run(),
            exception_handlers={HTTPException: _http_problem, Exception: _failure},
        )
        self.router.redirect_slashes = False  # another path is another thing
        self._dsn, self._settings, self._sealer, self._watches = dsn, settings, sealer, watches
        self.desk: Desk | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Webhooks go past the router and its middleware, which would cost them a third of their speed."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
        elif self.desk is None:
            await answer_problem(scope, send, unavailable("The receiver is not started, or stops.", retry_after_s=RETRY_STOPPED_S))
        elif self.desk.webhooks.takes(scope["path"]):
            await self.desk.webhooks(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def leave(self) -> None:
        """The streams of the console end. To be called before a server waits for its connections."""
        self.console.live.stop()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """From start to stop."""
        settings = self._settings
        intake = Intake(self._dsn, max_waiting=settings.max_waiting)
        ledger = Ledger(secrets=settings.known_secrets())
        notion = NotionTokens(self._sealer, settings.notion_source)
        async with (
            db.pool(self._dsn, name="postroom:receiver", size=POOL_SIZE) as pool,
            db.pool(self._dsn, name="postroom:console", size=CONSOLE_POOL_SIZE) as console,
            asyncio.TaskGroup() as tasks,
        ):
            webhooks = Webhooks(
                settings.fixed_sources(), notion, pool=pool, intake=intake, ledger=ledger, limit_bytes=settings.body_limit_bytes
            )
            running = [
                tasks.create_task(intake.run(), name="intake"),
                tasks.create_task(intake.watch(), name="intake watch"),
                tasks.create_task(ledger.run(pool), name="ledger"),
                tasks.create_task(notion.run(pool), name="notion tokens"),
                tasks.create_task(self.console.live.run(console), name="console live"),
            ]
            self.desk = Desk(
                settings=settings,
                pool=pool,
                intake=intake,
                ledger=ledger,
                notion=notion,
                webhooks=webhooks,
                gate=Gate(settings.admins(), cron_secret=settings.cron_secret),
                sealer=self._sealer,
                console=console,
                watches=self._watches,
            )
            log.info("receiver began", sources=sorted(webhooks.doors))
            try:
                yield
            finally:
                await intake.stop()
                self.desk = None
                for task in running:
                    task.cancel()
                try:
                    async with asyncio.timeout(FLUSH_TIMEOUT_S):
                        await ledger.flush(pool)
                except TimeoutError:
                    log.warning("the last counts could not be written")
                log.info("receiver ended")


def create_app(dsn: str, settings: ReceiverSettings, *, sealer: Sealer, more: Sequence[BaseRoute] = (), watches: bool = False) -> Receiver:
    """The receiver for a database, not started yet. `more` are routes of others; `watches`: somebody beside it looks for dispatchers."""
    return Receiver(dsn, settings, sealer=sealer, more=more, watches=watches)


async def _http_problem(request: Request, problem: Exception) -> Response:
    """What Starlette itself refuses: an unknown path."""
    assert isinstance(problem, HTTPException)
    if problem.status_code == 404:
        return _response(request, not_found("There is no such path; /openapi.json lists them."))
    return _response(request, Problem(problem.status_code, "refused", problem.detail, headers=dict(problem.headers or {})))


async def _failure(request: Request, problem: Exception) -> Response:
    """What nobody foresaw, in a route that is not of the table."""
    log.error("a request failed", path=request.scope["path"], problem=origin(problem))
    return _response(request, internal())


def _response(request: Request, problem: Problem) -> Response:
    return Response(problem.body(request.scope["path"]), problem.status, {**problem.headers, "cache-control": "no-store"}, PROBLEM_TYPE)
