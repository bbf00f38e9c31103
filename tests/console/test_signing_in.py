"""Signing in and out: sessions, their end, wrong tokens, links that are used once."""

import hashlib
import re
from html import unescape

from outbox.store import sessions
from outbox.testing import Postroom
from receiver.console.signin import offer_link
from tests.console.visiting import looking, operating, visiting
from tests.receiver.running import OPERATOR_TOKEN, UNUSED_DSN, settings


async def test_who_is_not_signed_in_is_sent_to_the_sign_in_page_and_back_afterwards(postroom: Postroom) -> None:
    async with visiting(postroom) as visitor:
        sent = await visitor.get("/console/audit?who=ana")
        assert (sent.status_code, sent.headers["location"]) == (303, "/console/sign-in?back=%2Fconsole%2Faudit%3Fwho%3Dana")
        back = await visitor.sign_in(OPERATOR_TOKEN, "/console/audit?who=ana")
    assert (back.status_code, back.headers["location"]) == (303, "/console/audit?who=ana")
    cookie = back.headers["set-cookie"]
    assert cookie.startswith("postroom=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


async def test_a_session_by_https_has_a_cookie_that_no_plain_page_can_set(postroom: Postroom) -> None:
    async with visiting(postroom) as visitor:
        answer = await visitor.send(
            "/console/sign-in", {"token": OPERATOR_TOKEN}, {"sec-fetch-site": "same-origin", "x-forwarded-proto": "https"}
        )
    assert answer.headers["set-cookie"].startswith("__Host-postroom=")
    assert "Secure" in answer.headers["set-cookie"]
    assert "Domain" not in answer.headers["set-cookie"]


async def test_after_signing_in_nobody_is_sent_to_another_place(postroom: Postroom) -> None:
    async with visiting(postroom) as visitor:
        for place in (
            "https://example.com/",
            "//example.com/console/",
            "/console/../api",
            "/console//example.com",
            "/api/events",
            "/consolex",
        ):
            assert (await visitor.sign_in(OPERATOR_TOKEN, place)).headers["location"] == "/console/"


async def test_a_wrong_token_says_nothing_but_that_and_after_five_one_waits(postroom: Postroom) -> None:
    async with visiting(postroom) as visitor:
        answers = [await visitor.sign_in("wrong-token-wrong-token") for _ in range(6)]
        right = await visitor.sign_in(OPERATOR_TOKEN)
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert "This token is not known" in answers[0].text
    assert "Wait 1" in answers[5].text
    assert "wrong-token" not in answers[0].text
    assert right.status_code == 303  # behind a proxy a stranger with the same address must not lock people out
    assert await postroom.value("select count(*) from outbox.sessions") == 1


async def test_without_a_configured_token_the_page_says_which_variable_to_set(postroom: Postroom) -> None:
    async with visiting(postroom, settings(admin_tokens="")) as visitor:
        assert "POSTROOM_ADMIN_TOKENS" in await visitor.page("/console/sign-in")
        assert (await visitor.sign_in("")).status_code == 401


async def test_signing_out_ends_the_session_and_both_are_audited(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        assert (await visitor.act("/console/sign-out")).headers["location"] == "/console/sign-in"
        assert (await visitor.get("/console/audit")).status_code == 303
    assert await postroom.rows("select who, via, what from outbox.audit order by id") == [
        {"who": "otto", "via": "console", "what": "sign in"},
        {"who": "otto", "via": "console", "what": "sign out"},
    ]


async def test_a_session_ends_with_its_token_and_after_its_time(postroom: Postroom) -> None:
    async with operating(postroom) as first:
        cookies = dict(first.talk.client.cookies)
    others = settings(admin_tokens="vera:viewer:viewer-token-for-tests-only")
    async with visiting(postroom, others) as second:
        second.talk.client.cookies.update(cookies)
        assert (await second.get("/console/audit")).status_code == 303
    async with visiting(postroom) as third:
        third.talk.client.cookies.update(cookies)
        assert (await third.get("/console/audit")).status_code == 200
        await postroom.pool.execute("update outbox.sessions set until = now()")
        assert (await third.get("/console/audit")).status_code == 303


async def test_a_visit_slides_the_end_of_the_session(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        await postroom.pool.execute("update outbox.sessions set until = now() + interval '1 h', seen_at = now() - interval '2 min'")
        await visitor.get("/console/audit")
    assert await postroom.value("select until > now() + interval '11 h' from outbox.sessions")


async def test_the_database_holds_nothing_to_sign_in_with(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        cookie = next(iter(dict(visitor.talk.client.cookies).values()))
    kept = str(await postroom.rows("select s::text from outbox.sessions s"))
    assert cookie not in kept
    assert hashlib.sha256(OPERATOR_TOKEN.encode()).hexdigest() not in kept


async def test_a_link_signs_in_once(postroom: Postroom) -> None:
    path = await offer_link(postroom.pool, OPERATOR_TOKEN)
    async with visiting(postroom) as visitor:
        assert (await visitor.get(path)).status_code == 200  # looking at it does not use it up
        assert (await visitor.send(path, {})).headers["location"] == "/console/"
        assert (await visitor.get("/console/audit")).status_code == 200
        again = await visitor.send(path, {})
    assert again.status_code == 401
    assert "used already" in again.text


async def test_a_link_whose_time_is_over_or_that_was_never_made_signs_nobody_in(postroom: Postroom) -> None:
    await sessions.offer_link(postroom.pool, digest=hashlib.sha256(b"o" * 32).digest(), token=b"x", lasts_s=-1)
    async with visiting(postroom) as visitor:
        for link in ((b"o" * 32).hex(), "00" * 32, "zz" * 32, "short"):
            assert (await visitor.send(f"/console/sign-in/{link}", {})).status_code == 401


async def test_without_a_database_a_page_says_so_and_comes_again() -> None:
    async with visiting(UNUSED_DSN) as visitor:
        visitor.talk.client.cookies.set("postroom", "00" * 32)
        answer = await visitor.get("/console/audit")
    assert (answer.status_code, answer.headers["refresh"]) == (503, "5")
    assert "nothing accepted is lost" in answer.text


async def test_a_viewer_sees_and_may_not_act(postroom: Postroom) -> None:
    async with looking(postroom) as visitor:
        assert "vera · viewer" in await visitor.page("/console/audit")


async def test_a_form_whose_session_had_ended_is_shown_again_after_signing_in_and_acts_when_it_is_sent(postroom: Postroom) -> None:
    form = {"form": "00000000-0000-4000-8000-000000000001", "reason": 'the <b> "new" & old schema', "minutes": "5"}
    pause = "/console/connections/notion/pause"
    async with visiting(postroom) as visitor:
        asked = await visitor.send(pause, {**form, "back": "/console/connections"})
        carries = hidden(asked.text)
        wrong = await visitor.send("/console/sign-in", {**carries, "token": "wrong-token-wrong-token"})
        shown = await visitor.send("/console/sign-in", {**hidden(wrong.text), "token": OPERATOR_TOKEN})
        assert await postroom.value("select count(*) from outbox.destinations where state = 'paused'") == 0
        fields = hidden(shown.text)
        assert fields["form"] != form["form"]
        done = await visitor.send(pause, {**fields, "reason": form["reason"], "minutes": "5"})
    assert (asked.status_code, wrong.status_code, shown.status_code) == (200, 401, 200)
    assert "schema" not in str(asked.request.url) + str(shown.request.url) + str(asked.headers) + str(shown.headers)
    assert 'value="the &lt;b&gt; &#34;new&#34; &amp; old schema"' in shown.text
    assert f'action="{pause}"' in shown.text
    assert done.headers["location"] == "/console/connections"
    assert await postroom.value("select why from outbox.destinations where name = 'notion'") == form["reason"]


async def test_a_strangers_form_is_neither_kept_nor_shown_and_what_nobody_typed_is_only_asked_for(postroom: Postroom) -> None:
    pause = "/console/connections/notion/pause"
    async with visiting(postroom) as visitor:
        strange = await visitor.send(pause, {"reason": "planted"}, {"sec-fetch-site": "cross-site"})
        planted = await visitor.send(
            "/console/sign-in",
            {"token": OPERATOR_TOKEN, "kept_path": "https://example.com/", "kept": "reason=x"},
        )
        visitor.talk.client.cookies.clear()
        nothing = await visitor.act("/console/connections/notion/resume", form="00000000-0000-4000-8000-000000000002")
    assert strange.status_code == 403
    assert "planted" not in strange.text
    assert (planted.status_code, planted.headers["location"]) == (303, "/console/")
    assert nothing.headers["location"] == "/console/sign-in"


def hidden(html: str) -> dict[str, str]:
    """The hidden fields of a page, as a browser would send them."""
    return {unescape(name): unescape(value) for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', html)}
