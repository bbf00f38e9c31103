"""Notion page events → crm.clients. The webhook carries no content: the page and its text are fetched and mapped by property id."""

from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from dispatcher.clients.notion import NotionClient
from dispatcher.clients.notion_models import NotionPage
from dispatcher.clients.notion_values import NotionFile, Value
from dispatcher.context import Context
from dispatcher.errors import Gone
from dispatcher.outcome import Dead, Done, Outcome, Settled, Skipped
from outbox.event import Claimed
from outbox.store import clients
from outbox.store.clients import Client, Known

LANE = "notion:page:"
HIDDEN = Skipped("Notion does not show the page: removed for good, or no longer shared; the client is kept")


async def refresh_client(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Bring the client of this page to what Notion says now. A page that is not shown to us any more deletes nothing."""
    if event.lane is None or not event.lane.startswith(LANE):
        return Skipped("the event names no page")
    try:
        page = await ctx.notion.get_page(event.lane.removeprefix(LANE))
    except Gone:
        return HIDDEN
    if page.parent_data_source_id is None:
        return Skipped("the page is no row of a data source")
    wanted = ctx.settings.notion_clients_data_source
    try:
        if wanted is not None and page.parent_data_source_id != await ctx.notion.resolve_data_source(wanted):
            return Skipped("the page is a row of another data source")
    except Gone:
        return Dead("Notion does not show what NOTION_CLIENTS_DATA_SOURCE names: share it with the connection, or correct the setting")
    known = await clients.known(ctx.services.pool, [UUID(page.id)])
    try:
        text = await text_of(page, ctx.notion, known.get(UUID(page.id)))
    except Gone:
        return HIDDEN
    async with ctx.transaction() as tx:
        created = await clients.apply(tx.connection, client_of(page, text, ctx.settings.client_properties()))
        if created is None:
            return await tx.settle(Skipped("the client is as new as Notion's page"))
        return await tx.settle(Done({"client": "created" if created else "updated"}))


async def text_of(page: NotionPage, notion: NotionClient, known: Known | None) -> str:
    """The page's text; one that is too long to be read whole ends with an ellipsis on a line of its own. Gone: it is not shown to us.

    What lies in the trash is not read: it may come back, so what is `known` of its text stays.
    """
    if page.in_trash:
        return "" if known is None else known.text
    read = await notion.get_page_text(page.id)
    return f"{read.text}\n…" if read.truncated else read.text


def client_of(page: NotionPage, text: str, columns: dict[str, str]) -> Client:
    """The client that a page is; `columns` maps crm.clients' columns to property ids, which survive a rename."""
    by_id = {unquote(found.id): found.value for found in page.properties.values()}  # the API writes ids percent-encoded, people may not
    values = {column: by_id.get(unquote(wanted)) for column, wanted in columns.items()}
    return Client(
        notion_page_id=UUID(page.id),
        edited_at=page.last_edited_time,
        data_source_id=UUID(page.parent_data_source_id) if page.parent_data_source_id else None,
        name=_text(values.get("name")),
        slug=_text(values.get("slug")),
        contact_email=_text(values.get("contact_email")),
        products_services=_texts(values.get("products_services")),
        client_page_info=_text(text),
        properties={found.id: _json(found.value) for found in page.properties.values()},
        url=_text(page.url),
        in_trash=page.in_trash,
    )


def _text(value: Value) -> str | None:
    """Text, or a number as text, without NUL, which Postgres cannot keep; None for what is empty or neither."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return (value.replace("\x00", "") or None) if isinstance(value, str) else None


def _texts(value: Value) -> tuple[str, ...]:
    """The names of a list, or of a single choice."""
    if isinstance(value, str):
        value = (value,)
    return tuple(text for item in value if (text := _text(item)) is not None) if isinstance(value, tuple) else ()


def _json(value: Value) -> Any:
    """A value as JSON keeps it. Of a file only the name: its signed address is another one each time, and dead within the hour."""
    match value:
        case NotionFile():
            return value.name
        case tuple():
            return [_json(item) for item in value]
        case date():
            return value.isoformat()
        case _ if is_dataclass(value):
            return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value
