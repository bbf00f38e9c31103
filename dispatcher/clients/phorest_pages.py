"""Pages, months and times as Phorest counts them. Pure.

{"_embedded": {"clients": […]}, "page": {"size", "totalElements", "totalPages", "number"}}      `_embedded` is missing when empty
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from dispatcher.clients.answer import Json, items, member
from dispatcher.errors import Failed


@dataclass(frozen=True, slots=True)
class Page:
    """One page, counted from 0. `total`: of all pages; rows shift when it changes during a walk, so the walk begins anew."""

    rows: tuple[dict[str, Json], ...]
    number: int
    pages: int
    total: int

    @property
    def is_last(self) -> bool:
        return self.number + 1 >= self.pages


def read_page(answer: Json, plural: str, *, destination: str) -> Page:
    """The page; Failed when the answer does not count its pages, for then a walk would end early and look complete."""
    counts = member(answer, "page")
    number, pages, total = (member(counts, name) for name in ("number", "totalPages", "totalElements"))
    if not (isinstance(number, int) and isinstance(pages, int) and isinstance(total, int)):
        raise Failed(destination, "the answer does not count its pages")
    rows = tuple(row for row in items(member(answer, "_embedded", plural)) if isinstance(row, dict))
    if not rows and number < pages and total > 0:
        raise Failed(destination, f"page {number} of {pages} has no {plural}")
    return Page(rows, number, pages, total)


def months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """The days from first to last in windows inside one calendar month: what one question for appointments may span."""
    while first <= last:
        end = first.replace(day=calendar.monthrange(first.year, first.month)[1])
        yield first, min(end, last)
        if end == date.max:
            return
        first = end + timedelta(days=1)


def stamp(at: datetime) -> str:
    """A time as Phorest takes it in a query: 2026-10-05T08:59:00.000Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(value: Json) -> datetime | None:
    """createdAt and updatedAt; None for what is no time."""
    try:
        at = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


def day(value: Json) -> date | None:
    """appointmentDate; None for what is no day."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def wall_time(on: date | None, at: Json, zone: tzinfo) -> datetime | None:
    """A day and an HH:MM:SS.mmm of a branch as a time; None for what is none. In a gap of summer time, as if the clock had not moved."""
    try:
        return None if on is None or not isinstance(at, str) else datetime.combine(on, time.fromisoformat(at), zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
