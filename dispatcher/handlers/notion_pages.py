"""Notion page events → crm.clients. The webhook carries no content: the page and its text are fetched and mapped by property id."""

from uuid import UUID

from dispatcher.clients.notion_models import NotionPage
from dispatcher.context import Context
from dispatcher.errors import Gone
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox.event import Claimed
from outbox.store import clients
from outbox.store.clients import Client

LANE = "notion:page:"


async def refresh_client(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Bring the client of this page to what Notion says now. A page that is not shown to us any more deletes nothing."""
    if event.lane is None or not event.lane.startswith(LANE):
        return Skipped("the event names no page")
    try:
        page = await ctx.notion.get_page(event.lane.removeprefix(LANE))
        if page.parent_data_source_id is None:
            return Skipped("the page is no row of a data source")
        wanted = ctx.settings.notion_clients_data_source
        if wanted is not None and page.parent_data_source_id != await ctx.notion.resolve_data_source(wanted):
            return Skipped("the page is a row of another data source")
        text = "" if page.in_trash else await _text_of(page, ctx)
    except Gone:
        return Skipped("Notion does not show the page: removed for good, or no longer shared; the client is kept")
    async with ctx.transaction() as tx:
        created = await clients.apply(tx.connection, client_of(page, text, ctx.settings.client_properties()))
        if created is None:
            return await tx.settle(Skipped("the client is as new as Notion's page"))
        return await tx.settle(Done({"client": "created" if created else "updated"}))


async def _text_of(page: NotionPage, ctx: Context) -> str:
    """The page's text; one that is too long to be read whole ends with an ellipsis on a line of its own."""
    read = await ctx.notion.get_page_text(page.id)
    return f"{read.text}\n…" if read.truncated else read.text


def client_of(page: NotionPage, text: str, columns: dict[str, str]) -> Client:
    """The client that a page is; `columns` maps crm.clients' columns to property ids, which survive a rename."""
    values = {column: found.value for column, wanted in columns.items() if (found := page.properties.get(wanted)) is not None}
    products = values.get("products_services")
    return Client(
        notion_page_id=UUID(page.id),
        edited_at=page.last_edited_time,
        data_source_id=UUID(page.parent_data_source_id) if page.parent_data_source_id else None,
        name=_text(values.get("name")),
        slug=_text(values.get("slug")),
        contact_email=_text(values.get("contact_email")),
        products_services=tuple(str(item) for item in products) if isinstance(products, list | tuple) else (),
        client_page_info=_text(text),
        properties={found.id: found.value for found in page.properties.values()},
        url=_text(page.url),
        in_trash=page.in_trash,
    )


def _text(value: object) -> str | None:
    """Text without NUL, which Postgres cannot keep; None for what is empty or no text."""
    return (value.replace("\x00", "") or None) if isinstance(value, str) else None
