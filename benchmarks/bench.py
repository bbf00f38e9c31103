"""What the cases of one run share: the server, the sizes, the results so far, and the yardstick.

A machine that others use is now faster, now slower, by a quarter. So a case that is to be compared with a plain drain is measured between
two of them, and the ratio is to their mean: never to the best of the beginning.
"""

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from benchmarks.drain import Drained, drain
from benchmarks.sizes import Sizes
from outbox.embedded import Embedded

Results: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[str], None]


@dataclass(slots=True)
class Bench:
    """One run."""

    running: Embedded
    sizes: Sizes
    tell: Tell
    results: Results = field(default_factory=dict)
    plains: list[Drained] = field(default_factory=list)
    others: int = 0  # runs since the last plain one

    async def plain(self) -> Drained:
        """The yardstick: no-op handler, one process."""
        run = await drain(self.running, events=self.sizes.drained, lanes=self.sizes.lanes)
        self.tell(f"plain drain: {run.per_s:,.0f}/s")
        self.plains.append(run)
        self.others = 0
        return run

    async def fresh_plain(self) -> Drained:
        """The last plain run if it is next to what comes; the short form lets five others stand between."""
        if not self.plains or self.others > (4 if self.sizes.is_short else 0):
            return await self.plain()
        return self.plains[-1]

    async def beside(self, what: str, measure: Callable[[], Awaitable[float]]) -> tuple[float, float]:
        """Events per second of a case, and the plain drain's at the same time: the mean of before and after (short: before)."""
        before = (await self.fresh_plain()).per_s
        per_s = await measure()
        self.others += 1
        after = before if self.sizes.is_short else (await self.plain()).per_s
        self.tell(f"{what}: {per_s:,.0f}/s, {2 * per_s / (before + after):.2f} of the plain drain beside it")
        return per_s, (before + after) / 2

    def settle_plain(self) -> None:
        """What all plain runs say together; the first of a whole run warms up and is left out."""
        runs = self.plains[1:] if len(self.plains) > 2 and not self.sizes.is_short else self.plains
        if not runs:
            return
        median = {
            name: statistics.median(getattr(run, name) for run in runs)
            for name in ("per_s", "stage_per_s", "wal_stage_bytes", "wal_drain_bytes", "tx_per_event", "cpu_us_per_event")
        }
        self.results |= {
            "drain_per_s": round(median["per_s"]),
            "drain_runs_per_s": [round(run.per_s) for run in self.plains],
            "stage_per_s": round(median["stage_per_s"]),
            "wal_stage_bytes": round(median["wal_stage_bytes"]),
            "wal_drain_bytes": round(median["wal_drain_bytes"]),
            "wal_bytes": round(median["wal_stage_bytes"] + median["wal_drain_bytes"]),
            "tx_per_event": round(median["tx_per_event"], 4),
            "cpu_us_per_event": round(median["cpu_us_per_event"], 1),
        }
