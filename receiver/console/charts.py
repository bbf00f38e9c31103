"""The geometry of bars, as numbers for a template's SVG. Pure.

The usual is one bar from the zero line; trouble has a strip of its own above, and a mark of it is never lower than can be seen: on top of a
tall bar one in a thousand would vanish.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outbox.store.minutes import Bar
from receiver.console.words import duration

WIDTH, HEIGHT, STRIP, GAP, LEAST = 960.0, 120.0, 28.0, 1.5, 3.0
SPAN_WIDTH, SPARK_WIDTH, SPARK_HEIGHT = 240.0, 96.0, 20.0


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
    latency_s: float | None
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
    top = max(settled, default=0)
    said = f"{sum(settled):,} settled, {sum(dead):,} dead; at most {top:,} in one bar"
    return Chart(_drawn(bars, settled, dead), top, said)


def latencies(bars: Sequence[Bar]) -> Chart:
    """From staged to done, on the average of each bar; `top` in milliseconds. Nothing is drawn where nothing was done."""
    took_ms = [0 if bar.counts.latency_s is None else max(1, round(bar.counts.latency_s * 1000)) for bar in bars]
    top = max(took_ms, default=0)
    said = f"From staged to done: {duration(top / 1000)} on the average of the slowest bar"
    return Chart(_drawn(bars, took_ms, [0] * len(bars)), top, said)


def _drawn(bars: Sequence[Bar], usual: Sequence[int], trouble: Sequence[int]) -> tuple[Drawn, ...]:
    top, worst, step = max(usual, default=0), max(trouble, default=0), WIDTH / max(1, len(bars))
    return tuple(
        Drawn(
            x=round(n * step, 2),
            width=round(step - GAP, 2),
            usual=_height(usual[n], top, HEIGHT),
            trouble=_height(trouble[n], worst, STRIP - 4),
            at=bar.at,
            settled=bar.counts.done + bar.counts.skipped,
            dead=bar.counts.dead,
            latency_s=bar.counts.latency_s,
            is_open=n == len(bars) - 1,
        )
        for n, bar in enumerate(bars)
    )


def _height(value: int, most: int, full: float) -> float:
    return 0.0 if value == 0 else round(max(LEAST, full * value / most), 2)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time: where it begins, and how wide it is."""

    x: float
    width: float


def spans(stretches: Sequence[tuple[float, float]]) -> list[Span | None]:
    """(begins, lasts) in seconds, all to one scale of SPAN_WIDTH; what is too short is as wide as can be seen, nothing is None."""
    whole = max((begins + lasts for begins, lasts in stretches), default=0.0)
    scale = SPAN_WIDTH / whole if whole else 0.0
    return [_span(begins * scale, lasts * scale) if lasts else None for begins, lasts in stretches]


def _span(x: float, width: float) -> Span:
    width = max(LEAST, width)
    return Span(round(min(x, SPAN_WIDTH - width), 2), round(width, 2))


@dataclass(frozen=True, slots=True)
class Spark:
    """Small bars without an axis; `said` is the whole in a sentence. `is_open`: the last of them is that of now, still in progress."""

    bars: tuple[tuple[float, float, float], ...]  # x, width, height
    said: str
    is_open: bool = False


def spark(numbers: Sequence[int], *, each: str) -> Spark:
    """One small bar for each number, the last one now."""
    most = max(numbers, default=0)
    step = SPARK_WIDTH / max(1, len(numbers))
    bars = tuple((round(n * step, 2), round(step - 1, 2), _height(value, most, SPARK_HEIGHT)) for n, value in enumerate(numbers) if value)
    said = f"{sum(numbers):,} in {len(numbers)} {each}s, at most {most:,} in one {each}"
    return Spark(bars, said, is_open=bool(numbers) and numbers[-1] > 0)


@dataclass(frozen=True, slots=True)
class RunBar:
    """One run: how long it worked (from the zero line), and its errors (in the strip)."""

    x: float
    width: float
    worked: float
    trouble: float


@dataclass(frozen=True, slots=True)
class RunChart:
    """Runs side by side, the newest at the right; `said` is the whole in a sentence."""

    bars: tuple[RunBar, ...]
    said: str


def runs(ended: Sequence[tuple[int, int]], *, room: int) -> RunChart | None:
    """(worked_ms, errors) of runs that are over, the oldest first; a run that failed has one error at least. None: there are none."""
    if not ended:
        return None
    worked, errors = [run[0] for run in ended], [run[1] for run in ended]
    step, most, worst = WIDTH / room, max(worked), max(errors)
    bars = tuple(
        RunBar(round((room - len(ended) + n) * step, 2), round(step - GAP, 2), _height(ms, most, HEIGHT), _height(bad, worst, STRIP - 4))
        for n, (ms, bad) in enumerate(ended)
    )
    usual = duration(sorted(worked)[len(worked) // 2] / 1000)
    troubled = sum(bad > 0 for bad in errors)
    said = f"The last {len(ended)} runs worked {usual} in the middle, {duration(most / 1000)} at most; {troubled} had errors"
    if len(ended) == 1:
        said = f"The only run worked {usual}; it had {'errors' if troubled else 'no errors'}"
    return RunChart(bars, said)
