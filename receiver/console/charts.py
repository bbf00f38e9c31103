"""The geometry of bars, as numbers for a template's SVG. Pure.

The usual is one bar from the zero line; trouble has a strip of its own above, and a mark of it is never lower than can be seen: on top of a
tall bar one in a thousand would vanish.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox.store.minutes import Bar

WIDTH, HEIGHT, STRIP, GAP, LEAST = 960.0, 120.0, 28.0, 1.5, 3.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """One bar: where it stands, how high its parts are (from the zero line, and in the strip), and what it says."""

    x: float
    width: float
    usual: float
    trouble: float
    at: datetime
    settled: int
    dead: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """`top`: what the tallest bar stands for; `said`: the whole in a sentence."""

    bars: tuple[Drawn, ...]
    top: int
    said: str


def draw(bars: Sequence[Bar]) -> Chart:
    """Done and skipped as bars, dead in the strip above; the last bar is still in progress."""
    settled = [bar.counts.done + bar.counts.skipped for bar in bars]
    dead = [bar.counts.dead for bar in bars]
    top, worst = max(settled, default=0), max(dead, default=0)
    step = WIDTH / max(1, len(bars))
    drawn = tuple(
        Drawn(
            x=round(n * step, 2),
            width=round(step - GAP, 2),
            usual=_height(settled[n], top, HEIGHT),
            trouble=_height(dead[n], worst, STRIP - 4),
            at=bar.at,
            settled=settled[n],
            dead=dead[n],
            is_open=n == len(bars) - 1,
        )
        for n, bar in enumerate(bars)
    )
    said = f"{sum(settled):,} settled, {sum(dead):,} dead; at most {top:,} in one bar"
    return Chart(drawn, top, said)


def _height(value: int, most: int, full: float) -> float:
    return 0.0 if value == 0 else round(max(LEAST, full * value / most), 2)
