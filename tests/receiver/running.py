"""A receiver to talk to: its app over httpx's ASGI transport, started and stopped as a server would."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from cryptography.fernet import Fernet
from pydantic import SecretStr

from outbox.seal import Sealer
from outbox.testing import Postroom
from receiver.app import Receiver
from receiver.config import ReceiverSettings
from receiver.desk import Desk
from simulators.samples import ghl_contact_event, notion_page_event
from simulators.shapes import compact
from simulators.signing import GhlSigner, sign_notion, sign_standard
from tests.crashes.patience import Patience, family
from tests.receiver.senders import NOTION_TOKEN, STANDARD_SECRET, WORKFLOW_SECRET

VIEWER_TOKEN = "viewer-token-for-tests-only"
OPERATOR_TOKEN = "operator-token-for-tests-only"
CRON_SECRET = "cron-secret-for-tests-only"
AS_VIEWER = {"authorization": f"Bearer {VIEWER_TOKEN}"}
AS_OPERATOR = {"authorization": f"Bearer {OPERATOR_TOKEN}"}
SEALING_KEY = Fernet.generate_key().decode()
UNUSED_DSN = "postgresql://nobody@127.0.0.1:1/nowhere"
JSON = {"content-type": "application/json"}
PATIENCE_S = 20


def settings(**overrides: Any) -> ReceiverSettings:
    """All sources, a viewer and an operator."""
    given: dict[str, Any] = {
        "ghl_public_keys": GhlSigner.for_demo().public_key_pem,
        "ghl_workflow_secrets": f"booking={WORKFLOW_SECRET}",
        "notion_secrets": NOTION_TOKEN,
        "standard_secrets": f"shop={STANDARD_SECRET}",
        "cron_secret": CRON_SECRET,
        "admin_tokens": f"vera:viewer:{VIEWER_TOKEN},otto:operator:{OPERATOR_TOKEN}",
    }
    return ReceiverSettings.read(**{**given, **overrides})


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Returns when it holds. Fails when it never does; without a core no time counts."""
    patience = Patience([[os.getpid()]])
    while not (await answer if isinstance(answer := holds(), Awaitable) else answer):
        assert not patience.is_over(PATIENCE_S, family), f"not within {PATIENCE_S} s"
        await asyncio.sleep(0.005)


def sealer(*keys: str) -> Sealer:
    return Sealer([SecretStr(key) for key in keys or (SEALING_KEY,)])


@dataclass(frozen=True, slots=True)
class Talk:
    """A started receiver and a client of it."""

    app: Receiver
    client: httpx.AsyncClient

    @property
    def desk(self) -> Desk:
        assert self.app.desk is not None
        return self.app.desk

    async def get(self, path: str, *, viewer: bool = False, **params: Any) -> httpx.Response:
        return await self.client.get(path, headers=AS_VIEWER if viewer else AS_OPERATOR, params=params or None)

    async def post(self, path: str, json: Any = None, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.client.post(path, headers={**AS_OPERATOR, **(headers or {})}, json={} if json is None else json)

    async def webhook(self, source: str, delivery: tuple[dict[str, str], bytes]) -> httpx.Response:
        headers, body = delivery
        return await self.client.post(f"/api/webhooks/{source}", headers=headers, content=body)

    async def flushed(self) -> None:
        """Counts and rejected requests are in the database."""
        assert await self.desk.ledger.flush(self.desk.pool)


@asynccontextmanager
async def started(
    database: Postroom | str, own: ReceiverSettings | None = None, *, seal: Sealer | None = None, watches: bool = False
) -> AsyncIterator[Talk]:
    """The app, in a task of its own as under a server, until the block ends."""
    dsn = database if isinstance(database, str) else database.dsn
    app = Receiver(dsn, own or settings(), sealer=seal or sealer(), watches=watches)
    ready, leave = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.router.lifespan_context(app):
            ready.set()
            await leave.wait()

    living = asyncio.create_task(live())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({living, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver.example", timeout=30) as client:
            talk = Talk(app, client)
            if isinstance(database, Postroom):
                await until(lambda: talk.desk.notion.is_known and talk.desk.intake.is_up)
            yield talk
    finally:
        leave.set()
        waiting.cancel()
        await living


def ghl_delivery(**fields: Any) -> tuple[dict[str, str], bytes]:
    """A signed ContactCreate; another one each time unless `webhook_id` is given."""
    body = compact(ghl_contact_event(**fields))
    return {**JSON, **GhlSigner.for_demo().headers(body)}, body


def notion_delivery(token: str = NOTION_TOKEN, **fields: Any) -> tuple[dict[str, str], bytes]:
    body = compact(notion_page_event(**fields))
    return {**JSON, **sign_notion(body, token)}, body


def workflow_delivery(body: bytes = b'{"contact_id":"c1","type":"Booked"}') -> tuple[dict[str, str], bytes]:
    # With a key, because without one a repeat across the turn of a minute is another event.
    return {**JSON, "x-webhook-secret": WORKFLOW_SECRET, "idempotency-key": "booking-1"}, body


def standard_delivery(message_id: str, timestamp: int, body: bytes = b'{"type":"order.paid"}') -> tuple[dict[str, str], bytes]:
    return {**JSON, **sign_standard(body, secret=STANDARD_SECRET, message_id=message_id, timestamp=timestamp)}, body
