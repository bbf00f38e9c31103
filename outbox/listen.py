"""LISTEN on a connection of its own. A NOTIFY is a hint, so a lost one costs a poll interval and nothing else."""

import asyncio
from collections.abc import Callable

from outbox import db
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger

log = get_logger(__name__)
CHANNEL = "postroom"
CHECK_S = 5.0


class Listener:
    """Calls `heard` for each NOTIFY on the channel, and comes back after an outage."""

    def __init__(self, dsn: str, *, name: str, heard: Callable[[], None]) -> None:
        self._dsn, self._name, self._heard = dsn, name, heard

    async def run(self, standing: Callable[[bool], None]) -> None:
        """For ever. `standing` is told when the connection stands and when it fell."""
        while True:
            try:
                await self._listen(standing)
            except DatabaseUnavailable as problem:
                log.info("not listening, polling instead", problem=problem)
            standing(False)
            await asyncio.sleep(2)

    async def _listen(self, standing: Callable[[bool], None]) -> None:
        connection = await db.connect(self._dsn, name=self._name)
        try:
            with db.mapped():
                await connection.add_listener(CHANNEL, lambda *_: self._heard())
            standing(True)
            self._heard()
            while True:
                await asyncio.sleep(CHECK_S)
                await db.fetchval(connection, "select 1", timeout_s=3)
        finally:
            connection.terminate()
