"""Counts that are gathered in memory are told to the database every few seconds; what could not be told is told the next time."""

import asyncio
from collections.abc import Awaitable, Callable

from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger

log = get_logger(__name__)


async def tell_for_ever(tell: Callable[[], Awaitable[None]], *, every_s: float) -> None:
    """`tell` keeps what it could not tell, and raises DatabaseUnavailable."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await tell()
        except DatabaseUnavailable as problem:
            log.debug("counts are kept until the database is back", problem=problem)
