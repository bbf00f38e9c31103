"""A page's state as its URL says it: short names, defaults left out, and nothing dropped in silence.

What is not understood becomes a chip "ignored: stat=ded" at the head of the page.
"""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

E = TypeVar("E", bound=StrEnum)

MOST_PAIRS = 60
MOST_CHARS = 300
LARGEST_ID = 2**53 - 1


class Query:
    """The parameters of one request. Each reader takes its name; what nobody took is ignored, and said to be."""

    def __init__(self, raw: str, zone: tzinfo) -> None:
        pairs = parse_qsl(raw[:20_000], keep_blank_values=False, max_num_fields=1000)[:MOST_PAIRS]
        self._pairs = [(name, value.strip()) for name, value in pairs if value.strip()]
        self._zone = zone
        self._taken: set[str] = set()
        self._broken: list[str] = []
        self._moments: dict[str, datetime] = {}

    def text(self, name: str) -> str | None:
        """One value as it stands; the last when repeated."""
        values = self.many(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        """Every value of a name."""
        self._taken.add(name)
        found: list[str] = []
        for key, value in self._pairs:
            if key == name:
                if len(value) <= MOST_CHARS and "\x00" not in value:
                    found.append(value)
                else:
                    self._ignore(name, value)
        return found

    def whole(self, name: str, *, low: int = 1, high: int = LARGEST_ID) -> int | None:
        """A whole number between two bounds."""
        value = self.text(name)
        if value is None:
            return None
        if value.isascii() and value.isdigit() and len(value) <= 16 and low <= int(value) <= high:
            return int(value)
        self._ignore(name, value)
        return None

    def choice(self, name: str, words: type[E]) -> E | None:
        """One of a closed set."""
        value = self.text(name)
        if value is None:
            return None
        if value in set(words):
            return words(value)
        self._ignore(name, value)
        return None

    def choices(self, name: str, words: type[E]) -> list[E]:
        """Several of a closed set: a name that repeats, or words with commas, as a form's one field sends them."""
        found: list[E] = []
        for value in self.many(name):
            said = value.split(",")
            if set(said) <= set(words):
                found += [words(one) for one in said]
            else:
                self._ignore(name, value)
        return found

    def moment(self, name: str) -> datetime | None:
        """A time in ISO 8601; without a zone, as a form's field sends it, the viewer's."""
        value = self.text(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value.replace(" ", "+"))  # a plus sign in a URL that somebody typed is a space
        except ValueError:
            self._ignore(name, value)
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=self._zone)
        self._moments[name] = moment
        return moment

    @property
    def ignored(self) -> list[str]:
        """What was not understood, as `name=value`."""
        strange = [f"{name}={value}" for name, value in self._pairs if name not in self._taken]
        return [text[:80] for text in dict.fromkeys([*self._broken, *strange])]

    def url(self, path: str, without: Sequence[str] = (), **other: object) -> str:
        """The path with the parameters that were understood, some replaced or (None) left out."""
        dropped = {*without, *other}
        kept = [(name, value) for name, value in self._pairs if name in self._taken and name not in dropped]
        kept = [(name, value) for name, value in kept if f"{name}={value}" not in self._broken]
        kept += [(name, str(value)) for name, value in other.items() if value is not None]
        return f"{path}?{urlencode(kept)}" if kept else path

    def pinned(self, path: str, **other: object) -> str:
        """As url(), with each time in its zone, so that it finds the same for who follows it elsewhere."""
        return self.url(path, (), **{**{name: moment.isoformat() for name, moment in self._moments.items()}, **other})

    def _ignore(self, name: str, value: str) -> None:
        self._broken.append(f"{name}={value}")
