"""A browser without a screen: signs in, follows redirects, sends forms as a browser would."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape

import httpx

from outbox.testing import Postroom
from receiver.config import ReceiverSettings
from tests.receiver.running import OPERATOR_TOKEN, VIEWER_TOKEN, Talk, started

OWN = {"sec-fetch-site": "same-origin"}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at the console."""

    talk: Talk

    async def get(self, path: str) -> httpx.Response:
        return await self.talk.client.get(path, follow_redirects=False)

    async def page(self, path: str) -> str:
        """A page that is there, as its reader sees it: without tags."""
        answer = await self.talk.client.get(path, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        return words(answer.text)

    async def form_id(self, path: str = "/console/audit") -> str:
        found = re.search(r'name="form" value="([^"]+)"', (await self.get(path)).text)
        assert found is not None
        return found[1]

    async def act(self, path: str, *, form: str | None = None, **fields: str) -> httpx.Response:
        """Sends a form of the console."""
        return await self.send(path, {"form": form or await self.form_id(), **fields})

    async def send(self, path: str, fields: Mapping[str, str | list[str]], headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.talk.client.post(path, data=dict(fields), headers=OWN if headers is None else headers)

    async def undo(self, path: str) -> str:
        """Sends the form of the notice on a page that takes the act back, and returns what its button said."""
        form = (await self.get(path)).text.partition('class="notice')[2].partition("</form>")[0]
        to, said = re.search(r'<form method="post" action="([^"]+)"', form), re.search(r"<button>([^<]*)</button>", form)
        assert to is not None
        assert said is not None, "there is nothing to undo"
        fields = {name: unescape(value) for name, value in re.findall(r'name="([^"]*)" value="([^"]*)"', form)}
        assert (await self.send(unescape(to[1]), fields)).status_code == 303
        return unescape(said[1])

    async def sign_in(self, token: str, back: str = "") -> httpx.Response:
        return await self.send("/console/sign-in", {"token": token, "back": back})


def words(html: str) -> str:
    """A page without its tags, spaces folded."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html))).strip()


@asynccontextmanager
async def visiting(postroom: Postroom | str, own: ReceiverSettings | None = None) -> AsyncIterator[Visitor]:
    """Not signed in."""
    async with started(postroom, own) as talk:
        yield Visitor(talk)


@asynccontextmanager
async def operating(postroom: Postroom) -> AsyncIterator[Visitor]:
    """Signed in as the operator otto."""
    async with visiting(postroom) as visitor:
        assert (await visitor.sign_in(OPERATOR_TOKEN)).status_code == 303
        yield visitor


@asynccontextmanager
async def looking(postroom: Postroom) -> AsyncIterator[Visitor]:
    """Signed in as the viewer vera."""
    async with visiting(postroom) as visitor:
        assert (await visitor.sign_in(VIEWER_TOKEN)).status_code == 303
        yield visitor
