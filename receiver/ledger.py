"""What came in and what was turned away: counts per source, and rejected requests kept for inspection (P11).

Owns numbers in memory that are added to the database about once a second. Bounded: at most 10 rejected requests a second of a source are
kept, each cut and blanked; all are counted. An outage costs nothing but delay: counts wait, the newest rejected requests too.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.log import get_logger
from outbox.store import sources
from outbox.store.sources import Seen, Turned
from receiver.body_head import head_of
from receiver.errors import origin
from receiver.limits import Buckets

log = get_logger(__name__)

FLUSH_S = 1.0
KEPT_PER_S = 10
KEPT_IN_MEMORY = 500
MAX_DETAIL_CHARS = 300


class Ledger:
    """One for each process. `secrets` are those that must not be kept, wherever in a body they stand."""

    def __init__(self, *, secrets: Sequence[str] = ()) -> None:
        self._secrets = tuple(secrets)
        self._seen: dict[str, Seen] = {}
        self._turned: deque[Turned] = deque(maxlen=KEPT_IN_MEMORY)
        self._keep = Buckets(per_s=KEPT_PER_S, burst=KEPT_PER_S)
        self._writing = asyncio.Lock()
        self.totals: dict[tuple[str, str], int] = {}  # (source, outcome) since this process began, for the metrics

    def accepted(self, source: str, fingerprint: str, *, duplicate: bool, now: datetime) -> None:
        """A webhook was committed, or found to be there already."""
        seen = self._of(source)
        if duplicate:
            seen.duplicates += 1
        else:
            seen.accepted += 1
        seen.last_accepted_at = now
        seen.last_fingerprint = fingerprint
        seen.keys[fingerprint] = now
        seen.outcomes["duplicate" if duplicate else "accepted"] += 1
        self._total(source, "duplicate" if duplicate else "accepted")

    def rejected(
        self, source: str, reason: str, detail: str, *, network: str | None, body: bytes = b"", body_bytes: int | None = None
    ) -> None:
        """A request was turned away. `body_bytes` is how much was read, when that is more than `body`."""
        now = datetime.now(UTC)
        seen = self._of(source)
        seen.rejected += 1
        seen.last_rejected_at = now
        seen.last_rejected = reason
        seen.outcomes[reason] += 1
        self._total(source, reason)
        if self._keep.take(source, now=now.timestamp()):
            size = len(body) if body_bytes is None else body_bytes
            head = head_of(body, self._secrets)
            self._turned.append(Turned(now, source, reason, detail[:MAX_DETAIL_CHARS], network, size, head))
            log.info("webhook turned away", source=source, reason=reason, detail=detail[:MAX_DETAIL_CHARS], network=network, bytes=size)

    def seen(self, source: str) -> Seen:
        """What is not in the database yet."""
        return self._seen.get(source) or Seen(source)

    async def run(self, pool: Pool) -> None:
        """For ever. Cancelled, it lets a write that has begun come to its end: whether it counted would not be known."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await asyncio.shield(self.flush(pool))

    async def flush(self, pool: Pool) -> bool:
        """Adds what there is to the database, one caller at a time. Returns False, and keeps it, when that failed."""
        async with self._writing:
            return await self._flush(pool)

    async def _flush(self, pool: Pool) -> bool:
        seen, self._seen = self._seen, {}
        turned = list(self._turned)
        try:
            if seen:
                await sources.count(pool, list(seen.values()))
                seen = {}
            if turned:
                await sources.keep(pool, turned)
        except DatabaseUnavailable:
            return False
        except Exception as problem:  # noqa: BLE001 -- counting must not stop for ever because one flush cannot be written
            log.error("rejected requests could not be kept", problem=origin(problem), lost=len(turned))
        finally:
            self._back(seen)
        for one in turned:  # those that came meanwhile stay; a full deque may have dropped some of these already
            if self._turned and self._turned[0] is one:
                self._turned.popleft()
        return True

    def _back(self, seen: dict[str, Seen]) -> None:
        """Counts that were not written join those that came meanwhile."""
        for name, old in seen.items():
            new = self._seen.setdefault(name, Seen(name))
            new.accepted += old.accepted
            new.duplicates += old.duplicates
            new.rejected += old.rejected
            new.last_accepted_at = new.last_accepted_at or old.last_accepted_at
            new.last_rejected_at = new.last_rejected_at or old.last_rejected_at
            new.last_rejected = new.last_rejected or old.last_rejected
            new.last_fingerprint = new.last_fingerprint or old.last_fingerprint
            new.outcomes += old.outcomes
            new.keys = {**old.keys, **new.keys}

    def _of(self, source: str) -> Seen:
        seen = self._seen.get(source)
        if seen is None:
            seen = self._seen[source] = Seen(source)
        return seen

    def _total(self, source: str, outcome: str) -> None:
        self.totals[source, outcome] = self.totals.get((source, outcome), 0) + 1
