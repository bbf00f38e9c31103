"""Options that several commands share, and the reading of times and durations."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.errors import bad

LARGEST_ID = 2**53

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
EventId = Annotated[int, typer.Argument(metavar="ID", min=1, max=LARGEST_ID, help="The event's id, as `postroom events` shows it.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many.")]
Before = Annotated[
    int | None, typer.Option("--before", min=1, max=LARGEST_ID, metavar="ID", help="Only ids below this one: the next page.")
]
StopWithParent = Annotated[bool, typer.Option("--stop-with-parent", hidden=True)]

_DURATION = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def duration_s(text: str, *, option: str) -> float:
    """Seconds of `90s`, `30m`, `2h`, `3d`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        bad(option, text, "a duration like 90s, 30m, 2h or 3d")
    return float(int(match[1]) * _SECONDS[match[2]])


def moment(text: str | None, *, option: str, ahead: bool = False) -> datetime | None:
    """A time: ISO 8601 (UTC where it names no zone), or a duration back from now; with `ahead`, forward."""
    if text is None:
        return None
    if _DURATION.fullmatch(text.strip().removeprefix("+")):
        away = timedelta(seconds=duration_s(text.strip().removeprefix("+"), option=option))
        return datetime.now(UTC) + (away if ahead else -away)
    try:
        at = datetime.fromisoformat(text.strip())
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        at.astimezone(UTC)
    except (ValueError, OverflowError):
        bad(option, text, "a time like 2026-10-05T09:00Z, or a duration like 30m, 2h or 3d")
    return at
