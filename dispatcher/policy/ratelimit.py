"""How fast a credential may call: the limits that answers report, and one token bucket shared by live and bulk work.

Pure: times come in as arguments, the bucket is a value that the caller stores. Nothing a header says can raise.
What the far side reports always wins over our own constants, which only keep us from finding out by being refused.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0
LONGEST_INTERVAL_S: Final = 30.0  # GHL's own SDK caps the interval it waits at this
REST_UNTOLD_S: Final = 10.0  # a 429 that does not say how long
BULK_RESERVE: Final = 0.3  # the share of the bucket that only live work may take
LIVE: Final = 0

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,9})?")


class Scope(StrEnum):
    """Which limit was hit."""

    BURST = "burst"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer said about our limits; None = it did not say."""

    burst_max: int | None = None
    burst_remaining: int | None = None
    interval_s: float | None = None
    daily_max: int | None = None
    daily_remaining: int | None = None
    daily_reset_s: float | None = None
    retry_after_s: float | None = None

    @property
    def scope(self) -> Scope:
        return Scope.DAY if self.daily_remaining == 0 else Scope.BURST


def retry_after_limits(headers: Mapping[str, str], body: object = None, *, now: datetime) -> Limits:
    """Retry-After alone, in seconds or as an HTTP date. Header names are lower-case, or the mapping does not care about case."""
    return Limits(retry_after_s=_retry_after_s(headers, now=now))


def ghl_limits(headers: Mapping[str, str], body: object = None, *, now: datetime) -> Limits:
    """GHL's X-RateLimit headers, sent with every answer; times are in milliseconds. Retry-After is not documented there, but honoured."""
    return Limits(
        burst_max=_whole(headers.get("x-ratelimit-max")),
        burst_remaining=_whole(headers.get("x-ratelimit-remaining")),
        interval_s=_thousandth(headers.get("x-ratelimit-interval-milliseconds")),
        daily_max=_whole(headers.get("x-ratelimit-limit-daily")),
        daily_remaining=_whole(headers.get("x-ratelimit-daily-remaining")),
        daily_reset_s=_thousandth(headers.get("x-ratelimit-daily-reset")),
        retry_after_s=_retry_after_s(headers, now=now),
    )


def notion_limits(headers: Mapping[str, str], body: object = None, *, now: datetime) -> Limits:
    """Notion's Retry-After, else additional_data.retry_after of the body. It can exceed a minute (limit of the whole workspace)."""
    asked_s = _retry_after_s(headers, now=now)
    if asked_s is None and isinstance(body, Mapping):
        more = body.get("additional_data")
        asked_s = _number(more.get("retry_after")) if isinstance(more, Mapping) else None
    return Limits(retry_after_s=asked_s)


def pause_s(limits: Limits, status: int) -> float:
    """How long the credential should rest after an answer with these limits and this status, 0 (go on) to a day.

    When little is left of a window, each call rests a little, so that the last tenth lasts as long as the window.
    """
    asked_s = limits.retry_after_s or 0.0
    interval_s = min(limits.interval_s or 0.0, LONGEST_INTERVAL_S)
    if limits.daily_remaining == 0:
        rest_s = max(asked_s, limits.daily_reset_s or HOUR_S)
    elif status in (429, 529):
        rest_s = max(1.0, asked_s or interval_s or REST_UNTOLD_S)
    elif status == 503:
        rest_s = asked_s
    else:
        rest_s = _brake_s(limits, interval_s)
    return min(rest_s, DAY_S)


def _brake_s(limits: Limits, interval_s: float) -> float:
    left = limits.burst_remaining
    if left is None or left > (limits.burst_max or 0) // 10:
        return 0.0
    return interval_s / (left + 1)


@dataclass(frozen=True, slots=True)
class Rate:
    """Our own pace towards one credential: `burst` calls at once, `per_s` a second after that.

    `per_day` is the published quota, for people to see: the far side counts the day, and its count is obeyed by pause_s.
    """

    per_s: float
    burst: int
    per_day: int | None = None


GHL_RATE: Final = Rate(per_s=10, burst=20, per_day=200_000)  # 100 in 10 s; the last tenth of that window is braked by pause_s
NOTION_RATE: Final = Rate(per_s=3, burst=3)
GOOGLE_RATE: Final = Rate(per_s=1, burst=10)  # of one user: 60 to 90 critical reads a minute, as people report
PHOREST_RATE: Final = Rate(per_s=50, burst=50)  # half of the 100 a second that its refusal names: the salon's other partners call, too


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` as of `at`. `paused_until`: the credential rests until then; None = it does not."""

    tokens: float
    at: datetime
    paused_until: datetime | None = None


def take(bucket: Bucket, rate: Rate, *, now: datetime, urgency: int) -> tuple[Bucket, float]:
    """One call's token: (bucket to store, 0) = taken, (bucket, seconds) = not taken, ask again after that time.

    Live work (urgency 0) may take the last token; bulk only what leaves BULK_RESERVE of the bucket to live work.
    """
    filled = _refill(bucket, rate, now=now)
    if filled.paused_until is not None:
        return filled, (filled.paused_until - now).total_seconds()
    needed = 1.0 if urgency == LIVE else min(rate.burst, 1 + BULK_RESERVE * rate.burst)
    if filled.tokens >= needed:
        return replace(filled, tokens=filled.tokens - 1), 0.0
    # A microsecond more than the sum says: clocks do not count finer, and asking just too early would be in vain.
    return filled, (needed - filled.tokens) / rate.per_s + 1e-6


def _refill(bucket: Bucket, rate: Rate, *, now: datetime) -> Bucket:
    elapsed_s = (now - bucket.at).total_seconds()
    # A clock that is a little behind (another reader) gets nothing twice; one that was turned back must not freeze the bucket.
    at = now if elapsed_s >= 0 or -elapsed_s > rate.burst / rate.per_s else bucket.at
    tokens = min(float(rate.burst), bucket.tokens + max(0.0, elapsed_s) * rate.per_s)
    return Bucket(tokens, at, _still_resting(bucket.paused_until, now))


def _still_resting(until: datetime | None, now: datetime) -> datetime | None:
    """None when the rest is over, or lies farther ahead than any rest we order (the clock was turned back)."""
    if until is None or not 0 < (until - now).total_seconds() <= DAY_S + 1:
        return None
    return until


def _retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    return seconds if seconds is not None else _until_s(text, _date(headers.get("date")) or now)


def _until_s(text: str, now: datetime) -> float | None:
    """Seconds from `now` (the answer's own Date header where there is one: one clock for both) to an HTTP date."""
    then = _date(text)
    return None if then is None else max(0.0, (then - now).total_seconds())


def _date(text: str | None) -> datetime | None:
    if text is None or len(text) > 100:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _number(value: object) -> float | None:
    """A finite number from 0 upwards, from text or JSON; a negative one counts as 0, anything else as not said."""
    if isinstance(value, str):
        text = value.strip()
        return max(0.0, float(text)) if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return float(min(max(0, value), 10**15))
    return max(0.0, value) if math.isfinite(value) else None


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _thousandth(text: str | None) -> float | None:
    number = _number(text)
    return None if number is None else number / 1_000
