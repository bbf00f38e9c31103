"""P1, P2 and P9 where something dies: `kill -9` of a receiver or of Postgres under load, then every delivery is added up."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from outbox.embedded import Embedded
from outbox.testing import Postroom
from simulators.signing import GhlSigner
from tests.crashes.child import Child, bare_environment
from tests.crashes.patience import Patience, family, heals_in_time
from tests.receiver.running import PATIENCE_S, ghl_delivery, started, until

SENDERS = 16
Delivery = tuple[dict[str, str], bytes]


@dataclass
class Load:
    """Senders that do not stop, each delivery with a key of its own; remembers what was answered."""

    deliveries: dict[str, Delivery] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)
    goes_on: bool = True

    async def deliver(self, client: httpx.AsyncClient, key: str) -> None:
        headers, body = self.deliveries[key]
        with suppress(httpx.TransportError):
            answer = await client.post("/api/webhooks/ghl", headers=headers, content=body)
            self.statuses.add(answer.status_code)
            if answer.status_code == 202:
                self.accepted[key] = answer.json()["id"]

    async def send(self, client: httpx.AsyncClient) -> None:
        while self.goes_on:
            key = f"delivery-{len(self.deliveries)}"
            self.deliveries[key] = ghl_delivery(webhook_id=key)
            await self.deliver(client, key)
            await asyncio.sleep(0)

    async def send_what_was_not_accepted(self, client: httpx.AsyncClient) -> None:
        """As every sender does."""
        for key in self.deliveries:
            if key not in self.accepted:
                await self.deliver(client, key)

    @asynccontextmanager
    async def on(self, client: httpx.AsyncClient) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.send(client)) for _ in range(SENDERS)]
        try:
            yield
        finally:
            self.goes_on = False
            await asyncio.gather(*tasks)

    async def assert_accepted_exactly_once(self, postroom: Postroom) -> None:
        """Every delivery is one event, and every id that was answered is that event's."""
        rows = {row["key"]: row["id"] for row in await postroom.rows("select key, id from outbox.events")}
        assert await postroom.value("select count(*) from outbox.events") == len(rows)
        assert {key: rows.get(key) for key in self.accepted} == self.accepted
        assert rows.keys() == self.deliveries.keys()


@asynccontextmanager
async def receiver_process(dsn: str, folder: Path) -> AsyncIterator[tuple[Child, httpx.AsyncClient]]:
    environment = {**bare_environment(), "DATABASE_URL": dsn, "GHL_WEBHOOK_PUBLIC_KEYS": GhlSigner.for_demo().public_key_pem}
    child = await Child.start("receiver", name="receiver", environment=environment, log=folder / "log")
    try:
        await child.started()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{child.port}", timeout=PATIENCE_S) as client:
            yield child, client
    finally:
        await child.end()


async def test_p1_what_a_killed_receiver_answered_is_there_and_the_rest_comes_again(postroom: Postroom, tmp_path: Path) -> None:
    load = Load()
    async with receiver_process(postroom.dsn, tmp_path) as (child, client), load.on(client):
        await until(lambda: len(load.accepted) >= 200)
        await child.end(signal.SIGKILL)
    assert load.accepted.keys() <= {row["key"] for row in await postroom.rows("select key from outbox.events")}
    async with receiver_process(postroom.dsn, tmp_path) as (_, client):
        await load.send_what_was_not_accepted(client)
    await load.assert_accepted_exactly_once(postroom)


async def test_p9_postgres_killed_under_a_receiver_heals_and_each_delivery_is_accepted_once(own_server: Embedded, mortal: Postroom) -> None:
    load = Load()
    async with started(mortal) as talk:
        async with load.on(talk.client):
            await until(lambda: len(load.accepted) >= 100)
            own_server.kill()
            patience, before = Patience(family()), len(load.accepted)
            own_server.start()
            await until(lambda: len(load.accepted) >= before + 100)
            heals_in_time(time.monotonic() - patience.at, starved_s=patience.starved_s(family()))
        await load.send_what_was_not_accepted(talk.client)
        await load.assert_accepted_exactly_once(mortal)
    assert load.statuses <= {202, 429}


async def test_a_receiver_that_is_asked_to_stop_answers_what_waits_first(postroom: Postroom, tmp_path: Path) -> None:
    load = Load()
    load.deliveries["waits"] = ghl_delivery(webhook_id="waits")
    async with receiver_process(postroom.dsn, tmp_path) as (child, client):
        async with postroom.pool.acquire() as other, other.transaction():
            await other.execute("lock table outbox.keys in access exclusive mode")
            answering = asyncio.create_task(load.deliver(client, "waits"))
            asked = "select count(*) > 0 from pg_stat_activity where application_name = 'postroom:intake' and wait_event_type = 'Lock'"
            await until(lambda: postroom.value(asked))
            child.send(signal.SIGTERM)
        await answering
        await child.wait()
    assert load.statuses == {202}
    await load.assert_accepted_exactly_once(postroom)
    assert await postroom.value("select accepted from outbox.sources where name = 'ghl'") == 1
