"""The shapes of Notion that are read, each built from JSON by one function. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dispatcher.clients.answer import Json, member
from dispatcher.clients.notion_values import Value, dashed, moment, plain, rich_text
from dispatcher.errors import Failed


@dataclass(frozen=True, slots=True)
class NotionProperty:
    """One property of a page. `id` as received, percent-encoded; it survives a renaming, `name` does not."""

    id: str
    name: str
    type: str
    value: Value


@dataclass(frozen=True, slots=True)
class NotionPage:
    """A page. Both times are rounded down to the minute by Notion: equal does not mean unchanged. `properties` by id."""

    id: str
    created_time: datetime
    last_edited_time: datetime
    parent_data_source_id: str | None
    in_trash: bool
    properties: Mapping[str, NotionProperty]
    url: str | None


@dataclass(frozen=True, slots=True)
class NotionColumn:
    """One property of a data source's schema."""

    id: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class NotionDataSource:
    """A data source: its schema by property id, and the database that holds it."""

    id: str
    title: str
    database_id: str | None
    in_trash: bool
    columns: Mapping[str, NotionColumn]


@dataclass(frozen=True, slots=True)
class QueryPage:
    """Rows of a query. `next_cursor` None = the end; with `incomplete`, of what Notion gives (10,000 rows), not of what there is."""

    pages: tuple[NotionPage, ...]
    next_cursor: str | None
    incomplete: bool


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a page; `truncated` when the page has more than was read."""

    text: str
    truncated: bool


def read_page(value: Json, *, destination: str) -> NotionPage:
    """A page object; Failed when it is none."""
    created, edited = moment(member(value, "created_time")), moment(member(value, "last_edited_time"))
    identifier = member(value, "id")
    if not isinstance(identifier, str) or created is None or edited is None:
        raise Failed(destination, "the answer is no page")
    parent = member(value, "parent", "data_source_id")
    url = member(value, "url")
    return NotionPage(
        id=dashed(identifier),
        created_time=created,
        last_edited_time=edited,
        parent_data_source_id=dashed(parent) if isinstance(parent, str) else None,
        in_trash=_in_trash(value),
        properties={found.id: found for found in _properties(member(value, "properties"))},
        url=url if isinstance(url, str) else None,
    )


def _in_trash(value: Json) -> bool:
    """Either word: `archived` is that of before 2026-03-11."""
    return member(value, "in_trash") is True or member(value, "archived") is True


def _properties(value: Json) -> list[NotionProperty]:
    named = value.items() if isinstance(value, dict) else ()
    read = ((name, item, member(item, "id"), plain(item)) for name, item in named)
    return [NotionProperty(found, name, content.type, content.value) for name, _, found, content in read if isinstance(found, str)]


def read_data_source(value: Json, *, destination: str) -> NotionDataSource:
    """A data source object; Failed when it is none."""
    identifier, properties = member(value, "id"), member(value, "properties")
    if not isinstance(identifier, str) or not isinstance(properties, dict):
        raise Failed(destination, "the answer is no data source")
    database = member(value, "parent", "database_id")
    columns = [_column(name, item) for name, item in properties.items()]
    return NotionDataSource(
        id=dashed(identifier),
        title=rich_text(member(value, "title")),
        database_id=dashed(database) if isinstance(database, str) else None,
        in_trash=_in_trash(value),
        columns={column.id: column for column in columns if column is not None},
    )


def _column(name: str, item: Json) -> NotionColumn | None:
    identifier, kind = member(item, "id"), member(item, "type")
    return NotionColumn(identifier, name, kind) if isinstance(identifier, str) and isinstance(kind, str) else None
