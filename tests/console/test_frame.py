"""What surrounds every page: headers, where forms may come from, forms that act once, pages that are not there, static files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from outbox.errors import NotNow
from outbox.store import audit
from outbox.testing import Postroom
from receiver import console
from receiver.config import Role
from receiver.console.frame import Console
from receiver.console.page import Act, Done, Form, Page, Pages, Visit
from receiver.console.site import PAGES, TABS
from tests.console.visiting import looking, operating, visiting, words
from tests.receiver.running import UNUSED_DSN, settings


def test_every_tab_and_template_is_there() -> None:
    console = Console(settings(), PAGES, TABS)
    paths = {page.path for part in PAGES for page in part.pages}
    assert {tab.path for tab in TABS} <= paths
    for part in PAGES:
        for page in part.pages:
            console._render._jinja.get_template(page.template)


async def test_every_page_comes_with_its_headers(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        for path in ("/console/audit", "/console/sign-in", "/console/nowhere"):
            headers = (await visitor.get(path)).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"


async def test_nothing_on_a_page_is_inline_or_foreign(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        html = (await visitor.get("/console/audit")).text
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=|https?://", html)


async def test_rows_are_as_dense_as_the_viewer_chose(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        wide = (await visitor.get("/console/audit")).text
        visitor.talk.client.cookies.set("postroom-density", "compact")
        dense = (await visitor.get("/console/audit")).text
    assert "data-density" not in wide.partition("<body")[0]
    assert '<html lang="en" data-density="compact">' in dense


async def test_static_files_are_kept_for_ever_and_nothing_else_is_served(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        html = (await visitor.get("/console/audit")).text
        for url in set(re.findall(r'"(/console/static/[^"#]+)', html)):
            answer = await visitor.get(url)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
        for url in ("console.css", "../page.py", "console-000000000000.css"):
            assert (await visitor.get(f"/console/static/{url}")).status_code == 404


def test_the_whole_script_stays_under_12_kb() -> None:
    scripts = Path(console.__file__).with_name("static").glob("*.js")
    assert sum(script.stat().st_size for script in scripts) < 12 * 1024


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://example.com"},
        {"origin": "null"},
        {},
    ],
)
async def test_a_form_from_another_place_is_refused_and_audited(postroom: Postroom, headers: dict[str, str]) -> None:
    async with operating(postroom) as visitor:
        answer = await visitor.send("/console/sign-out", {"form": await visitor.form_id()}, headers)
        assert answer.status_code == 403
        assert "POSTROOM_PUBLIC_URL" in answer.text
        assert (await visitor.get("/console/audit")).status_code == 200  # still signed in
    refused = (await audit.find(postroom.pool))[0]
    assert (refused["who"], refused["what"], refused["target"]) == ("otto", "refused", "/console/sign-out")


async def test_a_form_over_plain_http_is_taken_by_its_origin(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        answer = await visitor.send("/console/dismiss", {"form": await visitor.form_id()}, {"origin": "http://receiver.example"})
    assert answer.status_code == 303


async def test_an_unknown_page_is_a_404_in_words_and_an_unknown_parameter_a_chip(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        nowhere = await visitor.get("/console/nowhere?x=1")
        assert (nowhere.status_code, 'href="/console/lanes"' in nowhere.text, "ignored" in nowhere.text) == (404, True, False)
        assert "ignored: stat=ded" in await visitor.page("/console/audit?stat=ded")
        assert "ignored: before=abc" in await visitor.page("/console/audit?before=abc")


async def _read(visit: Visit) -> Mapping[str, Any]:
    raise ValueError("secret of a row")


async def _count(visit: Visit, form: Form) -> Done:
    reason = form.needed("reason")
    if reason == "too late":
        raise NotNow("It is over.")
    await visit.actor.note(visit.pool, "count", target="it", reason=reason)
    return Done("Counted <b>it</b>.", to=form.back("/console/audit"), link=("Look", "/console/audit?what=count"))


COUNTING = Pages(
    pages=(Page("/console/broken", "audit.html", _read), Page("/console/secret", "audit.html", _read, role=Role.OPERATOR)),
    acts=(Act("/console/count", _count),),
)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site with an act that is easy to see, and a page that fails."""
    monkeypatch.setattr("receiver.app.PAGES", (*PAGES, COUNTING))


async def _counts(postroom: Postroom) -> int:
    return int(await postroom.value("select count(*) from outbox.audit where what = 'count'"))


@pytest.mark.usefixtures("counting")
async def test_an_act_is_done_once_told_until_dismissed_and_returns_to_its_page(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        form = await visitor.form_id()
        first = await visitor.act("/console/count", form=form, reason="to see", back="/console/audit?who=otto")
        again = await visitor.act("/console/count", form=form, reason="to see", back="/console/audit?who=otto")
        assert first.headers["location"] == again.headers["location"] == "/console/audit?who=otto"
        assert await _counts(postroom) == 1
        for _ in range(2):
            assert "Counted <b>it</b>. Look" in await visitor.page("/console/audit")
        await visitor.act("/console/dismiss", back="/console/audit")
        assert "Counted" not in words_of_main(await visitor.get("/console/audit?what=sign"))


@pytest.mark.usefixtures("counting")
async def test_an_act_that_is_refused_changes_nothing_and_may_be_sent_again(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        form = await visitor.form_id()
        assert (await visitor.act("/console/count", form=form)).status_code == 422
        assert (await visitor.send("/console/count", {"reason": "x"})).status_code == 422  # no id
        assert (await visitor.act("/console/count", form=form, reason="x")).status_code == 303
        assert await _counts(postroom) == 1
        await visitor.act("/console/count", reason="too late")
        assert "It is over. Nothing was changed." in await visitor.page("/console/audit")
    assert await _counts(postroom) == 1


@pytest.mark.usefixtures("counting")
async def test_a_viewer_may_neither_act_nor_see_what_is_for_operators_and_the_try_is_audited(postroom: Postroom) -> None:
    async with looking(postroom) as visitor:
        assert (await visitor.act("/console/count", reason="x")).status_code == 403
        assert (await visitor.get("/console/secret")).status_code == 403
    assert await _counts(postroom) == 0
    assert await postroom.value("select count(*) from outbox.audit where what = 'refused' and who = 'vera'") == 2


@pytest.mark.usefixtures("counting")
async def test_a_page_that_fails_says_nothing_of_what_failed(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        answer = await visitor.get("/console/broken")
    assert answer.status_code == 500
    assert "secret of a row" not in answer.text


async def test_an_act_takes_forms_only(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        answer = await visitor.talk.client.post("/console/sign-out", json={}, headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 415


async def test_without_a_database_a_page_asks_again_by_itself_and_a_form_that_was_sent_does_not() -> None:
    async with visiting(UNUSED_DSN) as visitor:
        visitor.talk.client.cookies.set("postroom", "ab" * 32)
        page = await visitor.get("/console/lanes")
        sent = await visitor.send("/console/dismiss", {"form": "0b7f9a3e-6f5d-4c53-9c0c-3c8b1a2d4e5f"})
    assert page.status_code == sent.status_code == 503
    assert (page.headers["refresh"], "refresh" in sent.headers) == ("5", False)
    assert "nothing accepted is lost. This page tries again every 5 s." in words(page.text)
    assert "Whether what you sent was done is not known" in sent.text


def words_of_main(answer: Any) -> str:
    text = str(answer.text)
    return text[text.index("<main") : text.index("</main>")]
