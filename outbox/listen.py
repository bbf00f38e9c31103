"""LISTEN on a connection of its own. A NOTIFY is a hint, so a lost one costs a poll interval and nothing else.

Refuses to listen through a transaction pooler, where LISTEN is answered and nothing is ever heard.
"""

import asyncio
from collections.abc import Callable

from outbox import db
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger

log = get_logger(__name__)
CHANNEL = "postroom"
CHECK_S = 5.0
AGAIN_S = 2.0
STILL = "select 'still listening'"  # as pg_stat_activity shows it: what this connection is there for


class Listener:
    """Calls `heard` for each NOTIFY on the channel, and comes back after an outage."""

    def __init__(self, dsn: str, *, name: str, heard: Callable[[], None]) -> None:
        self._dsn, self._name, self._heard = dsn, name, heard

    async def run(self, standing: Callable[[bool], None]) -> None:
        """For ever, or until a pooler is met. `standing` is told when the connection stands and when it fell."""
        while True:
            try:
                if not await self._listen(standing):
                    log.info("not listening through a pooler, polling instead", do="DATABASE_DIRECT_URL names the way past it")
                    return
            except DatabaseUnavailable as problem:
                log.info("not listening, polling instead", problem=problem)
            standing(False)
            await asyncio.sleep(AGAIN_S)

    async def _listen(self, standing: Callable[[bool], None]) -> bool:
        """Returns when the server closed the connection; False at once when nothing can be heard here. Raises DatabaseUnavailable."""
        connection = await db.connect(self._dsn, name=self._name)
        fell = asyncio.Event()
        try:
            if db.is_pooled(connection):
                return False
            with db.mapped():
                connection.add_termination_listener(lambda _: fell.set())
                await connection.add_listener(CHANNEL, lambda *_: self._heard())
            standing(True)
            self._heard()
            while not fell.is_set():
                try:
                    async with asyncio.timeout(CHECK_S):  # wait_for() would lose a cancellation at the moment at which it falls
                        await fell.wait()
                except TimeoutError:  # nothing fell that we know of; a silent network is found by asking
                    await db.fetchval(connection, STILL, timeout_s=3)
            return True
        finally:
            connection.terminate()
