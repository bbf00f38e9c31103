"""What every call to GHL has in common: the location, the version of its service, whose turn it is, how an answer is read.

Owns one constant for each service, so that a move to another version of one of them is one change. Knows no endpoint.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from pydantic import BaseModel

from dispatcher.clients.answer import Json, member, read_as
from dispatcher.clients.http import Http, Params
from dispatcher.errors import Failed

CONTACTS_VERSION: Final = "2021-07-28"
NOTES_VERSION: Final = "2021-07-28"
TASKS_VERSION: Final = "2021-07-28"
LOCATIONS_VERSION: Final = "2021-07-28"
OPPORTUNITIES_VERSION: Final = "2021-07-28"
OAUTH_VERSION: Final = "2021-07-28"
CALENDARS_VERSION: Final = "2021-04-15"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

ShapeT = TypeVar("ShapeT", bound=BaseModel)


class GhlCalls:
    """Calls for one location. `urgency` of every call: 0 = live, 1 = bulk."""

    def __init__(self, http: Http, location_id: str, *, urgency: int = 0) -> None:
        self._http, self.location_id, self._urgency = http, location_id, urgency

    @property
    def destination(self) -> str:
        """Under which name this location's calls fail, wait and are counted."""
        return self._http.destination

    async def _call(
        self,
        method: str,
        version: str,
        *segments: str,
        params: Params | None = None,
        json: Mapping[str, object] | None = None,
        end: str = "",
    ) -> Json:
        """`end`: a slash, where GHL has one at the end of a path."""
        path = self._http.path(*segments) + end
        return await self._http.call(method, path, params=params, json=json, headers={"version": version}, urgency=self._urgency)

    def _read(self, model: type[ShapeT], value: Json) -> ShapeT:
        return read_as(model, value, destination=self._http.destination)

    def _read_all(self, model: type[ShapeT], answer: Json, name: str) -> tuple[ShapeT, ...]:
        """The list, which has to be there: taken for empty, it would end a walk early or make a lost effect look undone."""
        found = member(answer, name)
        if not isinstance(found, list):
            raise Failed(self._http.destination, f"the answer has no list of {name}")
        return tuple(self._read(model, item) for item in found)


def iso_utc(at: datetime) -> str:
    """A time as GHL writes them, in UTC with milliseconds: 2026-11-01T00:00:00.000Z."""
    if at.tzinfo is None:
        raise ValueError("a time needs a zone")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_ms(at: datetime) -> int:
    """A time as GHL's calendars take it in a query."""
    if at.tzinfo is None:
        raise ValueError("a time needs a zone")
    return (at - _EPOCH) // timedelta(milliseconds=1)


def given(**members: object) -> dict[str, object]:
    """The members that were given at all."""
    return {name: value for name, value in members.items() if value is not None}
