"""What a page and an act are. To add one, see docs/console.md.

    GET   Page   read(visit) -> context   rendered with its template
    POST  Act    do(visit, form) -> Done     calls outbox.operators, or writes in a transaction with its audit row; then 303
    POST  Look   read(visit) -> context   what may be seen only once the look is written down: the answer is the page

A page reads and changes nothing; an act changes and shows nothing; a look changes nothing but the audit log.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from outbox.db import Pool
from outbox.errors import DatabaseUnavailable, PostroomError
from outbox.log import get_logger
from outbox.operators import Actor
from receiver.auth import Operator
from receiver.config import Role
from receiver.console.asked import Query
from receiver.console.attention import Attention
from receiver.console.origin import own_path
from receiver.desk import Desk
from receiver.errors import origin

log = get_logger(__name__)

T = TypeVar("T")
PANEL_LIMIT_S = 3.0
MOST_FORM_FIELDS = 12_000


class Refused(PostroomError):
    """A page or an act that is refused, with the words of the page that says so."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{status} {title}")
        self.status, self.title, self.detail = status, title, detail


def no_such(what: str) -> Refused:
    """404, in words."""
    return Refused(404, "There is no such thing", what)


@dataclass(frozen=True, slots=True)
class Panel(Generic[T]):
    """A part of a page that was read on its own: a value, or the words for what went wrong."""

    value: T | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks for what: all that a page needs. `now` is the database's clock; `base_url` where the world finds us, as far as is known."""

    desk: Desk
    attention: Attention
    who: Operator
    session: bytes
    path: str
    parts: Mapping[str, str]
    query: Query
    zone: ZoneInfo
    theme: str | None
    dense: bool
    now: datetime
    base_url: str
    notice: Mapping[str, Any] | None = None

    @property
    def pool(self) -> Pool:
        """The console's own connections: two, so that it cannot starve the intake."""
        return self.desk.console

    @property
    def actor(self) -> Actor:
        """Who asks, as outbox.operators and the audit want it."""
        return Actor(self.who.name, "console")

    def address(self, door: str) -> str:
        """What a sender of webhooks is given."""
        return f"{self.base_url}/api/webhooks/{door}"

    @property
    def may_act(self) -> bool:
        """Whether who asks is an operator."""
        return self.who.role is Role.OPERATOR

    async def panel(self, name: str, reading: Awaitable[T]) -> Panel[T]:
        """Reads a part within 3 s. A part that cannot be read says so, and the rest of the page stands."""
        try:
            async with asyncio.timeout(PANEL_LIMIT_S):
                return Panel(await reading)
        except TimeoutError:
            return Panel(None, f"Could not read {name} (stopped after {PANEL_LIMIT_S:.0f} s). Try a shorter window.")
        except DatabaseUnavailable:
            return Panel(None, f"Could not read {name}: the database did not answer.")
        except Refused:
            raise
        except Exception as problem:  # noqa: BLE001 -- one part must not take the page with it
            log.error("a part of a page could not be read", part=name, path=self.path, problem=origin(problem))
            return Panel(None, f"Could not read {name}; the receiver's log says why.")

    def part_id(self, name: str = "id") -> int:
        """A whole number of the path. Raises Refused (404)."""
        text = self.parts[name]
        if not (text.isascii() and text.isdigit() and len(text) <= 16 and 1 <= int(text) <= 2**53 - 1):
            raise no_such("Ids are whole numbers; this is none.")
        return int(text)


class Form:
    """What was sent with an act."""

    def __init__(self, body: bytes) -> None:
        try:
            self.pairs = parse_qsl(body.decode(), keep_blank_values=False, max_num_fields=MOST_FORM_FIELDS)
        except ValueError:
            raise Refused(400, "The form cannot be read", "Nothing was changed.") from None

    def text(self, name: str, *, most: int = 500) -> str | None:
        """A value, or None. Raises Refused (422) when it is too long."""
        value = next((value.strip() for key, value in self.pairs if key == name), "")
        if len(value) > most or "\x00" in value:
            raise Refused(422, "This cannot be used", f"{name.capitalize()}: at most {most} characters. Nothing was changed.")
        return value or None

    def needed(self, name: str, *, most: int = 500) -> str:
        """A value that has to be there. Raises Refused (422)."""
        value = self.text(name, most=most)
        if value is None:
            raise Refused(422, "Something is missing", f"{name.capitalize()} is needed. Nothing was changed.")
        return value

    def whole(self, name: str, *, low: int, high: int) -> int | None:
        """A whole number, or None. Raises Refused (422)."""
        value = self.text(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 16 and low <= int(value) <= high):
            raise Refused(422, "This cannot be used", f"{name.capitalize()}: a whole number from {low} to {high}. Nothing was changed.")
        return int(value)

    def many(self, name: str) -> list[str]:
        """Every value of a name, such as of ticked rows."""
        return [value for key, value in self.pairs if key == name]

    def back(self, otherwise: str) -> str:
        """The page from which the form came, with its filters."""
        return own_path(self.text("back", most=2000)) or otherwise


@dataclass(frozen=True, slots=True)
class Undo:
    """The act that takes another back, truly: as if that had not been. A form of the notice, for a GET changes nothing."""

    path: str
    fields: Mapping[str, object] = field(default_factory=dict)
    said: str = "Undo"


@dataclass(frozen=True, slots=True)
class Done:
    """What an act has to say, on which page. `link` is (words, path): to see it. `good` False: nothing was changed."""

    said: str
    to: str
    link: tuple[str, str] | None = None
    undo: Undo | None = None
    good: bool = True

    def notice(self) -> dict[str, object]:
        """As it is kept until dismissed."""
        return {"said": self.said, "link": self.link, "undo": self.undo and asdict(self.undo), "good": self.good}


@dataclass(frozen=True, slots=True)
class Page:
    """A page. `tab` is the entry of the navigation that it belongs to."""

    path: str
    template: str
    read: Callable[[Visit], Awaitable[Mapping[str, Any]]]
    tab: str | None = None
    role: Role = Role.VIEWER


@dataclass(frozen=True, slots=True)
class Tab:
    """An entry of the navigation; `key` leads there behind `g`.

    `badges`: the counts of receiver.console.attention that stand beside it while they are not zero, as a number (None) or as a light.
    """

    name: str
    said: str
    path: str
    key: str
    badges: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Act:
    """Something to do. Its form acts once; NotNow becomes a notice that nothing was changed."""

    path: str
    do: Callable[[Visit, Form], Awaitable[Done]]
    role: Role = Role.OPERATOR


@dataclass(frozen=True, slots=True)
class Look:
    """A page that its own form opens, because `read` writes the look into the audit. A GET of its path leads to the path above it."""

    path: str
    template: str
    read: Callable[[Visit], Awaitable[Mapping[str, Any]]]
    tab: str | None = None
    role: Role = Role.OPERATOR


@dataclass(frozen=True, slots=True)
class Download:
    """A file made of a page's rows, such as CSV."""

    path: str
    read: Callable[[Visit], Awaitable[tuple[str, bytes]]]
    content_type: str = "text/csv; charset=utf-8"
    role: Role = Role.VIEWER


@dataclass(frozen=True, slots=True)
class Pages:
    """What a module of receiver/console/pages offers."""

    pages: tuple[Page, ...] = ()
    acts: tuple[Act, ...] = ()
    downloads: tuple[Download, ...] = field(default=())
    looks: tuple[Look, ...] = field(default=())
