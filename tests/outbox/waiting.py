"""Waiting for what the database shows, never for a time that should be enough."""

import asyncio
from collections.abc import Awaitable, Callable

from outbox.testing import Postroom

PATIENCE_S = 20


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns when `condition` holds. Raises TimeoutError when it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 -- the database has no event to wait for
            await asyncio.sleep(0.005)


async def until_it_waits_for_a_lock(postroom: Postroom, pid: int) -> None:
    """Returns when server process `pid` waits for a lock that another holds."""

    async def waits() -> bool:
        found: bool = await postroom.value("select exists (select from pg_locks where pid = $1 and not granted)", pid)
        return found

    await until(waits)
