"""Notion's blocks as lines of plain text. Pure; an unknown block says nothing and stops nothing."""

from typing import Final

from dispatcher.clients.answer import Json, items, member, text
from dispatcher.clients.notion_values import rich_text

_BULLETS: Final = ("bulleted_list_item", "numbered_list_item", "toggle")
_OTHER_PAGES: Final = ("child_page", "child_database")  # they have children, but those are pages of their own


def line(block: Json) -> str | None:
    """The text of one block; None where it has none."""
    kind = text(member(block, "type"))
    content = member(block, kind)
    match kind:
        case "child_page" | "child_database":
            return text(member(content, "title")) or None
        case "equation":
            return text(member(content, "expression")) or None
        case "bookmark" | "embed" | "link_preview":
            return text(member(content, "url")) or None
        case "table_row":
            return " | ".join(rich_text(cell) for cell in items(member(content, "cells"))) or None
        case "to_do":
            return ("[x] " if member(content, "checked") is True else "[ ] ") + rich_text(member(content, "rich_text"))
        case _:
            words = rich_text(member(content, "rich_text")) or rich_text(member(content, "caption"))
            return (f"- {words}" if kind in _BULLETS else words) if words else None


class Reading:
    """The text of one page while its blocks arrive. The first bound that is met ends it, so that the text has no holes."""

    def __init__(self, *, max_depth: int, max_calls: int, max_chars: int) -> None:
        self._max_depth, self._calls_left, self._chars_left = max_depth, max_calls, max_chars
        self._lines: list[str] = []
        self.truncated = False

    def may_call(self) -> bool:
        """Whether one more call is allowed; counts it."""
        self._calls_left -= 1
        self.truncated = self.truncated or self._calls_left < 0
        return not self.truncated

    def add(self, block: Json, depth: int) -> str | None:
        """Appends the block's line, indented by its depth; the block's id when its children are to be read next."""
        words = line(block)
        if words is not None:
            self._append("  " * depth + words)
        identifier = member(block, "id")
        if member(block, "has_children") is not True or member(block, "type") in _OTHER_PAGES or not isinstance(identifier, str):
            return None
        self.truncated = self.truncated or depth >= self._max_depth
        return None if self.truncated else identifier

    def _append(self, text: str) -> None:
        self.truncated = self.truncated or len(text) > self._chars_left
        self._lines.append(text[: max(0, self._chars_left)])
        self._chars_left -= len(text) + 1

    def text(self) -> str:
        """The lines so far."""
        return "\n".join(self._lines)
