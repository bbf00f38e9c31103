"""The pages of dead letters and plans: what they show, and that each act does what it says."""

import re

from outbox import Event
from outbox.testing import Drain, Postroom
from tests.console.visiting import looking, operating, words
from tests.outbox.engine import put
from tests.receiver.test_api_dead_letters import DYING
from tests.receiver.test_api_events import stage_all


async def test_a_group_is_planned_started_and_stopped(postroom: Postroom, drain: Drain) -> None:
    await stage_all(postroom, *(Event("test.phone", {"n": n, "kind": "x"}, lane=f"lane-{n}") for n in range(3)))
    await drain(DYING)
    group = await postroom.value("select fingerprint from outbox.dead limit 1")
    async with operating(postroom) as visitor:
        groups = await visitor.page("/console/dead")
        assert "test.phone: no phone" in groups
        one = await visitor.page(f"/console/dead/{group}")
        assert "3 dead, 3 lanes" in one
        assert "Same in all kind Different n" in one
        await visitor.act("/console/acts/note", group=group, note="letters in the phone")
        assert "letters in the phone" in await visitor.page("/console/dead")
        made = await visitor.act("/console/acts/plan", group=group)
        path = made.headers["location"]
        plan = int(re.sub(r"\D", "", path))
        shown = await visitor.page(path)
        assert "retry 3 dead letters" in shown
        assert "waits 3 adds up to 3 of 3" in shown
        await visitor.act("/console/acts/plan/start", plan=str(plan))
        assert "under way 1" in await visitor.page(path)
        await postroom.pool.execute("update outbox.plans set state = 'resting'")  # as a dispatcher says when its canary is over
        assert "Continue with the last 2" in await visitor.page(path)
        await visitor.act("/console/acts/plan/stop", plan=str(plan))
        assert "stopped by otto" in await visitor.page(path)
    acts = [row["what"] for row in await postroom.rows("select what from outbox.audit where via = 'console' order by id")]
    assert acts[-4:] == ["note on group", "plan retry", "start plan", "stop plan"]


async def test_a_dead_letter_says_what_a_retry_would_mean_and_is_retried(postroom: Postroom, drain: Drain) -> None:
    [event_id] = await stage_all(postroom, Event("test.phone", {}, lane="chair:1"))
    await drain(DYING)
    await put(postroom, "chair:1", kind="test.unheard")
    await drain(DYING)
    await postroom.pool.execute("update outbox.attempts set outcome = 'd' where outcome = 's'")
    async with operating(postroom) as visitor:
        page = await visitor.page(f"/console/events/{event_id}")
        assert "It is a dead letter after the first attempt: no phone." in page
        assert "1 newer event of this lane is done; this one applies only if it is newer." in page
        await visitor.act("/console/acts/retry", event=str(event_id))
        again = await visitor.act("/console/acts/retry", event=str(event_id))
        assert "Only a dead letter is retried" in await visitor.page(again.headers["location"])
    assert await postroom.value("select count(*) from outbox.audit where what = 'retry'") == 1


async def test_causes_are_filtered_and_what_a_filter_finds_is_planned(postroom: Postroom, drain: Drain) -> None:
    await stage_all(postroom, *(Event("test.phone", {}) for _ in range(2)), Event("test.mail", {}))
    await drain({**DYING, "test.mail": DYING["test.phone"]})
    await postroom.pool.execute(
        "update outbox.dead set reason = 'ghl answered 401' where event_id = (select max(event_id) from outbox.dead)"
    )
    await postroom.pool.execute("update outbox.dead set died_at = now() - interval '3 days' where reason <> 'ghl answered 401'")
    async with operating(postroom) as visitor:
        by_class = await visitor.page("/console/dead?class=unauthorised")
        by_time = (await visitor.get("/console/dead?since=24h")).text
        odd = await visitor.page("/console/dead?class=never")
        fields = dict(
            re.findall(r'name="(all|kind|since)" value="([^"]*)"', by_time.partition("/console/acts/plan")[2].partition("</form>")[0])
        )
        made = await visitor.act("/console/acts/plan", **fields)
        everything = await visitor.act("/console/acts/plan", all="1")
        strange = await visitor.act("/console/acts/plan", all="1", since="soon")
        plan = await visitor.page(made.headers["location"])
        whole = await visitor.page(everything.headers["location"])
    assert ("test.mail" in words(by_time), "test.phone: no phone" in words(by_time)) == (True, False)
    assert "ghl answered 401" in by_class
    assert "A plan of several groups knows kinds and times only" in by_class
    assert "ignored: class=never" in odd
    assert set(fields) == {"all", "since"}
    assert "retry 1 dead letter" in plan
    assert "retry 3 dead letters" in whole
    assert strange.status_code == 422


async def test_what_a_retry_does_not_repeat_stands_with_the_group_and_with_the_event(postroom: Postroom, drain: Drain) -> None:
    first, second = await stage_all(postroom, Event("test.phone", {"n": 1}), Event("test.phone", {"n": 2}))
    await drain(DYING)
    await postroom.pool.execute("insert into outbox.steps (event_id, name, attempt, entry) values ($1, 'create-note', 1, 'd')", first)
    async with looking(postroom) as visitor:
        groups = await visitor.page("/console/dead")
        done, not_done = await visitor.page(f"/console/events/{first}"), await visitor.page(f"/console/events/{second}")
    assert "create-note 1 of 2" in groups
    assert "Not repeated: create-note" in done
    assert "Not repeated" not in not_done


async def test_a_discard_of_many_asks_for_the_number(postroom: Postroom, drain: Drain) -> None:
    await stage_all(postroom, *(Event("test.phone", {}) for _ in range(2)))
    await drain(DYING)
    group = await postroom.value("select fingerprint from outbox.dead limit 1")
    async with operating(postroom) as visitor:
        made = await visitor.act("/console/acts/plan", group=group, act="discard", reason="known")
        plan = re.sub(r"\D", "", made.headers["location"])
        await visitor.act("/console/acts/plan/start", plan=plan, number="3")
        assert (await postroom.totals())["dead"] == 2
        await visitor.act("/console/acts/plan/start", plan=plan, number="2")
    assert await postroom.totals() == {"accepted": 2, "pending": 0, "done": 0, "skipped": 2, "dead": 0}
