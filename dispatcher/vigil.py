"""Notices that no dispatcher is alive, and tells people: the one alert that no dispatcher can tell. Runs beside a receiver.

It stages nothing, since nobody would take it, and calls the alert URLs itself. What it told stands in outbox.alerts like every alert, so
the first dispatcher that is back finds it there and tells that it is over. With several receivers a chat room may read it twice: better
that than never.

    none for a minute ──▶ every URL called ──▶ noted as told        a URL that fails is called again, TRIES times
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from dispatcher.clients.channels import Alert, Channels, opened
from dispatcher.config import AlertSettings
from dispatcher.ending import end
from dispatcher.errors import RemoteError
from dispatcher.policy.alarm import LASTING_S, WELL, Act, Condition, changes
from outbox import db
from outbox.db import Pool, Record
from outbox.errors import DatabaseUnavailable
from outbox.health import Health
from outbox.log import get_logger
from outbox.store import alerts, events, workers
from outbox.timeline import iso

log = get_logger(__name__)

NAME: Final = "dispatchers"
EVERY_S: Final = 10.0
TRIES: Final = 5


class Vigil:
    """One for each receiver process."""

    def __init__(self, pool: Pool, channels: Channels, settings: AlertSettings) -> None:
        self._pool, self._channels, self._settings = pool, channels, settings
        self._told: set[str] = set()
        self._tries = 0

    async def run(self) -> None:
        """Looks for ever, also through an outage."""
        while True:
            await asyncio.sleep(EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 -- so that two receivers do not look at once
            try:
                await self.once()
            except DatabaseUnavailable as problem:
                log.debug("no look for dispatchers while the database is away", problem=problem)
            except Exception as problem:  # noqa: BLE001 -- the receiver goes on
                log.error("the look for dispatchers failed", problem=problem)

    async def once(self) -> list[str]:
        """One look. Returns the names of the URLs that were told by it."""
        last = await workers.last(self._pool)
        now = _condition(last)
        known = (await alerts.every(self._pool)).get(NAME)
        if now.state == WELL:
            self._told, self._tries = set(), 0
            if known is None or known.state != WELL:
                return []  # the dispatcher that is there tells that it is over
        is_due = known is not None and any(step.act is Act.TELL for step in changes([now], {NAME: known}))
        told = await self._tell(now, message_id=f"msg_{NAME}_{0 if last is None else int(last['until'].timestamp())}") if is_due else []
        await self._note(now, is_told=is_due and self._is_done())
        return told

    async def _note(self, now: Condition, *, is_told: bool) -> None:
        async with db.transaction(self._pool) as connection:
            if not await alerts.lock(connection):
                return
            known = {name: told for name, told in (await alerts.every(connection)).items() if name == NAME}
            for step in changes([now], known):
                match step.act:
                    case Act.SEE:
                        await alerts.see(connection, NAME, was=WELL, now=now.state, detail=now.detail)
                    case Act.TELL if is_told:
                        await alerts.tell(connection, NAME)
                    case Act.TELL:
                        pass
                    case Act.FORGET:
                        await alerts.forget(connection, NAME)

    async def _tell(self, now: Condition, *, message_id: str) -> list[str]:
        """Calls every URL that has not heard it yet."""
        at, before = await events.clock(self._pool), set(self._told)
        alert = Alert(NAME, now.state, WELL, f"{iso(at)}", now.detail, self._settings.runbook(now.runbook))
        log.error("alert", name=NAME, state=now.state, was=WELL)
        self._tries += 1
        for name in self._channels.names:
            if name not in self._told:
                try:
                    await self._channels.post(name, alert, message_id=message_id, now=at)
                    self._told.add(name)
                except RemoteError as problem:
                    log.warning("an alert was not taken", channel=name, problem=problem)
        return sorted(self._told - before)

    def _is_done(self) -> bool:
        return self._tries >= TRIES or self._told >= set(self._channels.names)


def _condition(last: Record | None) -> Condition:
    """How it looks, by who was there last."""
    who = "" if last is None else f" The last was {last['name']}, until {iso(last['until'])}."
    said = f"No dispatcher is alive: webhooks are accepted and kept, and nothing is done with them.{who}"
    is_alive = last is not None and last["is_alive"]
    return Condition(NAME, WELL if is_alive else Health.UNHEALTHY.value, said, NAME, LASTING_S)


@asynccontextmanager
async def kept(dsn: str, settings: AlertSettings) -> AsyncIterator[None]:
    """While the block runs, somebody looks."""
    async with (
        db.pool(dsn, name="postroom:vigil", size=1) as pool,
        opened(settings.channels(), allow_private=settings.alert_private) as channels,
    ):
        task = asyncio.create_task(Vigil(pool, channels, settings).run(), name="vigil")
        try:
            yield
        finally:
            await end((task,))
