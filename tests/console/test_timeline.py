"""The why page's timeline: one scale for all bars, and attempts that went alike in one line."""

from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.console.charts import LEAST, SPAN_WIDTH
from receiver.console.timeline import draw

BEGAN = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)


def entry(seconds: float, what: str, text: str, took_ms: int | None = None) -> dict[str, Any]:
    return {"at": (BEGAN + timedelta(seconds=seconds)).isoformat(), "what": what, "text": text, "took_ms": took_ms}


def attempt(seconds: float, number: int, outcome: str, note: str | None, took_ms: int = 200) -> dict[str, Any]:
    text = f"attempt {number} by host:1: {outcome}, took {took_ms} ms"
    return {**entry(seconds, "attempt", text, took_ms), "outcome": outcome, "note": note}


def failing(seconds: float, number: int, code: int = 503) -> list[dict[str, Any]]:
    return [
        attempt(seconds, number, "will be retried", f"ghl answered {code}", took_ms=200 + number),
        entry(seconds, "step", f"note: surely not done: ghl answered {code}, in {number + 180} ms", 180),
        entry(seconds + 1, "wait", f"waited {number} s for its retry", 9000),
    ]


def test_bars_are_to_one_scale_and_none_is_too_small_to_be_seen() -> None:
    parts = draw(
        [
            entry(0, "staged", "staged"),
            entry(0, "wait", "waited", 50_000),
            attempt(50, 1, "done", None, 50_000),
            entry(99.9, "step", "s", 1),
        ]
    )
    bars = [None if line.bar is None else (line.bar.x, line.bar.width) for part in parts for line in part.lines]
    assert bars == [None, (0, SPAN_WIDTH / 2), (SPAN_WIDTH / 2, SPAN_WIDTH / 2), (SPAN_WIDTH - LEAST, LEAST)]
    assert [line.offset_s for part in parts for line in part.lines] == [0, 0, 50, 99.9]


def test_attempts_that_went_alike_are_folded_between_the_first_and_the_last() -> None:
    entries = [entry(0, "staged", "staged"), *(one for n in range(5) for one in failing(10 * n, n + 1))]
    staged, first, folded, last = draw([*entries])
    assert [len(part.lines) for part in (staged, first, folded, last)] == [1, 3, 9, 3]
    assert folded.said == "3 more attempts that went the same way"
    assert (staged.said, first.said, last.said) == (None, None, None)


def test_an_attempt_that_went_otherwise_is_never_folded() -> None:
    parts = draw([*failing(0, 1), *failing(10, 2), attempt(20, 3, "done", None), *failing(30, 4), *failing(40, 5, code=400)])
    assert all(part.said is None for part in parts)
    assert sum(len(part.lines) for part in parts) == 13
    assert draw([]) == ()
