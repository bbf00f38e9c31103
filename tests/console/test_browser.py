"""Every page of the console in a real browser: without complaints, for each role, on a phone, by keyboard."""

import re
import shlex
from urllib.parse import urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from outbox import db
from outbox.store import links
from postroom import COMMANDS, assembled
from tests.console.conftest import PATIENCE_MS, PHONE_PX, Served, Tab, sign_in
from tests.console.invented import HELD_LANE, OTHER_LANE, RUNNING, SWEEPING
from tests.receiver.running import OPERATOR_TOKEN, VIEWER_TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="session")
PROGRAM = assembled(COMMANDS)
WIDER = """(most) => document.documentElement.scrollWidth <= most ? [] :
  ["too wide", ...[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > most).map((e) => e.outerHTML)]"""


TOUCHED = """() => {
  const bar = document.querySelector(".foremost button").getBoundingClientRect(), time = document.querySelector("time[data-ago]");
  time.focus();
  return [innerHeight - bar.bottom, time.title, getComputedStyle(time, "::after").content];
}"""
FOOT = "[...document.querySelectorAll('.foot [data-copy]')].map((one) => one.dataset.copy)"
SMALL = """() => [...document.querySelectorAll(
    "button, select, summary, nav a, .needs li > a, .tile, input:not([type=checkbox], [type=radio])")]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 43.5).map((e) => `too small: ${e.outerHTML}`)"""
LOOKED = f"(width) => [document.querySelector('main').innerText, ({WIDER})(width), ({SMALL})(), {FOOT}]"


def pages(served: Served) -> dict[str, str]:
    """Every page, and words that it shows of the invented installation."""
    all_, lane = served.invented, HELD_LANE.replace(":", "%3A")
    return {
        "": "need you",
        "days": "Tables are made up to",
        "events": "appointment.confirmed",
        f"events/{all_.dead[0]}": "phone is invalid",
        f"events/{all_.done}": "create-note",
        "dead?class=refused&since=7d": "phone is invalid",
        f"dead/{all_.group}": "Correct the data, then retry",
        "lanes": HELD_LANE,
        f"lanes/one?lane={lane}": "2 behind it",
        "syncs": SWEEPING,
        f"syncs/{SWEEPING}": "braked",
        f"syncs/{SWEEPING}/runs/{all_.run}": "the phone number has letters",
        f"syncs/{RUNNING}/runs/{all_.running}": "1,140 of 1,800",
        f"syncs/{SWEEPING}/schedules/full?cron=0+2+*+*+*&zone=Europe/Vienna": "02:00:00.000 CE",
        "google": "ada",
        "phorest/rollback": "What we made at GHL",
        "audits": "phorest",
        f"audits/{all_.audit}": "not in ghl",
        "connections": "schema change",
        "rejected": "Nothing was turned away",
        "audit?via=console&what=sign": "sign in",
    }


async def test_every_page_opens_without_a_complaint_of_the_browser_fits_a_phone_and_says_its_command(served: Served) -> None:
    feet: dict[str, list[str]] = {}
    async with served.tab(width=PHONE_PX) as tab:
        for path, words in pages(served).items():
            await tab.open(path)
            said, wider, small, feet[path] = await tab.page.evaluate(LOOKED, PHONE_PX)
            assert words in said, path
            assert (wider, small) == ([], []), path
    assert all(feet.values()), feet
    assert "--cause refused --since " in feet["dead?class=refused&since=7d"][0]
    await run_all(served, [command for copied in feet.values() for command in copied])


async def run_all(served: Served, copied: list[str]) -> None:
    """What the feet of pages offer."""
    async with httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {OPERATOR_TOKEN}"}, trust_env=False) as client:
        for command in copied:
            await runs(client, command)


async def runs(client: httpx.AsyncClient, command: str) -> None:
    """What is copied is understood: a command with its options, or a request."""
    name, *words = shlex.split(command)
    if name == "postroom":
        result = CliRunner().invoke(PROGRAM, [*words, "--help"])
        assert result.exit_code == 0, (command, result.output)
        return
    path = words[-1].removeprefix("$BASE")
    answer = await client.request("OPTIONS" if "-X" in words else "GET", path)
    assert name == "curl", command
    if "-X" in words:
        assert words[words.index("-X") + 1] in answer.headers["allow"], command
    else:
        assert answer.status_code == 200, (command, answer.text)


async def test_a_viewer_is_offered_no_act(served: Served) -> None:
    async with served.tab(VIEWER_TOKEN) as tab:
        for path in (f"events/{served.invented.dead[0]}", f"dead/{served.invented.group}", f"syncs/{SWEEPING}", "connections"):
            await tab.open(path)
            acts = tab.page.locator("main form[method=post]:not([action='/console/dismiss']) button")
            assert await acts.count() > 0, path
            assert await acts.locator("visible=true").and_(tab.page.locator(":not([disabled])")).count() == 0, path


async def test_keys_lead_to_pages_and_a_dialog_begins_at_cancel(served: Served) -> None:
    async with served.tab() as tab:
        await tab.open("audit")
        await tab.page.keyboard.press("?")
        assert await tab.page.locator("#help").is_visible()
        await tab.page.keyboard.press("Escape")
        await tab.page.keyboard.press("g")
        await tab.page.keyboard.press("c")
        await tab.page.wait_for_url("**/console/connections")
        assert "America/New_York" in await tab.page.inner_text(".zone")
        await tab.page.get_by_text("Pause…").first.click()
        assert await tab.page.locator("dialog[open] button:focus").inner_text() == "Cancel"
        await tab.page.keyboard.press("Escape")
        assert await tab.page.locator("dialog[open]").count() == 0


async def test_dead_letters_are_retried_discarded_and_tried_by_one_first(served: Served) -> None:
    alone, (first, second, *_) = served.invented.lone_dead, served.invented.dead
    async with served.tab() as tab:
        await tab.open(f"events/{alone}")
        await tab.press("Retry")
        await tab.said(f"#{alone} is retried.")
        await tab.open(f"events/{second}")
        await tab.press("Discard…")
        await tab.answer("Discard", Reason="booked again by phone")
        await tab.said(f"#{second} is discarded.")
        await tab.open(f"dead/{served.invented.group}")
        await tab.press("Plan a retry")
        await tab.said("retry 3 dead letters")
        await tab.press("Send the canary")
        await tab.said("under way")
        await tab.press("Stop")
        await tab.said("stopped by otto")
        copied: list[str] = await tab.page.evaluate(FOOT)
    assert copied[0].startswith("postroom plans show ")
    await run_all(served, copied)
    assert await state(served, alone) == await state(served, first) == "pending"
    assert await state(served, second) == "skipped"
    assert await reason_of(served, "discard") == "booked again by phone"


async def test_a_dead_letter_is_looked_into_and_retried_by_a_thumb(served: Served) -> None:
    event_id = served.invented.dead[2]
    async with served.tab(width=PHONE_PX) as tab:
        await tab.open(f"events/{event_id}")
        await tab.press("Show the values")
        await tab.said('"A-908"')
        assert await tab.page.evaluate(WIDER, PHONE_PX) == []
        await tab.page.get_by_role("link", name=f"‹ #{event_id}").click()
        await tab.press("Retry")
        await tab.said(f"#{event_id} is retried.")
    assert await state(served, event_id) == "pending"


async def test_on_a_phone_acts_are_at_the_bottom_and_a_time_that_is_touched_says_when(served: Served) -> None:
    async with served.tab(width=PHONE_PX) as tab:
        await tab.open(f"events/{served.invented.dead[3]}")
        below, exact, shown = await tab.page.evaluate(TOUCHED)
        assert 0 <= below < 60
        assert shown == f'"{exact}"'
        await tab.open("events?state=dead&since=all")
        bar = tab.page.locator(".of-ticked")
        assert await bar.evaluate("(e) => getComputedStyle(e).position") == "static"
        await tab.page.locator("[data-tick]").first.check()
        assert await bar.evaluate("(e) => getComputedStyle(e).position") == "fixed"


async def test_ages_go_on_whatever_the_clock_here_says_a_link_is_copied_with_its_time_and_rows_close_up(served: Served) -> None:
    height = "document.querySelector('tr[data-row]').getBoundingClientRect().height"
    keep = "navigator.clipboard.writeText = async (text) => { document.body.dataset.copied = text; }"
    async with served.tab() as tab:
        await tab.page.clock.install(time="2020-02-02")
        await tab.open("events")
        await tab.page.clock.fast_forward(7_200_000)
        await tab.page.locator("tr[data-row] time", has_text=re.compile(r"^2 h( \d+ m)? ago$")).first.wait_for()
        await tab.page.evaluate(keep)
        await tab.page.keyboard.press("y")
        await tab.page.locator("body[data-copied]").wait_for()
        assert f"{tab.url}/console/events?from=" in str(await tab.page.get_attribute("body", "data-copied"))
        wide = await tab.page.evaluate(height)
        await tab.page.click("[data-density-switch]")
        assert await tab.page.evaluate(height) < wide
        await tab.page.reload()
        assert await tab.page.evaluate(height) < wide


async def test_what_is_done_is_replayed(served: Served) -> None:
    async with served.tab() as tab:
        await tab.open(f"events/{served.invented.done}")
        await tab.press("Replay")
        await tab.said("is in the queue again")
    assert await state(served, served.invented.done) == "pending"


async def test_lanes_are_tried_buried_and_released(served: Served) -> None:
    async with served.tab() as tab:
        await tab.open(f"lanes/one?lane={HELD_LANE}")
        await tab.press("Run head now")
        await tab.said(f"#{served.invented.held} runs now.")
        await tab.press("Release lane…")
        await tab.answer("Release")
        await tab.said("its lane goes on")
        await tab.open(f"lanes/one?lane={OTHER_LANE}")
        await tab.press("Bury head…")
        await tab.answer("Bury", Reason="its contact is gone")
        await tab.said("is a dead letter; its lane goes on")
    assert (
        await served.postroom.value(
            "select count(*) from outbox.busy b join outbox.events e on e.id = b.event_id where e.lane like 'ghl:contact:c_%'"
        )
        == 0
    )
    assert await reason_of(served, "bury") == "its contact is gone"


async def test_a_connection_is_paused_and_resumed_and_a_token_promoted(served: Served) -> None:
    async with served.tab() as tab:
        await tab.open("connections")
        await tab.page.locator("tr", has_text="ghl").get_by_text("Pause…").first.click()
        await tab.answer("Pause ghl", Reason="new location")
        await tab.said("Paused ghl until somebody resumes it")
        await tab.page.locator("tr", has_text="new location").get_by_role("button", name="Resume").click()
        await tab.said("Resumed ghl:")
        await tab.press("Promote…")
        await tab.answer("Promote")
        await tab.said("The token cafe0123 is in use.")
        await tab.press("Dismiss")
        await tab.page.get_by_text("The token cafe0123 is in use.").wait_for(state="detached")
    assert await reason_of(served, "pause") == "new location"


async def test_a_sync_is_run_cancelled_paused_and_resumed(served: Served) -> None:
    async with served.tab() as tab:
        await tab.open(f"syncs/{SWEEPING}")
        await tab.press("Run incremental now")
        await tab.said("Asked for an incremental run")
        await tab.press("Cancel the run")
        await tab.said("is cancelled")
        await tab.press("Pause…")
        await tab.answer("Pause", Reason="holidays")
        await tab.said("Paused by otto “holidays”")
        await tab.press("Resume")
        await tab.said(f"{SWEEPING} goes on")
    assert await served.postroom.value("select cancel_by from outbox.runs where by_whom = 'otto'") == "otto"


async def test_a_rollback_of_phorest_is_begun_by_its_number_stopped_and_begun_anew(served: Served) -> None:
    async with db.transaction(served.postroom.pool) as connection:
        for one in ("p1", "p2"):
            await links.join(connection, "phorest-client", ours=one, theirs=f"of-{one}", destination="ghl", our_hash=None, made=True)
    async with served.tab() as tab:
        await tab.open("phorest/rollback")
        for said in ("Delete: 2", "Begin anew: 2"):
            await tab.page.get_by_label("Type the number, 2").fill("2")
            await tab.press(said)
            await tab.said("2 deletions staged")
            await tab.said("At work")
            await tab.press("Stop")
            await tab.said("stopped by otto")
        assert await tab.page.get_by_role("button", name="Begin anew: 2").is_enabled()
    assert await served.postroom.value("select count(*) from outbox.events where kind = 'phorest.undo'") == 4


async def test_the_way_back_leads_to_the_row_that_was_opened_with_its_filters_wherever_it_stands_by_then(served: Served) -> None:
    seen = "(row) => row.getBoundingClientRect().top > 0 && row.getBoundingClientRect().bottom < innerHeight"
    async with served.tab() as tab:
        await tab.open("events?since=7d&source=app")
        last = tab.page.locator("tr[data-row] a").last
        opened = str(await last.get_attribute("href"))
        await last.click()
        await tab.page.wait_for_url(f"**{opened}")
        await served.postroom.value("select outbox.stage('order.paid', '{}', source => 'app')")
        await tab.page.go_back()
        here = tab.page.locator("tr.here")
        await here.wait_for()
        assert urlsplit(tab.page.url).query == "since=7d&source=app"
        assert await here.locator("a").first.get_attribute("href") == opened
        assert await here.evaluate(seen)
        await tab.page.keyboard.press("k")
        await tab.page.keyboard.press("Enter")
        await tab.page.wait_for_url("**/console/events/*")
        assert tab.page.url != f"{tab.url}{opened}"


async def test_with_the_script_blocked_somebody_signs_in_and_acts(served: Served) -> None:
    context = await served.browser.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE_MS)
    tab = Tab(await context.new_page(), served.url)
    await sign_in(tab, OPERATOR_TOKEN)
    await tab.open("connections")
    await tab.page.locator("tr", has_text="ghl").get_by_text("Pause…").first.click()
    await tab.answer("Pause ghl", Reason="no script here")
    await tab.said("Paused ghl until somebody resumes it")
    await tab.page.locator("tr", has_text="no script here").get_by_role("button", name="Resume").click()
    await tab.said("Resumed ghl:")
    await context.close()


async def test_a_form_of_another_place_changes_nothing(served: Served) -> None:
    form = f"<form method=post action='{served.url}/console/connections/crm/pause'><input name=reason value=x><button>Win</button></form>"
    async with served.tab() as tab:
        await tab.page.route("http://127.0.0.1:9/**", lambda route: route.fulfill(body=form, content_type="text/html"))
        await tab.page.goto("http://127.0.0.1:9/prize")  # another port is the same site: the cookie is sent along
        await tab.press("Win", within="body")
        await tab.said("This form came from another place")
        tab.expected("403")
    assert await served.postroom.value("select count(*) from outbox.destinations where name = 'crm' and state = 'paused'") == 0
    assert await reason_of(served, "refused") == "the form came from another place"


async def test_a_viewer_who_sends_a_form_all_the_same_is_refused(served: Served) -> None:
    async with served.tab(VIEWER_TOKEN) as tab:
        await tab.open(f"syncs/{RUNNING}")
        # In one go: the page may renew its buttons between two calls.
        find = "[...document.querySelectorAll('main button')].find((each) => each.innerText === 'Run incremental now')"
        await tab.page.evaluate(f"() => {{ const one = {find}; one.disabled = false; one.click(); }}")
        await tab.said("you are signed in as a viewer")
        tab.expected("403")
    assert await served.postroom.value("select count(*) from outbox.runs where by_whom = 'vera'") == 0


async def state(served: Served, event_id: int) -> str:
    return str(await served.postroom.value("select state from outbox.states(array[$1::bigint])", event_id))


async def reason_of(served: Served, what: str) -> str | None:
    """Of the newest act of that name."""
    reason: str | None = await served.postroom.value("select reason from outbox.audit where what = $1 order by id desc limit 1", what)
    return reason


async def test_the_theme_that_somebody_chose_stays(served: Served) -> None:
    async with served.tab() as tab:
        await tab.open("audit")
        await tab.page.click("[data-theme-switch]")
        theme = await tab.page.get_attribute("html", "data-theme")
        await tab.page.reload()
        assert await tab.page.get_attribute("html", "data-theme") == theme


async def test_a_wrong_token_is_said_and_signing_in_leads_back_to_the_page(served: Served) -> None:
    async with served.tab(None) as tab:
        await tab.open("lanes")
        await tab.page.fill("#token", "wrong")
        await tab.page.press("#token", "Enter")
        await tab.said("This token is not known")
        await sign_in(tab, OPERATOR_TOKEN, to="syncs")
        await tab.page.get_by_role("button", name="Sign out").click()
        await tab.page.wait_for_url("**/console/sign-in")
        await tab.open("events")
        assert await tab.page.locator("#token").is_visible()
        tab.expected("401")
