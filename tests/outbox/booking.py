"""Appointments for tests: what they say, and how any program would write them, past our store."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

TEN = datetime(2027, 1, 5, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
MADE = "insert into crm.appointments (resource, status, starts_at, ends_at, title) values ($1, $2, $3, $4, 'Cut') returning id"


def fields(hour: float = 0, *, hours: float = 1, resource: str | None = "chair 1", status: str = "scheduled") -> Any:
    starts_at = TEN + hour * HOUR
    return {
        "status": status,
        "starts_at": starts_at,
        "ends_at": starts_at + hours * HOUR,
        "contact_id": None,
        "title": "Cut",
        "notes": None,
        "resource": resource,
    }


async def insert(
    connection: Any, hour: float = 0, *, hours: float = 1, resource: str | None = "chair 1", status: str = "scheduled"
) -> UUID:
    """As any program would write it, past our store."""
    given = fields(hour, hours=hours, resource=resource, status=status)
    made: UUID = await connection.fetchval(MADE, resource, status, given["starts_at"], given["ends_at"])
    return made
