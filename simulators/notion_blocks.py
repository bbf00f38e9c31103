"""The content of a page: a tree of blocks, built from short forms and rendered as Markdown.

Pure. Renders the block kinds a text page has; any other kind is reported as unknown, as Notion does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from simulators.notion_values import plain_text, rich_text
from simulators.shapes import JsonObject

# A text is a paragraph; a dict is {"type", "text"?, "children"?, …} or Notion's own form {"type", "<type>": {...}}.
ShortBlock: TypeAlias = str | JsonObject

_PREFIXES = {
    "paragraph": "",
    "heading_1": "# ",
    "heading_2": "## ",
    "heading_3": "### ",
    "bulleted_list_item": "- ",
    "numbered_list_item": "1. ",
    "quote": "> ",
    "toggle": "- ",
    "callout": "> ",
}


def flattened(content: Sequence[ShortBlock], *, parent: JsonObject, new_id: Callable[[], str], stamp: JsonObject) -> Iterator[JsonObject]:
    """Blocks of a tree, each before its children. `stamp` holds the times and users that all share."""
    for short in content:
        short = {"type": "paragraph", "text": short} if isinstance(short, str) else short
        kind, children = short["type"], short.get("children", [])
        inner = short.get(kind, {name: value for name, value in short.items() if name not in ("type", "text", "children")})
        if "text" in short:
            inner = {"rich_text": rich_text(str(short["text"])), "color": "default", **inner}
        block: JsonObject = {
            "object": "block",
            "id": new_id(),
            "parent": parent,
            **stamp,
            "has_children": bool(children),
            "archived": False,
            "in_trash": False,
            "type": kind,
            kind: inner,
        }
        yield block
        yield from flattened(children, parent={"type": "block_id", "block_id": block["id"]}, new_id=new_id, stamp=stamp)


def markdown(blocks: Sequence[JsonObject], children_of: Callable[[str], Sequence[JsonObject]]) -> tuple[str, list[str]]:
    """The text of a tree, and the ids of the blocks that it could not render."""
    unknown: list[str] = []
    lines = list(_lines(blocks, children_of, unknown, indent=""))
    return "\n".join(lines), unknown


def _lines(
    blocks: Sequence[JsonObject], children_of: Callable[[str], Sequence[JsonObject]], unknown: list[str], *, indent: str
) -> Iterator[str]:
    for block in blocks:
        kind, inner = block["type"], block[block["type"]]
        rendered = _rendered(kind, inner)
        if rendered is None:
            unknown.append(block["id"])
            continue
        yield from (indent + line for line in rendered.split("\n"))
        yield from _lines(children_of(block["id"]), children_of, unknown, indent=indent + "\t")


def _rendered(kind: str, inner: Mapping[str, object]) -> str | None:
    text = plain_text(inner["rich_text"]) if isinstance(inner.get("rich_text"), list) else ""  # type: ignore[arg-type] # checked in the same line
    match kind:
        case "to_do":
            return f"- [{'x' if inner.get('checked') else ' '}] {text}"
        case "code":
            return f"```{inner.get('language', '')}\n{text}\n```"
        case "divider":
            return "---"
        case _:
            return None if kind not in _PREFIXES else _PREFIXES[kind] + text
