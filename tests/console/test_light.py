"""The small light: for the apps that may frame it, without signing in, and nothing else can be framed."""

import pytest

from outbox.errors import ConfigError
from outbox.store import destinations
from outbox.testing import Postroom
from tests.console.visiting import visiting, words
from tests.receiver.running import UNUSED_DSN, settings

APP = "https://app.example.com"


async def test_without_an_app_that_may_frame_it_there_is_no_light(postroom: Postroom) -> None:
    async with visiting(postroom) as visitor:
        answer = await visitor.get("/console/light")
    assert answer.status_code == 404
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_the_light_may_be_framed_by_the_apps_that_are_named_and_tells_a_colour_and_no_reason(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.workers (name, until) values ('w', now() + interval '1 h')")
    await destinations.pause(postroom.pool, "notion", why="schema change", by="ben")
    async with visiting(postroom, settings(embed_origins=f"{APP},http://localhost:3000/")) as visitor:
        answer = await visitor.get("/console/light?theme=dark")
        other = await visitor.get("/console/sign-in")
    policy = answer.headers["content-security-policy"]
    assert f"frame-ancestors {APP} http://localhost:3000;" in policy
    assert "script-src" not in policy
    assert "<form" not in answer.text
    assert answer.headers["refresh"] == "30"
    assert "set-cookie" not in answer.headers
    assert "yellow: Postroom something to look at" in words(answer.text)
    assert 'data-theme="dark"' in answer.text
    assert "schema" not in answer.text
    assert "ben" not in words(answer.text)
    assert "frame-ancestors 'none'" in other.headers["content-security-policy"]


async def test_the_light_of_a_sync_leads_to_it_and_an_unknown_one_is_not_there(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.syncs (name, types) values ('ghl-contacts', '{full}')")
    async with visiting(postroom, settings(embed_origins=APP)) as visitor:
        known = await visitor.get("/console/light?sync=ghl-contacts")
        unknown = await visitor.get("/console/light?sync=%3Cb%3E")
    assert "grey: ghl-contacts never synced" in words(known.text)
    assert 'href="/console/syncs/ghl-contacts"' in known.text
    assert unknown.status_code == 404


async def test_a_stranger_does_not_learn_which_users_there_are(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.syncs (name, types) values ('google-contacts:ada', '{full}')")
    async with visiting(postroom, settings(embed_origins=APP)) as visitor:
        answer = await visitor.get("/console/light?sync=google-contacts:ada")
    assert answer.status_code == 404


async def test_without_a_database_the_light_is_red_and_does_not_wait() -> None:
    async with visiting(UNUSED_DSN, settings(embed_origins=APP)) as visitor:
        answer = await visitor.get("/console/light?sync=ghl-contacts")
    assert answer.status_code == 200
    assert "red: ghl-contacts does not answer" in words(answer.text)


@pytest.mark.parametrize("origin", ["*", "https://*.example.com", "https://a.example/path", "'self'; script-src *", "javascript:x"])
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ConfigError, match="POSTROOM_EMBED_ORIGINS"):
        settings(embed_origins=origin)
