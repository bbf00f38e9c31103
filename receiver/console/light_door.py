"""The small light for an app's own navigation: a page to be framed, `GET /console/light`, for whoever looks, signed in or not.

It tells a colour and a few words, which /metrics tells everybody, too: no count, no reason, no name of a person. It has no script and
no form, so nothing in it can be clicked on by trick but a link that opens the console. Only the origins of POSTROOM_EMBED_ORIGINS may frame
it; without any there is no such page.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outbox import sync_facts
from outbox.db import Pool
from outbox.errors import DatabaseUnavailable
from outbox.health import Health, judge
from outbox.light import Light
from outbox.log import get_logger
from outbox.store import events, standing
from receiver.console import words
from receiver.console.asking import desk_of
from receiver.console.page import no_such
from receiver.console.render import HEADERS, POLICY, Renderer

log = get_logger(__name__)

REMEMBERED_S: Final = 5.0
READ_WITHIN_S: Final = 3.0
AGAIN_S: Final = 30
AWAY: Final = (Light.RED, "does not answer")
_COLOURS: Final = {
    Health.HEALTHY: (Light.GREEN, "all well"),
    Health.DEGRADED: (Light.YELLOW, "something to look at"),
    Health.UNHEALTHY: (Light.RED, "something is wrong"),
}


@dataclass(frozen=True, slots=True)
class Lights:
    """The whole, and each sync but those of users: a colour and its words."""

    whole: tuple[Light, str]
    syncs: dict[str, tuple[Light, str]]


class LightDoor:
    """One for each process: it reads at most every few seconds, however many look."""

    def __init__(self, render: Renderer, origins: Sequence[str], *, name: str) -> None:
        self._render, self._origins, self._name = render, tuple(origins), name
        self._lock = asyncio.Lock()
        self._read_at, self._lights = float("-inf"), Lights(AWAY, {})

    async def show(self, request: Request) -> Response:
        """The light of everything, or of `?sync=`. Raises Refused (404)."""
        if not self._origins:
            raise no_such("No app may show the light here: POSTROOM_EMBED_ORIGINS is not set.")
        lights, sync = await self._now(desk_of(request).console), request.query_params.get("sync")
        if sync is not None and lights.whole != AWAY and sync not in lights.syncs:
            raise no_such("There is no sync of this name.")
        colour, said = lights.whole if sync is None else lights.syncs.get(sync, AWAY)
        theme = request.query_params.get("theme")
        context = {
            "colour": colour.value,
            "said": said,
            "name": self._name if sync is None else sync,
            "link": "/console/" if sync is None or lights.whole == AWAY else f"/console/syncs/{sync}",
            "theme": theme if theme in ("light", "dark") else None,
        }
        return self._render.page("light.html", context, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        framed = POLICY.replace("frame-ancestors 'none'", f"frame-ancestors {' '.join(self._origins)}").replace("script-src 'self'; ", "")
        return {**HEADERS, "content-security-policy": framed, "refresh": str(AGAIN_S)}

    async def _now(self, pool: Pool) -> Lights:
        async with self._lock:
            if time.monotonic() - self._read_at > REMEMBERED_S:
                try:
                    async with asyncio.timeout(READ_WITHIN_S):
                        self._lights = await _read(pool)
                except (DatabaseUnavailable, TimeoutError):
                    self._lights = Lights(AWAY, {})
                self._read_at = time.monotonic()
            return self._lights


async def _read(pool: Pool) -> Lights:
    now = await events.clock(pool)
    every = await sync_facts.every(pool)
    told = {one["name"]: (Light(one["light"]), _since(one["last_success"], now)) for one in every.syncs}
    return Lights(_COLOURS[judge(await standing.look(pool, syncs=every)).status], told)


def _since(last: dict[str, str] | None, now: datetime) -> str:
    return "never synced" if last is None else f"synced {words.ago(datetime.fromisoformat(last['at']), now)}"
