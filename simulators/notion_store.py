"""What the simulated Notion knows: one database with its data source, pages, blocks, and what is not shared. In memory.

Owns the documents and their times, rounded down to the minute as Notion's are. Who may ask is decided elsewhere.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simulators.notion_blocks import ShortBlock, flattened
from simulators.notion_values import blank_value, built_value, rich_text
from simulators.samples import DEMO_BOT_ID, DEMO_DATA_SOURCE_ID, DEMO_DATABASE_ID, DEMO_PERSON_ID
from simulators.shapes import Clock, JsonObject, floored_to_minute, iso_ms, uuid_id

# name -> (property id as Notion writes it, type): the client list of a small agency.
CLIENT_SCHEMA: Mapping[str, tuple[str, str]] = {
    "Name": ("title", "title"),
    "Slug": ("bDf%5B", "rich_text"),
    "Contact email": ("XGe%40", "email"),
    "Products and services": ("ms%5E1", "multi_select"),
    "Phone": ("DbAu", "phone_number"),
    "Site": ("a%3Db1", "url"),
    "Visits": ("n%7C1", "number"),
    "VIP": ("ck%3A1", "checkbox"),
    "Stage": ("st%60a", "status"),
    "Next visit": ("dt%401", "date"),
}


@dataclass(frozen=True, slots=True)
class PageChange:
    """What a write changed: the events that Notion would raise follow from it."""

    page: JsonObject
    is_new: bool = False
    properties: tuple[str, ...] = ()  # ids
    has_new_content: bool = False
    trash: bool | None = None  # moved into it, out of it, or not at all


@dataclass(slots=True)
class NotionStore:
    """Documents by dashed id, as the API of 2025-09-03 shows them. `hidden`: pages not shared with the integration."""

    clock: Clock
    rng: random.Random
    pages: dict[str, JsonObject] = field(default_factory=dict)
    blocks: dict[str, JsonObject] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    data_sources: dict[str, JsonObject] = field(default_factory=dict)
    databases: dict[str, JsonObject] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Every world begins with the demo client list, empty."""
        now = self.now()
        times = {"created_time": now, "last_edited_time": now}
        schema = {name: {"id": property_id, "name": name, "type": kind, kind: {}} for name, (property_id, kind) in CLIENT_SCHEMA.items()}
        self.data_sources[DEMO_DATA_SOURCE_ID] = {
            "object": "data_source",
            "id": DEMO_DATA_SOURCE_ID,
            "title": rich_text("Clients"),
            "parent": {"type": "database_id", "database_id": DEMO_DATABASE_ID},
            "database_parent": {"type": "workspace", "workspace": True},
            "in_trash": False,
            **times,
            "properties": schema,
        }
        self.databases[DEMO_DATABASE_ID] = {
            "object": "database",
            "id": DEMO_DATABASE_ID,
            "title": rich_text("Clients"),
            "parent": {"type": "workspace", "workspace": True},
            "in_trash": False,
            "is_inline": False,
            "is_locked": False,
            **times,
            "data_sources": [{"id": DEMO_DATA_SOURCE_ID, "name": "Clients"}],
        }

    def now(self) -> str:
        return iso_ms(floored_to_minute(self.clock()))

    def new_id(self) -> str:
        return uuid_id(self.rng)

    def visible_page(self, page_id: str) -> JsonObject | None:
        return None if page_id in self.hidden else self.pages.get(page_id)

    def rows(self, data_source_id: str) -> list[JsonObject]:
        """Visible pages of a data source that are not in the trash."""
        return [
            page
            for page in self.pages.values()
            if page["parent"].get("data_source_id") == data_source_id and not page["in_trash"] and page["id"] not in self.hidden
        ]

    def schema_of(self, page: JsonObject) -> Mapping[str, JsonObject]:
        schema: Mapping[str, JsonObject] = self.data_sources[page["parent"]["data_source_id"]]["properties"]
        return schema

    def children_of(self, parent_id: str) -> list[JsonObject]:
        return [self.blocks[block_id] for block_id in self.children.get(parent_id, [])]

    def put_page(
        self, page_id: str | None, *, values: Mapping[str, object], content: Sequence[ShortBlock] | None, in_trash: bool | None
    ) -> PageChange:
        """Create or change a row of the client list from plain values by property name. KeyError for an unknown property."""
        page_id = page_id or self.new_id()
        is_new = page_id not in self.pages
        page = self._blank_page(page_id) if is_new else self.pages[page_id]
        schema = self.schema_of(page)
        written = {name: built_value(schema[name], value) for name, value in values.items()}
        parent = {"type": "page_id", "page_id": page_id}
        blocks = list(flattened(content or [], parent=parent, new_id=self.new_id, stamp=self._stamp()))
        self.pages[page_id] = page
        if content is not None:
            self._put_blocks(page_id, blocks)
        change = self.write_page(page, written, in_trash=in_trash, by=DEMO_PERSON_ID)
        return PageChange(page, is_new=is_new, properties=change.properties, has_new_content=content is not None, trash=change.trash)

    def write_page(
        self, page: JsonObject, written: Mapping[str, JsonObject], *, in_trash: bool | None, by: str = DEMO_BOT_ID
    ) -> PageChange:
        """Set property values by name, move into or out of the trash, and stamp the page with the minute."""
        changed = tuple(value["id"] for name, value in written.items() if page["properties"][name] != value)
        page["properties"] |= written
        trash = in_trash if in_trash is not None and in_trash != page["in_trash"] else None
        if trash is not None:
            page["in_trash"] = page["archived"] = trash
        page["last_edited_time"] = self.now()
        page["last_edited_by"] = {"object": "user", "id": by}
        return PageChange(page, properties=changed, trash=trash)

    def remove_page(self, page_id: str) -> None:
        """Gone for good, not merely in the trash."""
        self.pages.pop(page_id, None)
        self._remove_children(page_id)

    def _blank_page(self, page_id: str) -> JsonObject:
        schema = self.data_sources[DEMO_DATA_SOURCE_ID]["properties"]
        return {
            "object": "page",
            "id": page_id,
            **self._stamp(),
            "cover": None,
            "icon": None,
            "parent": {"type": "data_source_id", "data_source_id": DEMO_DATA_SOURCE_ID, "database_id": DEMO_DATABASE_ID},
            "archived": False,
            "in_trash": False,
            "is_archived": False,
            "is_locked": False,
            "properties": {name: blank_value(entry) for name, entry in schema.items()},
            "url": f"https://www.notion.so/{page_id.replace('-', '')}",
            "public_url": None,
        }

    def _stamp(self) -> JsonObject:
        user, now = {"object": "user", "id": DEMO_PERSON_ID}, self.now()
        return {"created_time": now, "last_edited_time": now, "created_by": user, "last_edited_by": user}

    def _put_blocks(self, page_id: str, blocks: Sequence[JsonObject]) -> None:
        self._remove_children(page_id)
        for block in blocks:
            self.blocks[block["id"]] = block
            parent: str = block["parent"][block["parent"]["type"]]
            self.children.setdefault(parent, []).append(block["id"])

    def _remove_children(self, parent_id: str) -> None:
        for block_id in self.children.pop(parent_id, []):
            self._remove_children(block_id)
            del self.blocks[block_id]
