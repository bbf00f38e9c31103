"""Pages as HTML: Jinja with autoescape, and the few words that every template may use. Knows no database.

The headers of every page are here, too: nothing inline, nothing foreign, nothing framed, nothing kept.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from types import CodeType
from typing import Any, Final

from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined, select_autoescape
from jinja2.bccache import Bucket
from markupsafe import Markup, escape
from starlette.responses import Response

from outbox.verdict import in_words
from receiver.console import words
from receiver.console.assets import Assets

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types postroom"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # no-referrer would make browsers send `Origin: null` with forms
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Compiled(BytecodeCache):
    """Templates as this process compiled them: that takes longer than to render them, and a process may have more than one app."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """By name and content."""
        bucket.code = self._kept.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Until the process ends."""
        self._kept[bucket.key, bucket.checksum] = bucket.code


COMPILED: Final = Compiled()


class Renderer:
    """The templates of receiver/console/templates."""

    def __init__(self, assets: Assets) -> None:
        self._jinja = Environment(
            loader=PackageLoader("receiver.console"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            bytecode_cache=COMPILED,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.globals.update(asset=assets.url, words=words, new_form_id=lambda: str(uuid.uuid4()), icon=self._icon)
        self._jinja.filters.update(
            count=words.count,
            duration=words.duration,
            size=words.size,
            brief=words.brief,
            cut=words.cut,
            mask=words.mask,
            ticks=ticks,
            in_words=in_words,
        )
        self._sprite = assets.url("shapes.svg")

    def page(self, template: str, context: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A whole answer. The context has at least `zone` and `now`; without them times are in UTC and not relative."""
        zone, now = context.get("zone"), context.get("now")

        def when(then: datetime | str | None, *, relative: bool = True) -> Markup:
            if isinstance(then, str):
                then = datetime.fromisoformat(then)
            return Markup(words.NONE) if then is None else time_element(then, zone=zone, now=now if relative else None)  # noqa: S704

        html = self._jinja.get_template(template).render({**context, "when": when})
        return Response(html, status, {**HEADERS, **(headers or {})}, "text/html; charset=utf-8")

    def _icon(self, name: str) -> Markup:
        """A shape of the sprite, beside a word that says the same."""
        return Markup('<svg class="icon" aria-hidden="true" width="16" height="16"><use href="{}#{}"/></svg>').format(self._sprite, name)


def ticks(text: str) -> Markup:
    """Words in which what stands between backticks is a command or a name, as our messages have it."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:  # one of them belongs to no other
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts))


def time_element(then: datetime, *, zone: tzinfo | None, now: datetime | None) -> Markup:
    """A time: relative to `now`, or to the second; the exact one by hovering, by focus or by tapping."""
    there = zone or UTC
    exact = words.exact(then, there)
    shown = exact if now is None else words.ago(then, now)
    ages = Markup(" data-ago") if now is not None and words.is_near(then, now) else ""
    return Markup('<time datetime="{}" title="{}" tabindex="0"{}>{}</time>').format(
        then.astimezone(UTC).isoformat(), exact, ages, escape(shown)
    )
