"""The pages of events, and finding one: what they show, and that each act does what it says."""

import json
import re
from datetime import UTC, datetime
from html import unescape
from urllib.parse import quote

from dispatcher.outcome import Done
from dispatcher.routes import Route
from outbox import Event, causes
from outbox.store import audit
from outbox.store.search import Wanted
from outbox.testing import Drain, Postroom
from outbox.verdict import Cause
from receiver.console.pages.audit import same as same_acts
from receiver.console.pages.dead import same as same_causes
from receiver.console.pages.events import same
from tests.console.visiting import looking, operating, words
from tests.dispatcher.handling import returning
from tests.outbox.engine import put, worker
from tests.receiver.test_api_dead_letters import DYING
from tests.receiver.test_api_events import stage_all

SINCE = datetime(2026, 10, 5, 9, tzinfo=UTC)


async def test_events_are_listed_filtered_and_downloaded(postroom: Postroom) -> None:
    first = (await put(postroom, "chair:1", kind="test.one"))[0]
    second = (await put(postroom, "chair:2", kind="test.two"))[0]
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/events")
        filtered = await visitor.page("/console/events?kind=test.one&stat=ded")
        csv = (await visitor.get("/console/events.csv?kind=test.two")).text
        nothing = await visitor.page("/console/events?lane=nowhere")
        several = (await visitor.get("/console/events?why=ready&why=behind&err=cafe&kind=test.one&dest=ghl")).text
        again = await visitor.page("/console/events?why=ready,behind")
        await postroom.pool.execute("insert into outbox.arrivals values (now() - interval '1 h', 'shop', 3)")
        followed = (await visitor.get("/console/events?tail=1")).text
        older = (await visitor.get(f"/console/events?tail=1&before={second}")).text
    assert page.index(f"#{second}") < page.index(f"#{first}")
    assert f"#{second}" not in filtered
    assert "ignored: stat=ded" in filtered
    assert "Kind: test.one ×" in filtered
    assert [line.partition(",")[0] for line in csv.split()] == ["id", str(second)]
    assert "No event matches this filter in the last 24h" in nothing
    assert "The sender may never have sent it" in nothing
    for kept in ('value="ready,behind" selected', 'name="err" value="cafe"', 'list="kinds" value="test.one"'):
        assert kept in several
    assert f"#{first}" in again
    assert '<option value="shop">' in followed
    assert (followed.count('data-live="newest totals"'), older.count('data-live="newest totals"')) == (2, 0)


def test_the_foot_of_a_list_says_the_same_command_with_the_filters_in_use() -> None:
    told = same(Wanted(states=["dead"], kinds=["a.b", "c"], lane="contact:c 1"))
    assert told["cli"] == "postroom events --state dead --kind a.b --kind c --lane 'contact:c 1'"
    assert told["api"] == "GET /api/events?state=dead&kind=a.b&kind=c&lane=contact%3Ac+1"
    assert same(Wanted()) == {"cli": "postroom events", "api": "GET /api/events"}
    noted = same_causes(causes.Filter(destination="ghl", cause=Cause.SLOW, since=SINCE, noted=True))
    assert noted["cli"] == "postroom dead groups --destination ghl --cause 'too slow' --since 2026-10-05T09:00:00+00:00 --noted"
    assert noted["api"].startswith("GET /api/dead-letters/groups?destination=ghl&cause=too+slow&since=2026-10-05T09%3A00%3A00%2B00%3A00")
    acts = same_acts(audit.Filter(who="ana", via="cli", what="retry", target="77", until=SINCE))
    assert acts["cli"] == "postroom audit --who ana --via cli --what retry --target 77 --until 2026-10-05T09:00:00+00:00"
    assert acts["api"].startswith("GET /api/audit?who=ana&via=cli&what=retry&target=77&until=2026-10-05T09")


async def test_a_link_of_the_list_keeps_its_time_for_who_follows_it_later(postroom: Postroom) -> None:
    old, new = (await put(postroom, "chair:1"))[0], (await put(postroom, "chair:2"))[0]
    await postroom.pool.execute("update outbox.events set staged_at = now() - interval '3 hours' where id = $1", old)
    async with looking(postroom) as visitor:
        found = re.search(r'data-pinned="([^"]+)"', (await visitor.get("/console/events?since=1h&source=app")).text)
        assert found is not None
        pinned = await visitor.get(unescape(found[1]))
        await postroom.pool.execute("update outbox.events set staged_at = staged_at - interval '1 day'")
        later = await visitor.get(unescape(found[1]))
        relative = await visitor.page("/console/events?since=1h")
    assert "source=app" in found[1]
    assert "From: " in words(pinned.text)
    assert (f"Open #{new}" in pinned.text, f"Open #{old}" in pinned.text) == (True, False)
    assert "No event matches these 2 filters at all" in words(later.text)
    assert "No event was accepted in this time" in relative


async def test_what_was_tried_often_is_listed_by_any_state(postroom: Postroom, drain: Drain) -> None:
    often, once = (await put(postroom, "chair:1"))[0], (await put(postroom, "chair:2"))[0]
    async with worker(postroom) as me:
        first = {event.id: event for event in await me.claim()}
        await me.retry(first[often])
        await me.done(first[once], *await me.take_due())
        (waits,) = await put(postroom, "chair:3")
        await me.retry(*await me.claim(), delay_s=3600)
    async with operating(postroom) as visitor:
        html = (await visitor.get("/console/events?attempts=2")).text
        odd = await visitor.page("/console/events?attempts=0")
        waiting = (await visitor.get("/console/events?why=retry")).text
        ran = await visitor.send("/console/acts/run/ticked", {"form": await visitor.form_id(), "event": [str(waits), str(once)]})
        said = await visitor.page(ran.headers["location"])
    assert (f"Open #{often}" in html, f"Open #{once}" in html) == (True, False)
    assert "Attempts at least: 2 ×" in words(html)
    assert "<details open><summary>More filters" in html
    assert "ignored: attempts=0" in odd
    assert f'value="{waits}" aria-label="Tick' in waiting
    assert "1 of 2 events runs now: 1 is done." in said
    assert await postroom.value("select due_at <= now() from outbox.busy where event_id = $1", waits)


async def test_the_list_is_paged_both_ways_and_sorted_by_its_links(postroom: Postroom) -> None:
    known = [(await put(postroom, f"chair:{n}"))[0] for n in range(45)]
    newest_first = known[::-1]

    def shown(html: str) -> list[int]:
        return [int(found) for found in re.findall(r'aria-label="Open #(\d+)"', html)]

    def link(html: str, said: str) -> str:
        found = re.search(rf'<a href="([^"]+)"[^>]*>{said}</a>', html)
        assert found is not None, said
        return unescape(found[1])

    async with looking(postroom) as visitor:
        first = (await visitor.get("/console/events?n=20")).text
        second = (await visitor.get(link(first, "Older"))).text
        third = (await visitor.get(link(second, "Older"))).text
        back = (await visitor.get(link(third, "Newer"))).text
        oldest = (await visitor.get(link(first, "Staged"))).text
        onward = (await visitor.get(link(oldest, "Newer"))).text
    assert [shown(one) for one in (first, second, third)] == [newest_first[:20], newest_first[20:40], newest_first[40:]]
    assert shown(back) == newest_first[20:40]
    assert [shown(one) for one in (oldest, onward)] == [known[:20], known[20:40]]
    assert ">Older</a>" not in third
    assert ">Newer</a>" not in first


async def staged_at(postroom: Postroom, event_id: int) -> str:
    at = await postroom.value("select staged_at from outbox.events where id = $1", event_id)
    return quote(at.isoformat())


async def test_what_a_filter_finds_is_planned_and_replayed_and_so_are_several_that_are_ticked(postroom: Postroom, drain: Drain) -> None:
    known = await stage_all(postroom, *(Event("test.unheard", {"n": n}) for n in range(3)), Event("test.phone", {}))
    await drain(DYING)
    async with operating(postroom) as visitor:
        listed = (await visitor.get("/console/events?kind=test.unheard")).text
        query = re.search(r'name="query" value="([^"]*)"', listed)
        assert query is not None
        later = await stage_all(postroom, Event("test.unheard", {"n": 4}))
        by_hand = [str(one) for one in (*known[3:], later[0])]
        waiting = await visitor.act("/console/acts/again", event=str(later[0]))
        await drain(DYING)
        made = await visitor.act("/console/acts/again/plan", query=f"{unescape(query[1])}&until={await staged_at(postroom, later[0])}")
        plan = made.headers["location"]
        page = await visitor.page(plan)
        await visitor.act("/console/acts/plan/start", plan=plan.rpartition("/")[2], alone="1")
        began = await visitor.page(plan)
        await visitor.act("/console/acts/plan/stop", plan=plan.rpartition("/")[2])
        stopped = (await visitor.get(plan)).text
        undo = dict(
            re.findall(
                r'name="(form|plan)" value="([^"]*)"', stopped.partition('action="/console/acts/plan/resume"')[2].partition("</form>")[0]
            )
        )
        await visitor.send("/console/acts/plan/resume", undo)
        resumed = await visitor.page(plan)
        both = await visitor.send("/console/acts/again", {"form": await visitor.form_id(), "event": by_hand})
        said = await visitor.page(both.headers["location"])
        await drain(DYING)
        several = await visitor.send("/console/acts/again", {"form": await visitor.form_id(), "event": [*by_hand, str(known[0])]})
        planned = await visitor.page(several.headers["location"])
    assert waiting.status_code == 303
    assert "replay 3 events" in page
    assert "no route: skipped again" in page
    assert f"up to #{known[2]} ; what is staged later is not in it" in page
    assert "Replayed 1 of 3: 2 waits" in began
    assert "sends nothing more; what was sent goes on" in words(stopped)
    assert "goes on with what is left" in resumed
    assert f"#{later[0]} is in the queue again: 1 is dead. View" in said
    assert "Nothing was replayed yet: 1 is dead." in planned
    assert "replay 2 events" in planned
    noted = await postroom.rows("select what, target, result from outbox.audit where what like '%replay%' order by id")
    assert [row["what"] for row in noted] == ["plan replay", "replay", "plan replay"]
    assert json.loads(noted[0]["result"])["kinds"] == ["test.unheard"]


async def test_an_event_says_why_and_a_viewer_sees_masks(postroom: Postroom) -> None:
    event_id = await postroom.value("""select outbox.stage('test.one', '{"name": "Ada Lovelace", "n": 42}', lane => 'chair:1')""")
    async with looking(postroom) as visitor:
        page = await visitor.page(f"/console/events/{event_id}")
        refused = await visitor.act(f"/console/events/{event_id}/payload")
        unknown = await visitor.get("/console/events/77")
    assert "It is ready: the next free worker takes it." in page
    assert "Lovelace" not in page
    assert "A…e (12)" in page
    assert "needs the operator role" in page
    assert refused.status_code == 403
    assert unknown.status_code == 404
    assert "Event 77 is unknown here" in unknown.text


async def test_what_a_handler_returned_stands_in_words_in_the_list_and_with_the_event(postroom: Postroom, drain: Drain) -> None:
    (event_id,) = await put(postroom, "chair:1", kind="test.done")
    await drain({"test.done": Route(returning(Done({"contact": "created", "tags": ["new", "vip"]})))})
    async with looking(postroom) as visitor:
        pages = [await visitor.page(path) for path in ("/console/events", f"/console/events/{event_id}")]
    for page in pages:
        assert "contact created, tags new vip" in page


async def test_a_payload_is_shown_by_its_own_form_once_and_the_look_is_in_the_audit(postroom: Postroom) -> None:
    event_id = await postroom.value("""select outbox.stage('test.one', '{"name": "Ada Lovelace", "n": 1.50}')""")
    path = f"/console/events/{event_id}/payload"
    looks = "select count(*) from outbox.audit where what = 'show payload' and via = 'console' and target = $1"
    async with operating(postroom) as visitor:
        by_get = await visitor.get(path)
        foreign = await visitor.send(path, {"form": await visitor.form_id()}, headers={"sec-fetch-site": "cross-site"})
        assert await postroom.value(looks, str(event_id)) == 0
        form = await visitor.form_id()
        shown = await visitor.act(path, form=form)
        again = await visitor.act(path, form=form)
    assert (by_get.status_code, by_get.headers["location"]) == (303, f"/console/events/{event_id}")
    assert foreign.status_code == 403
    assert "Ada Lovelace" in words(shown.text)
    assert "n 1.50" in words(shown.text)
    assert shown.headers["cache-control"] == "no-store"
    assert (again.status_code, again.headers["location"]) == (303, f"/console/events/{event_id}")
    assert await postroom.value(looks, str(event_id)) == 1


async def test_the_why_page_leads_to_what_lies_around_the_event(postroom: Postroom, drain: Drain) -> None:
    await postroom.pool.execute(
        "insert into crm.contacts (ghl_contact_id, location_id, changed_at, content_hash) values ('c1', 'loc/1', now(), '')"
    )
    payload = '{"appointment": {"id": "a-1", "contact_id": "c1"}}'
    cause = await postroom.value("select outbox.stage('appointment.confirmd', $1::jsonb, lane => 'appointment:a-1')", payload)
    async with postroom.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"set local postroom.event = {cause}")
        effect = await connection.fetchval("select outbox.stage('test.phone', '{}', lane => 'contact:c1')")
    await drain(DYING)
    async with looking(postroom) as visitor:
        page = await visitor.page(f"/console/events/{cause}")
        html = (await visitor.get(f"/console/events/{cause}")).text
        other = await visitor.page(f"/console/events/{effect}")
    assert "No route: none of the" in page
    assert "Replay with today's routes" in page
    assert 'href="https://app.gohighlevel.com/v2/location/loc%2F1/contacts/detail/c1"' in html
    assert f"Caused by #{cause} appointment.confirmd" in other
    assert "ghl:contact:c1" in other
    assert "Others that failed the same way" in other


async def test_what_phorest_has_is_named_by_its_id_and_opened_at_ghl_where_its_contact_is_known(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into crm.links (kind, ours, theirs, destination) values ('phorest-client', 'p1', 'c1', 'ghl')")
    (event_id,) = await put(postroom, "phorest:client:p1")
    async with looking(postroom) as visitor:
        unknown = await visitor.page("/console/lanes/one?lane=phorest%3Aclient%3Ap1")
        await postroom.pool.execute(
            "insert into crm.contacts (ghl_contact_id, location_id, changed_at, content_hash) values ('c1', 'loc_1', now(), '')"
        )
        lane = (await visitor.get("/console/lanes/one?lane=phorest%3Aclient%3Ap1")).text
        event = (await visitor.get(f"/console/events/{event_id}")).text
    assert "contact c1 Copy the id c1 (its location is not known here) · Phorest’s client p1 Copy the id p1" in unknown
    for page in (lane, event):
        assert 'href="https://app.gohighlevel.com/v2/location/loc_1/contacts/detail/c1"' in page
        assert 'data-copy="p1"' in page
        assert "/console/lanes/one?lane=ghl%3Acontact%3Ac1" in page


async def test_finding_leads_to_the_event_and_says_nothing_in_the_url(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "ghl:contact:c1")
    await postroom.pool.execute(
        "insert into crm.contacts (ghl_contact_id, email, changed_at, content_hash) values ('c1', 'ada@example.com', now(), '')"
    )
    async with looking(postroom) as visitor:
        by_id = await visitor.act("/console/find", text=f"#{event_id}")
        by_mail = await visitor.act("/console/find", text="ada@example.com")
        (other,) = await put(postroom, "contact:c1")
        both = await visitor.act("/console/find", text="ada@example.com")
        lanes = await visitor.page(both.headers["location"])
        await postroom.pool.execute("update crm.contacts set ghl_contact_id = 'c2'")
        quiet = await visitor.page((await visitor.act("/console/find", text="ada@example.com")).headers["location"])
        nobody = await visitor.page((await visitor.act("/console/find", text="+1 555 0100")).headers["location"])
    assert by_id.headers["location"] == f"/console/events/{event_id}"
    assert "lane=ghl%3Acontact%3Ac1" in by_mail.headers["location"]
    assert "ada" not in by_mail.headers["location"] + both.headers["location"]
    assert f"contact:c1 #{other} a ready" in lanes
    assert f"ghl:contact:c1 #{event_id} a ready" in lanes
    assert "nothing has ever happened in its lanes" in quiet
    for page in (quiet, nobody):
        assert "No event of it is known here" in page
        assert "The sender may never have sent it" in page
