"""What commands print: one JSON document on standard output, or tables for people. Progress and errors go to standard error.

Text from events is hostile: nothing of it is taken as markup, and control characters never reach a terminal.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from outbox.verdict import in_words

Say: TypeAlias = Callable[[str], None]
PIPED_COLUMNS = 160

STYLES = {"done": "green", "skipped": "yellow", "dead": "bold red", "pending": "cyan", "lost": "bold red"}


def out() -> Console:
    """Standard output. In a pipe lines are long rather than cut to a screen that is not there."""
    return Console(highlight=False, markup=False, soft_wrap=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS)


def err() -> Console:
    """Standard error, for progress and for what is not the answer."""
    return Console(stderr=True, highlight=False, markup=False, width=None if sys.stderr.isatty() else PIPED_COLUMNS)


def emit(document: Any, *, as_json: bool, human: Callable[[Console], None]) -> None:
    """The answer of a command, in the one form or the other."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=_json) + "\n")
        sys.stdout.flush()
    else:
        human(out())


def _json(value: object) -> object:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "replace")
    return str(value)


def plain(value: object) -> str:
    """A value as text for a terminal: unprintable characters replaced, times short and in UTC, None as a dash."""
    match value:
        case None:
            return "–"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        case bool():
            return "yes" if value else "no"
    return "".join(c if c.isprintable() else "�" for c in str(value))


def brief(note: str | None, *, chars: int = 70) -> str:
    """A note of a timeline in a table, cut when long."""
    text = plain(in_words(note)) if note else ""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, narrow: frozenset[str] = frozenset()) -> Table:
    """A table. Columns in `narrow` are never broken (ids); words that are states get their colour."""
    made = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(column, no_wrap=column in narrow, overflow="fold")
    for row in rows:
        made.add_row(*(Text(text, style=STYLES.get(text, "")) for text in map(plain, row)))
    return made


def facts(pairs: Mapping[str, object]) -> Table:
    """Names and values, one a line."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs.items():
        made.add_row(name, Text(plain(value)))
    return made


def silent(_: object) -> None:
    """With --json nothing but the document is said."""


def print_line(text: str) -> None:
    """Without any layout, for use in a shell."""
    sys.stdout.write(text + "\n")


def count(number: int, word: str, words: str | None = None) -> str:
    """`1 event`, `2 events`."""
    return f"{number} {word if number == 1 else words or word + 's'}"


def progress(*, quiet: bool, more: Sequence[ProgressColumn] = ()) -> Progress:
    """A bar on standard error, only on a terminal; `more` of what it tells stands at its end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *more)
    console = err()
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
