"""The custom fields of one GHL location by id and by key, fetched when first needed and again when an unknown one is asked for.

However many handlers ask at once, one fetch answers them all; a field that does not exist cannot cause a storm of fetches.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from dispatcher.clients.ghl_models import GhlCustomField

KEEP_S: Final = 3_600.0
AGAIN_S: Final = 10.0


class FieldBook:
    """`load` fetches all fields of the location; `clock` counts seconds."""

    def __init__(self, load: Callable[[], Awaitable[tuple[GhlCustomField, ...]]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._load, self._clock = load, clock
        self._lock = asyncio.Lock()
        self._fields: tuple[GhlCustomField, ...] = ()
        self._by_name: dict[str, GhlCustomField] = {}
        self._loaded_at: float | None = None

    async def all(self) -> tuple[GhlCustomField, ...]:
        """Every field, at most an hour old."""
        await self._renew(older_than_s=KEEP_S)
        return self._fields

    async def find(self, name: str) -> GhlCustomField | None:
        """The field with this id or key (with or without its "contact." in front); None when the location has none."""
        await self._renew(older_than_s=KEEP_S)
        if name not in self._by_name:
            await self._renew(older_than_s=AGAIN_S)
        return self._by_name.get(name)

    async def _renew(self, *, older_than_s: float) -> None:
        if not self._is_older(older_than_s):
            return
        async with self._lock:
            if self._is_older(older_than_s):  # else another one fetched while this one waited
                self._keep(await self._load())

    def _is_older(self, than_s: float) -> bool:
        return self._loaded_at is None or self._clock() - self._loaded_at >= than_s

    def _keep(self, fields: tuple[GhlCustomField, ...]) -> None:
        self._fields, self._by_name, self._loaded_at = fields, {}, self._clock()
        # Ids last, full keys before them: the more exact name wins.
        for field in fields:
            self._by_name[(field.key or field.id).rpartition(".")[2]] = field
        for field in fields:
            self._by_name[field.key or field.id] = field
        for field in fields:
            self._by_name[field.id] = field
