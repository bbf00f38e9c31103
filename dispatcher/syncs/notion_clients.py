"""notion-clients: the rows of one Notion data source → crm.clients, for what webhooks did not bring.

incremental   edited since the watermark, with an overlap, for Notion's times are rounded down to the minute
full          all of them with their texts, then those that are here and were not met, each asked for by its id: what lies in the trash is
              marked, what is not shown to us any more is kept

Rows come least recently edited first. What is edited meanwhile moves to the end and is met there, so the walk goes on by the edit time of
the last row, which also lies beyond Notion's end of 10,000 rows a query; a cursor serves only inside one minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

from dispatcher.clients.notion import NotionClient
from dispatcher.clients.notion_models import NotionPage, QueryPage
from dispatcher.context import Services
from dispatcher.errors import Gone, Refused
from dispatcher.handlers.notion_pages import client_of, text_of
from dispatcher.syncs.base import Default, RunType, Sync, Unusable
from dispatcher.syncs.run import Page, Run
from outbox.cadence import Cron
from outbox.store import clients
from outbox.store.clients import Client, Known
from outbox.store.runs import Category, What
from outbox.store.schedules import CatchUp

PAGE: Final = 50  # each row of it may be a call for its text
SWEEP_PAGE: Final = 20
MINUTE: Final = timedelta(minutes=1)
OVERLAP: Final = timedelta(minutes=2)
SETTLED: Final = timedelta(minutes=15)  # the minute is over, and so is the reading of its page, however slowly it went
MOST_BEGUN_AGAIN: Final = 5
NEW_YORK: Final = "America/New_York"
NOT_SHOWN: Final = "Notion does not show it: removed for good, or no longer shared; the client is kept"


@dataclass(frozen=True, slots=True)
class Place:
    """How far the walk is. `since` is the minute it is in, None: the beginning; `cursor`: rows of that minute have been read already.

    `met`: rows of that minute which the page before brought. `again`: how often the cursor was not taken. `has_gap`: more rows share a
    minute than Notion gives.
    """

    since: str | None = None
    cursor: str | None = None
    met: Sequence[str] = ()
    done: int = 0
    again: int = 0
    has_gap: bool = False


async def pull(run: Run) -> None:
    """See the module."""
    notion = run.ctx.notion
    source = await _source(run, notion)
    full = run.type == RunType.FULL
    if (run.checkpoint or {}).get("phase") == "sweep":
        has_gap = bool(run.checkpoint["has_gap"])
    else:
        has_gap = await _walk(run, notion, source, since=None if full or run.since is None else run.since - OVERLAP)
    if full:
        await _sweep(run, notion, source, has_gap=has_gap)
    if has_gap:
        run.watermark = None


async def _source(run: Run, notion: NotionClient) -> str:
    """The data source's id. Raises Unusable when it is not shared, in the trash, or lost a property that a column is filled from."""
    settings = run.ctx.settings
    assert settings.notion_clients_data_source is not None  # without it the sync is off
    try:
        source = await notion.get_data_source(await notion.resolve_data_source(settings.notion_clients_data_source))
    except Gone:
        raise Unusable(
            "Notion does not show what NOTION_CLIENTS_DATA_SOURCE names: share it with the connection, or correct the setting"
        ) from None
    except Refused as problem:
        raise Unusable(f"NOTION_CLIENTS_DATA_SOURCE cannot be used: {problem}") from None
    if source.in_trash:
        raise Unusable("the data source that NOTION_CLIENTS_DATA_SOURCE names lies in Notion's trash")
    there = {unquote(identifier) for identifier in source.columns}
    lost = [f"{column}={wanted}" for column, wanted in settings.client_properties().items() if unquote(wanted) not in there]
    if lost:
        raise Unusable(f"the data source has no property of that id: {', '.join(lost)}; correct NOTION_CLIENT_PROPERTIES")
    return source.id


async def _walk(run: Run, notion: NotionClient, source: str, *, since: datetime | None) -> bool:
    """Page after page. Returns whether there is a gap."""
    place = Place(**run.checkpoint["at"]) if run.checkpoint else Place(since=None if since is None else since.isoformat())
    run.phase("clients")
    is_over = False
    while not is_over:
        try:
            found = await notion.query_data_source(source, edited_since=_moment(place.since), cursor=place.cursor, page_size=PAGE)
        except Refused:
            if place.cursor is None or place.again == MOST_BEGUN_AGAIN:
                raise
            place = replace(place, cursor=None, again=place.again + 1)  # the row that it names moved on: this minute once more
            continue
        fresh = [page for page in found.pages if not (page.id in place.met and page.last_edited_time == _moment(place.since))]
        read = await _read(run, notion, fresh)
        is_over = found.next_cursor is None and not (found.incomplete and found.pages)
        place = replace(_onward(place, found), done=place.done + len(fresh))
        run.progress(place.done)
        async with run.page({"phase": "clients", "at": asdict(place)}) as page:
            await _apply(page, read)
            if run.type == RunType.FULL:
                page.seen([row.id for row in found.pages])
    if place.has_gap:
        async with run.page({"phase": "clients", "at": asdict(place)}) as page:
            page.error(Category.API, None, "more rows were edited within one minute than Notion gives: the rest of that minute is not here")
    return place.has_gap


def _onward(place: Place, found: QueryPage) -> Place:
    """Where the walk goes on behind this page."""
    if not found.pages:
        return replace(place, cursor=found.next_cursor, has_gap=place.has_gap or found.incomplete)
    since, last = _moment(place.since), found.pages[-1].last_edited_time
    if since is None or last > since:
        met = [page.id for page in found.pages if page.last_edited_time == last]
        return replace(place, since=last.isoformat(), cursor=None, met=met, again=0)
    if found.incomplete:
        return replace(place, since=(last + MINUTE).isoformat(), cursor=None, met=(), again=0, has_gap=True)
    return replace(place, cursor=found.next_cursor)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


async def _read(run: Run, notion: NotionClient, pages: Sequence[NotionPage]) -> list[Client | tuple[str, str]]:
    """The clients that these pages are; of one that could not be read, its id and why."""
    known = await clients.known(run.ctx.services.pool, [UUID(page.id) for page in pages])
    return [await _one(run, notion, page, known.get(UUID(page.id))) for page in pages]


async def _one(run: Run, notion: NotionClient, page: NotionPage, known: Known | None) -> Client | tuple[str, str]:
    """A text that was read after the minute of its last edit had ended is not read again, but by a full run."""
    is_read = known is not None and known.edited_at == page.last_edited_time and known.synced_at > page.last_edited_time + SETTLED
    try:
        text = known.text if known is not None and is_read and run.type != RunType.FULL else await text_of(page, notion, known)
    except Gone:
        return page.id, NOT_SHOWN
    return client_of(page, text, run.ctx.settings.client_properties())


async def _apply(page: Page, read: list[Client | tuple[str, str]]) -> None:
    for one in read:
        if isinstance(one, tuple):
            page.did(What.SKIPPED, *one)
            continue
        match await clients.apply(page.connection, one):
            case None:
                page.count(unchanged=1)
            case created:
                page.did(What.CREATED if created else What.UPDATED, str(one.notion_page_id))


async def _sweep(run: Run, notion: NotionClient, source: str, *, has_gap: bool) -> None:
    """Those of this data source that are here and were not met. A query does not tell trash from what is no longer shared; a page does."""
    at: Mapping[str, Any] = run.checkpoint if (run.checkpoint or {}).get("phase") == "sweep" else {"after": None, "done": 0}
    after = None if at["after"] is None else UUID(at["after"])
    run.phase("not met")
    while missing := await clients.unseen(
        run.ctx.services.pool, run.id, data_source_id=UUID(source), before=run.started_at, above=after, limit=SWEEP_PAGE
    ):
        read = [await _missed(run, notion, page_id, source) for page_id in missing]
        after, at = missing[-1], {"phase": "sweep", "after": str(missing[-1]), "done": at["done"] + len(missing), "has_gap": has_gap}
        run.progress(at["done"])
        async with run.page(at) as page:
            await _apply(page, read)


async def _missed(run: Run, notion: NotionClient, page_id: UUID, source: str) -> Client | tuple[str, str]:
    try:
        page = await notion.get_page(str(page_id))
    except Gone:
        return str(page_id), NOT_SHOWN
    if page.parent_data_source_id != source:
        return str(page_id), "it is a row of another data source by now; the client is kept"
    known = await clients.known(run.ctx.services.pool, [page_id])
    return await _one(run, notion, page, known.get(page_id))


def _off(services: Services) -> str | None:
    return services.lacks("notion") or (None if services.settings.notion_clients_data_source else "NOTION_CLIENTS_DATA_SOURCE is missing")


NOTION_CLIENTS: Final = Sync(
    name="notion-clients",
    run=pull,
    types=(RunType.INCREMENTAL, RunType.FULL),
    destination="notion",
    schedules={
        RunType.INCREMENTAL: Default(Cron("0 9-18/2 * * 1-5", NEW_YORK)),
        RunType.FULL: Default(Cron("0 3 * * 0", NEW_YORK), CatchUp.SKIP),
    },
    off=_off,
    overlap=OVERLAP,
)
