"""One row of the table of operations: what a route takes, who may use it, what it answers. Everything about a route is said here, once."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from outbox.db import Connection, Pool
from outbox.operators import Actor
from receiver.auth import Operator
from receiver.config import Role
from receiver.desk import Desk
from receiver.errors import not_found

MAX_ID = 2**53 - 1
_EARLIEST_YEAR, _LATEST_YEAR = 1970, 2200


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a NUL character cannot be kept")
    return text


def _in_range(moment: datetime) -> datetime:
    if not _EARLIEST_YEAR <= moment.year < _LATEST_YEAR:
        raise ValueError(f"a time between {_EARLIEST_YEAR} and {_LATEST_YEAR} is meant")
    return moment.astimezone(UTC)


def _flag(value: object) -> object:
    """`?blocked` alone means yes."""
    return True if value == "" else value


Text = Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(_no_nul)]
LongText = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_no_nul)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400), AfterValidator(_no_nul)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
EventId = Annotated[int, Field(ge=1, le=MAX_ID)]
Limit = Annotated[int, Field(ge=1, le=200)]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]  # as outbox.timeline.iso() writes it
Flag = Annotated[bool, BeforeValidator(_flag)]


class Asked(BaseModel):
    """Query parameters: texts that are read as what they mean; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(BaseModel):
    """A body: JSON, taken at its word; unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Said(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class NoQuery(Asked):
    """The route takes no parameters."""


class NoBody(Told):
    """The route takes no body, or an empty object."""


Q = TypeVar("Q", bound=Asked)
B = TypeVar("B", bound=Told)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler returns."""

    said: BaseModel | bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """As it is sent."""
        return self.said if isinstance(self.said, bytes) else self.said.model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request, checked. `who` is None where no token is asked for."""

    desk: Desk
    who: Operator | None
    path: Mapping[str, str]
    query: Q
    body: B
    idempotency_key: str | None = None

    @property
    def by(self) -> str:
        """The name under which an act is kept."""
        return self.who.name if self.who is not None else "nobody"

    def event_id(self) -> int:
        """The id in the path. Raises Problem (404): what is no id names nothing."""
        text = self.path["id"]
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and 1 <= int(text) <= MAX_ID):
            raise not_found("Ids are whole numbers; this is none.")
        return int(text)

    @property
    def actor(self) -> Actor:
        """Who acts, as outbox.operators takes it."""
        return Actor(self.by, "api")

    async def note(
        self, connection: Connection | Pool, what: str, *, target: object = None, reason: str | None = None, **result: object
    ) -> None:
        """Writes the act into the audit, in the caller's transaction."""
        await self.actor.note(connection, what, target=target, reason=reason, **result)


@dataclass(frozen=True, slots=True)
class Operation(Generic[Q, B]):
    """A method on a path. `role` None: open to everybody. `handler` None: served past the table, listed for the documentation."""

    method: str
    path: str
    summary: str
    role: Role | None
    handler: Callable[[Call[Q, B]], Awaitable[Answer]] | None
    query: type[Q]
    body: type[B]
    says: type[BaseModel] | None = None
    status: int = 200
    also: Mapping[int, str] = field(default_factory=dict)  # further statuses, in words
    takes_key: bool = False  # the header Idempotency-Key
    by_cron: bool = False  # an external scheduler's, by CRON_SECRET
    webhook: str | None = None  # how a webhook is signed; None: the route is none


Table = tuple[Operation[Any, Any], ...]
