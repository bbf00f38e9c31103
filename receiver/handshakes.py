"""Notion's verification tokens: candidates that subscriptions offer, and promoted ones, which count beside those of the settings.

Anybody can offer a candidate, so they are few, rate-limited and never more than candidates. A token is sealed before it is stored and
opened only to verify with it or to be shown to an operator; it is never logged. Owns the current NotionSource, which it replaces whole.
"""

import asyncio
import time
from collections.abc import Callable

from pydantic import SecretStr

from outbox.db import Pool
from outbox.errors import ConfigError, DatabaseUnavailable
from outbox.log import get_logger
from outbox.seal import Sealer
from outbox.store import handshakes
from receiver.errors import Problem, busy, origin, unavailable
from receiver.limits import Buckets
from receiver.sources.base import Handshake
from receiver.sources.notion import NotionSource

log = get_logger(__name__)

SOURCE = "notion"
REFRESH_S = 5.0
PER_NETWORK_PER_S = 1 / 60
PER_NETWORK_BURST = 3
PER_S = 1 / 10
BURST = 10


class NotionTokens:
    """One for each process. `make` builds the source from the settings and the promoted tokens."""

    def __init__(self, sealer: Sealer, make: Callable[[tuple[SecretStr, ...]], NotionSource]) -> None:
        self._sealer, self._make = sealer, make
        self._sealed: list[bytes] | None = None  # as last read; None: not read yet
        self._reading = asyncio.Lock()  # or an older answer could replace a newer one
        self._by_network = Buckets(per_s=PER_NETWORK_PER_S, burst=PER_NETWORK_BURST)
        self._all = Buckets(per_s=PER_S, burst=BURST)
        self.source = make(())

    @property
    def is_known(self) -> bool:
        """Whether the promoted tokens were read: until then a signature that does not fit may still be a good one."""
        return self._sealed is not None

    @property
    def can_keep(self) -> bool:
        """Whether a candidate can be sealed at all."""
        return self._sealer.ready

    async def run(self, pool: Pool) -> None:
        """Reads the promoted tokens again and again, for ever: another receiver may have promoted one."""
        while True:
            try:
                await self.refresh(pool)
            except DatabaseUnavailable:
                pass  # what was read last goes on counting
            except Exception as problem:  # noqa: BLE001 -- the loop must outlive a database that is not migrated yet
                log.error("promoted tokens cannot be read", problem=origin(problem))
            await asyncio.sleep(REFRESH_S if self.is_known else 0.5)

    async def refresh(self, pool: Pool) -> None:
        """Reads the promoted tokens and replaces the source when they changed. Raises DatabaseUnavailable."""
        async with self._reading:
            sealed = await handshakes.promoted(pool, SOURCE)
            if sealed == self._sealed:
                return
            tokens: list[SecretStr] = []
            for one in sealed:
                try:
                    tokens.append(self._sealer.open(one))
                except ConfigError as problem:
                    log.error("a promoted token of Notion cannot be opened; its messages are turned away", problem=problem)
            self.source = self._make(tuple(tokens))
            self._sealed = sealed
        log.info("tokens of Notion read", promoted=len(tokens), keys=list(self.source.describe().keys))

    async def offer(self, pool: Pool, handshake: Handshake, *, network: str | None) -> int:
        """Keeps a candidate and returns its id. Raises Problem (429, 503) or DatabaseUnavailable."""
        if not self._sealer.ready:
            log.error(
                "a handshake of Notion is refused because its token cannot be kept",
                do="set POSTROOM_ENCRYPTION_KEYS, restart, and have Notion send the token again",
                network=network,
            )
            raise Problem(
                503,
                "cannot-keep-token",
                "The verification token cannot be kept",
                "The receiver has no key to seal it with; its log says what to do.",
                headers={"retry-after": "600"},
            )
        now = time.monotonic()
        if not (self._by_network.take(network or "", now=now) and self._all.take("", now=now)):
            raise busy("too many handshakes; candidates are few", retry_after_s=60)
        sealed = self._sealer.seal(handshake.token.get_secret_value())
        candidate = await handshakes.offer(pool, SOURCE, sealed=sealed, fingerprint=handshake.fingerprint, remote=network)
        log.info("a handshake of Notion is kept for an operator", candidate=candidate, key=handshake.fingerprint, network=network)
        return candidate

    def open(self, sealed: bytes) -> SecretStr:
        """A kept token. Raises Problem (503) when its key is not among ours."""
        try:
            return self._sealer.open(sealed)
        except ConfigError as problem:
            raise unavailable(str(problem), retry_after_s=600) from None
