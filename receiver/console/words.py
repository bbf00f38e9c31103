"""How numbers, durations, sizes and times read on every page. Pure: no clock, no database.

A share is rounded down, so that 100 % is said only of all; of nothing there is no share, but a dash.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from functools import lru_cache
from urllib.parse import urlencode

from cron_descriptor import ExpressionDescriptor, Options
from cron_descriptor.Exception import FormatError

NONE = "–"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_DAY_S = 86_400


def count(number: int | None) -> str:
    """18,431."""
    return NONE if number is None else f"{number:,}"


def counted(number: int, *, most: int = 10_000) -> str:
    """A count that was stopped at `most`: 10,000+."""
    return f"{most:,}+" if number > most else f"{number:,}"


def share(part: int, whole: int) -> str:
    """Per cent with one decimal, rounded down."""
    if whole <= 0:
        return NONE
    tenths = part * 1000 // whole
    return "100 %" if tenths == 1000 else f"{tenths // 10}.{tenths % 10} %"


def change(now: int, before: int) -> str:
    """Against the same hours of yesterday: +4 %, -12 %, as yesterday. Of nothing there is no share."""
    if before <= 0:
        return "none yesterday" if now else ""
    percent = round((now - before) * 100 / before)
    return "as yesterday" if percent == 0 else f"{percent:+,} % to yesterday"


def duration(seconds: float | None) -> str:
    """0.4 ms, 240 ms, 3.2 s, 41 s, 2 m 05 s, 3 h 12 m, 4 d 2 h."""
    if seconds is None:
        return NONE
    if seconds < 0.001:
        return f"{seconds * 1000:.1f} ms"
    if round(seconds * 1000) < 1000:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < _DAY_S:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // _DAY_S} d {whole % _DAY_S // 3600} h"


def size(number: int | None) -> str:
    """512 B, 1.2 KiB."""
    if number is None:
        return NONE
    left, unit = float(number), 0
    while left >= 1023.95 and unit < len(_UNITS) - 1:
        left, unit = left / 1024, unit + 1
    return f"{number} B" if unit == 0 else f"{left:.1f} {_UNITS[unit]}"


def rate(per_s: float) -> str:
    """12/s; below one a second 7/min."""
    return f"{per_s:,.0f}/s" if per_s >= 1 else f"{per_s * 60:,.0f}/min"


@lru_cache(maxsize=256)
def cron(rule: str) -> str | None:
    """At 02:00; every 2 hours, between 09:00 and 18:59, Monday through Friday. None: the expression says it best itself."""
    _, _, day, _, weekday = rule.split()
    if "*" not in (day, weekday) and (day[0] == "*" or weekday[0] == "*"):
        return None  # both have to fit then, by Debian's rules; the describer says "or"
    options = Options()
    options.locale_code, options.use_24hour_time_format = "en_US", True
    try:
        said: str = ExpressionDescriptor(rule, options).get_description()
    except (FormatError, ValueError, LookupError):
        return None
    return said[0].lower() + said[1:]


def plural(number: int, one: str, more: str | None = None) -> str:
    """1 event, 2 events."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def ago(then: datetime, now: datetime) -> str:
    """41 s ago, in 23 h; a date when it is over 7 days away."""
    seconds = (now - then).total_seconds()
    if not is_near(then, now):
        return f"{then.day} {then:%b %Y}"
    if abs(seconds) < 1:
        return "now"
    said = age(abs(seconds))
    return f"{said} ago" if seconds > 0 else f"in {said}"


def is_near(then: datetime, now: datetime) -> bool:
    """Whether a time is told by its distance; else by its date."""
    return abs((now - then).total_seconds()) <= 7 * _DAY_S


def age(seconds: float) -> str:
    """41 s, 52 m, 3 h 12 m: one unit under an hour, so that a list stays calm; two above."""
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} m" if whole < 3600 else duration(whole).removesuffix(" 0 m").removesuffix(" 0 h")


def exact(then: datetime, zone: tzinfo) -> str:
    """28 Nov 2026 14:02:11.123 EST."""
    there = then.astimezone(zone)
    return f"{there.day} {there:%b %Y %H:%M:%S}.{there.microsecond // 1000:03d} {there.tzname()}"


def field(then: datetime | None, zone: tzinfo) -> str:
    """As a form's field for a time has it: 2026-11-28T14:02:11, in the viewer's zone."""
    return "" if then is None else f"{then.astimezone(zone):%Y-%m-%dT%H:%M:%S}"


def clock(then: datetime, zone: tzinfo) -> str:
    """14:02:11."""
    return f"{then.astimezone(zone):%H:%M:%S}"


def shell(text: str) -> str:
    """As one word of a command line."""
    return shlex.quote(text)


def same(cli: str, api: str, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """A page's filters on the command line and by the API, which call them alike; an empty value is a flag."""
    flags = [f"--{name} {shlex.quote(value)}" if value else f"--{name}" for name, value in pairs]
    return {"cli": " ".join([cli, *flags]), "api": f"GET {api}" + (f"?{urlencode(pairs)}" if pairs else "")}


def curl(api: str, body: Mapping[str, object] | None = None) -> str:
    """`POST /api/…` as a command, with the variables of docs/api.md."""
    method, _, path = api.partition(" ")
    sent = "" if method == "GET" else f" -X {method}"
    if body is not None:
        sent += f" -H 'content-type: application/json' -d {shlex.quote(json.dumps(body))}"
    return f'curl -sS -H "authorization: Bearer $TOKEN"{sent} "$BASE"{shlex.quote(path)}'


def cut(text: str, most: int = 32) -> str:
    """A long key with its middle left out; its ends tell keys apart."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def brief(text: str, most: int = 90) -> str:
    """A reason in a list: its first sentence; what to do about it stands on the page that it leads to."""
    first = text.partition(". ")[0]
    return first if len(first) <= most else f"{first[: most - 1].rstrip()}…"


def mask(value: object) -> str:
    """What a viewer sees of a value: its ends and its length."""
    text = str(value)
    return f"{text[0]}…{text[-1]} ({len(text)})" if len(text) >= 8 else f"… ({len(text)})"
