"""What an open page does by itself, in a real browser: what is told to it, what it leaves alone, when it says that it is old."""

import re
from contextlib import AsyncExitStack
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from outbox.store import destinations
from receiver.console import live
from tests.console.conftest import Served, Tab
from tests.console.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="session")
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
DEAD = """insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason)
select outbox.stage('live.died', '{}', lane => $1), 7, 0, 1, $1, 'it is a test'"""
HELD = """insert into outbox.busy (lane, event_id, urgency, due_at, attempt, why)
select outbox.lane_of($1, 0), outbox.stage('live.held', '{}', lane => $1), 0, now() + interval '1 hour', 1, 'it is a test'"""
FORGOTTEN = "delete from outbox.pending p using outbox.events e where e.id = p.event_id and e.kind in ('live.died', 'live.held')"


async def test_the_counts_of_the_navigation_and_of_the_states_are_live(served: Served) -> None:
    letters = await served.postroom.value("select count(*) from outbox.dead")
    event_id = await served.postroom.value("select outbox.stage('live.counted', '{}', lane => 'live:counted')")

    async def becomes(*statements: str) -> None:
        for statement in statements:
            await served.postroom.pool.execute(statement, event_id)

    async with served.tab() as tab:
        await tab.open("events")
        said = str(await tab.page.text_content("nav"))
        before = [int(number) for number in re.findall(r"\((?:\w+: )?(\d+)(?: need you)?\)", said)]
        assert "Syncs (red: 0) (yellow: 1)" in re.sub(r"\s+", " ", said)  # its brake asks a person
        assert await tab.page.title() == f"({sum(before)}) Events · Postroom"
        await becomes(
            "delete from outbox.pending where event_id = $1",
            """insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason)
               values ($1, outbox.lane_of('live:counted', $1), 0, 1, 'alone', 'it is a test')""",
        )
        await tab.page.locator(".views a", has_text=f"Dead {letters + 1}").wait_for()
        await tab.page.locator("nav a", has_text=f"Dead letters ({before[0] + 1} need you)").wait_for()
        assert await tab.page.title() == f"({sum(before) + 1}) Events · Postroom"
        badge = tab.page.locator("nav a[href='/console/lanes'] .badge")
        assert await badge.is_hidden()
        await becomes(
            "delete from outbox.dead where event_id = $1",
            "update outbox.events set staged_at = now() - interval '1 hour' where id = $1",
            """insert into outbox.busy (lane, event_id, urgency, due_at, why)
               values (outbox.lane_of('live:counted', $1), $1, 0, now() + interval '1 hour', 'it failed')""",
        )
        await badge.wait_for()
        await becomes("delete from outbox.busy where event_id = $1", "delete from outbox.events where id = $1")
        await badge.wait_for(state="hidden")
        await tab.page.locator(".views a", has_text=f"Dead {letters}").wait_for()


async def test_a_list_says_what_is_newer_by_itself_and_the_switch_stops_it(served: Served) -> None:
    stage = "select outbox.stage('live.tried', '{}', key => $1)"
    async with served.tab() as tab:
        await tab.open("events?kind=live.tried")
        await tab.said("Live")
        await served.postroom.value(stage, "first")
        await tab.said("1 newer.")
        await tab.page.get_by_role("link", name="Show", exact=True).click()
        await tab.page.locator("tr[data-row]", has_text="live.tried").wait_for()
        await tab.page.keyboard.press(".")
        await tab.said("Paused")
        await served.postroom.value(stage, "second")
        await tab.page.keyboard.press(".")
        await tab.said("1 newer.")
        await tab.page.get_by_role("link", name="Live tail").click()
        await tab.said("what comes stands here by itself")
        await tab.said("Live")
        await served.postroom.value(stage, "third")
        await tab.page.locator("tr[data-row]").nth(2).wait_for()


async def test_a_page_says_that_its_server_is_gone_and_catches_up_with_the_next_one(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RETRY_MS", (100, 100))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        url, _ = await first.enter_async_context(serving(served.postroom.dsn))
        tab = await stack.enter_async_context(replace(served, url=url).tab())
        await tab.open("events?kind=live.missed")
        await tab.said("Live")
        await first.aclose()
        await tab.said("Reconnecting")
        await served.postroom.value("select outbox.stage('live.missed', '{}')")
        await stack.enter_async_context(serving(served.postroom.dsn, at=urlsplit(url).port or 0))
        await tab.said("1 newer.")
        await tab.said("Live")
        await tab.page.goto("about:blank")
        tab.complaints = [text for text in tab.complaints if "net::ERR" not in text and "503" not in text]  # whichever it met, if any


async def test_what_was_not_confirmed_for_a_while_is_grey_and_says_of_when_it_is(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT_S", 3600.0)  # the line is silent
    async with served.tab() as tab:
        await tab.page.clock.install()
        await tab.open("events?kind=live.silent")
        await tab.said("Live")
        await tab.page.clock.fast_forward(13_000)
        await tab.said("Reconnecting, as of")
        await tab.page.locator("body.stale").wait_for()
        await served.postroom.value("select outbox.stage('live.silent', '{}')")
        await tab.said("1 newer.")
        await tab.page.locator("body:not(.stale)").wait_for()


async def test_a_hidden_tab_asks_for_nothing_and_catches_up_when_it_is_shown(served: Served) -> None:
    async with served.tab() as hidden, served.tab() as witness:
        for tab in (hidden, witness):
            await tab.open("events?kind=live.unseen")
            await tab.said("Live")
        await hidden.page.evaluate(HIDE, True)
        asked: list[str] = []
        hidden.page.on("request", lambda request: asked.append(request.url))
        await served.postroom.value("select outbox.stage('live.unseen', '{}')")
        await witness.said("1 newer.")
        assert asked == []
        await hidden.page.evaluate(HIDE, False)
        await hidden.said("1 newer.")


async def test_seven_tabs_side_by_side_all_load_and_all_hear_though_a_browser_opens_six_connections(served: Served) -> None:
    async with served.tab() as first:
        tabs = [first, *[Tab(await first.page.context.new_page(), served.url) for _ in range(6)]]
        for tab in tabs:
            tab.listen()
            await tab.open("events?kind=live.beside")
            await tab.said("Live")
        await served.postroom.value("select outbox.stage('live.beside', '{}')")
        await first.said("1 newer.")
        await tabs[-1].page.evaluate("dispatchEvent(new Event('online'))")  # it has no stream, and asks every 15 s
        await tabs[-1].said("1 newer.")
        assert [tab.complaints for tab in tabs] == [[]] * 7


async def test_the_page_of_connections_renews_its_rows_where_they_stand_and_says_which_came(served: Served) -> None:
    pool = served.postroom.pool
    async with served.tab() as tab:
        await tab.open("connections")
        await tab.said("Live")
        order = await tab.page.eval_on_selector_all("#ways tr[data-row]", "(rows) => rows.map((row) => row.id)")
        await destinations.pause(pool, "ghl", why="it moves", by="ben")
        await tab.page.locator("#way-ghl", has_text="paused by ben “it moves”").get_by_role("button", name="Resume").wait_for()
        await destinations.pause(pool, "live", why="it is new", by="ben")
        await tab.said("1 newer.")
        assert await tab.page.eval_on_selector_all("#ways tr[data-row]", "(rows) => rows.map((row) => row.id)") == order
        await pool.execute("delete from outbox.destinations where name in ('ghl', 'live')")
        await tab.page.locator("#way-ghl", has_text="flowing").wait_for()


@pytest.mark.parametrize(
    ("path", "put", "grow", "part", "number"),
    [
        ("dead?kind=live.died", DEAD, DEAD, "group-{}", 0),
        ("lanes?kind=live.held", HELD, "update outbox.busy set attempt = 2 where lane = outbox.lane_of($1, 0)", "lane-{}", -1),
    ],
)
async def test_rows_change_where_they_stand_and_none_comes_or_goes_by_itself(
    served: Served, path: str, put: str, grow: str, part: str, number: int
) -> None:
    pool, table = served.postroom.pool, "dead" if put == DEAD else "busy"
    for name in ("one", "two"):
        await pool.execute(put, name)
    await pool.execute(FORGOTTEN)
    async with served.tab() as tab:
        await tab.open(path)
        await tab.said("Live")
        order = await tab.page.eval_on_selector_all("tr[data-row]", "(rows) => rows.map((row) => row.id)")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(grow, "one")
            await connection.execute(put, "new")
            await connection.execute(FORGOTTEN)
            two = "(select id from outbox.events where lane = 'two')"
            await connection.execute(f"delete from outbox.{table} where event_id in {two}")
        await tab.said("1 newer, 1 gone.")
        assert await tab.page.eval_on_selector_all("tr[data-row]", "(rows) => rows.map((row) => row.id)") == order
        assert await tab.page.locator(f"tr.gone#{part.format('two')}").count() == 1
        assert await tab.page.locator(f"#{part.format('one')} td.num").nth(number).inner_text() == "2"
        await tab.page.get_by_role("link", name="Show", exact=True).click()
        await tab.page.locator(f"#{part.format('new')}").wait_for()
        assert await tab.page.locator(f"#{part.format('two')}").count() == 0
    await pool.execute(f"delete from outbox.{table} where event_id in (select id from outbox.events where kind like 'live.%')")
