"""Webhooks as they come to lie in the outbox: signed as the provider signs, verified and read as the receiver does, staged as it does."""

from datetime import UTC, datetime

from outbox.store import events
from outbox.store.events import Arrival, Staged
from outbox.testing import Postroom
from receiver.sources.base import Headers, Incoming
from receiver.sources.ghl import GhlSource
from receiver.sources.ghl_workflow import GhlWorkflowSource
from receiver.sources.notion import NotionSource
from simulators.samples import DEMO_VERIFICATION_TOKEN
from simulators.shapes import JsonObject, compact
from simulators.signing import GhlSigner, sign_notion

SECRET = "a-secret-of-this-test-0123456789"


def _headers(of: dict[str, str]) -> Headers:
    return Headers([(name.encode(), value.encode()) for name, value in of.items()])


async def _stage(postroom: Postroom, incoming: object) -> Staged:
    assert isinstance(incoming, Incoming)
    arrival = Arrival(incoming.source, incoming.kind, incoming.key, incoming.lane, incoming.body, incoming.headers)
    async with postroom.pool.acquire() as connection:
        [staged] = await events.stage_many(connection, [arrival])
    return staged


async def ghl_webhook(postroom: Postroom, event: JsonObject) -> int:
    """A signed app webhook of GHL. Returns the event's id."""
    signer, body = GhlSigner.for_demo(), compact(event)
    source = GhlSource([signer.public_key_pem], max_age_s=None)
    return (await _stage(postroom, source.accept(_headers(signer.headers(body)), body, now=datetime.now(UTC)))).id


async def ghl_workflow_webhook(postroom: Postroom, body: JsonObject) -> int:
    """What a workflow's webhook action sends. Returns the event's id."""
    source = GhlWorkflowSource([("demo", SECRET)])
    return (await _stage(postroom, source.accept(_headers({"x-webhook-secret": SECRET}), compact(body), now=datetime.now(UTC)))).id


async def notion_webhook(postroom: Postroom, event: JsonObject) -> int:
    """A signed webhook of Notion. Returns the event's id."""
    body = compact(event)
    source = NotionSource([DEMO_VERIFICATION_TOKEN], max_age_s=None)
    headers = _headers(dict(sign_notion(body, DEMO_VERIFICATION_TOKEN)))
    return (await _stage(postroom, source.accept(headers, body, now=datetime.now(UTC)))).id
