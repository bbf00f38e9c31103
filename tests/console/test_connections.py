"""Connections: pausing and resuming, Notion's tokens, rejected requests."""

from datetime import UTC, datetime, timedelta

from outbox.store import budgets, calls, connections, destinations, events, handshakes, routes
from outbox.store.routes import Told
from outbox.testing import Postroom
from receiver.console.pages.connections import judged
from tests.console.visiting import looking, operating
from tests.receiver.running import ghl_delivery, sealer


async def test_a_destination_is_paused_with_a_reason_and_resumed(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        assert (await visitor.act("/console/connections/notion/pause")).status_code == 422
        await visitor.act("/console/connections/notion/pause", reason="schema change", minutes="5")
        paused = await visitor.page("/console/connections")
        await visitor.act("/console/connections/notion/resume")
        resumed = await visitor.page("/console/connections")
        await visitor.act("/console/connections/notion/resume")
        again = await visitor.page("/console/connections")
        assert (await visitor.act("/console/connections/NOTION;/pause", reason="x")).status_code == 404
    assert "paused by otto “schema change”" in paused
    assert "Paused notion for 5 m 00 s." in paused
    assert "(1) Connections" in paused
    assert "Resumed notion: no event waits; they go at the rate of its budget." in resumed
    assert "notion flows already. Nothing was changed." in again
    acts = await postroom.rows("select who, via, what, target, reason from outbox.audit where what in ('pause', 'resume') order by id")
    assert acts == [
        {"who": "otto", "via": "console", "what": "pause", "target": "notion", "reason": "schema change"},
        {"who": "otto", "via": "console", "what": "resume", "target": "notion", "reason": None},
    ]


async def test_a_destination_shows_its_calls_of_today_and_when_its_token_ends(postroom: Postroom) -> None:
    await budgets.learn(postroom.pool, "ghl:loc_1", pause_s=0.0, daily_left=158_800)
    rate = "burst = 100, per_s = 10, tokens = 37, at = clock_timestamp() + interval '1 min'"  # ahead: nothing is refilled meanwhile
    await postroom.pool.execute(f"update outbox.budgets set used = 41200, {rate}")
    await calls.add(postroom.pool, [("ghl", 10, 199, 0), ("ghl", 16, 1, 1)])
    await postroom.pool.execute("insert into outbox.calls values (now() - interval '3 h', 'ghl', 10, 200, 200)")
    now = await events.clock(postroom.pool)
    await connections.connect(postroom.pool, "ghl:loc_9", provider="ghl", account="loc_9", sealed=b"x", expires_in_s=2990, at=now)
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/connections")
    assert "41,200 of 200,000 calls today" in page
    assert "63 of 100 per 10 s" in page
    assert "99.5 % of calls well, 1 h" in page
    assert "ends in 49 m" in page


async def test_users_who_have_to_consent_again_are_told_as_one_row_that_leads_to_them(postroom: Postroom) -> None:
    now = await events.clock(postroom.pool)
    for user in ("ada", "brendan"):
        destination = f"google:{user}"
        await connections.connect(postroom.pool, destination, provider="google", account=user, sealed=b"x", expires_in_s=60, at=now)
    await connections.give_up(postroom.pool, "google:ada", version=1, why="Token has been expired or revoked.")
    await destinations.open_breaker(postroom.pool, "google:ada", why="refused", probe_in_s=300, unauthorised=True)
    async with operating(postroom) as visitor:
        page = (await visitor.get("/console/connections")).text
        monitor = (await visitor.talk.get("/api/monitor")).json()
    assert "1 user needs consent" in page
    assert 'href="/console/google?light=grey"' in page
    assert "google:ada" not in page
    assert "google:brendan" not in page
    assert "google: 1 user needs consent" in monitor["systemHealth"]["issues"]
    assert any("`postroom connect google --user USER`" in one for one in monitor["recommendations"])


async def test_a_candidate_of_notion_is_promoted_after_a_dialog(postroom: Postroom) -> None:
    sealed = sealer().seal("secret_candidate_token_for_tests")
    candidate = await handshakes.offer(postroom.pool, "notion", sealed=sealed, fingerprint="cafe0123", remote="203.0.113.0/24")
    async with operating(postroom) as visitor:
        before = (await visitor.get("/console/connections")).text
        await visitor.act(f"/console/connections/handshakes/{candidate}/promote")
        after = await visitor.page("/console/connections")
    assert "cafe0123" in before
    assert "secret_candidate" not in before
    assert "The token cafe0123 is in use." in after
    assert await postroom.value("select promoted_by from outbox.handshakes") == "otto"


async def test_rejected_requests_are_listed_and_a_viewer_sees_no_body(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        headers, body = ghl_delivery()
        await visitor.talk.webhook("ghl", (headers, body + b" "))
        await visitor.talk.flushed()
        seen = await visitor.page("/console/rejected?source=ghl&reason=bad_signature")
        other = await visitor.page("/console/rejected?source=ghl&reason=stale")
        connections = await visitor.page("/console/connections")
    async with looking(postroom) as visitor:
        masked = await visitor.page("/console/rejected")
        listed = (await visitor.get("/console/connections")).text
    assert "bad signature" in seen
    assert "ContactCreate" in seen
    assert "ContactCreate" not in masked
    assert "Nothing like this was turned away." in other
    assert "1 bad signature" in connections
    assert "needs the operator role" in listed
    assert '<dialog id="pause-' not in listed


async def test_a_source_shows_its_24_hours_its_rejections_by_reason_and_which_key_is_safe_to_remove(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        keys = visitor.talk.desk.webhooks.doors["ghl"].source.describe().keys
        await visitor.talk.webhook("ghl", ghl_delivery())
        headers, body = ghl_delivery()
        await visitor.talk.webhook("ghl", (headers, body + b" "))
        await visitor.talk.flushed()
        await visitor.talk.webhook("ghl", (headers, body + b" "))  # not written yet
        await postroom.pool.execute(
            "insert into outbox.source_counts values (now() - interval '25 h', 'ghl', 'accepted', 999),"
            " (now() - interval '3 h', 'ghl', 'stale', 7)"
        )
        page = await visitor.page("/console/connections")
    assert "matched last" in page
    assert keys[0][:10] in page
    assert "7 stale" in page
    assert "2 bad signature" in page
    assert "999" not in page


def test_a_key_may_go_once_another_has_matched_and_it_has_not_for_days() -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    ages = {"old": 8, "lately": 6, "new": 0}
    keys = {
        key.fingerprint: key
        for key in judged(["old", "lately", "new", "next"], {k: now - timedelta(days=d) for k, d in ages.items()}, now=now)
    }
    assert [name for name, key in keys.items() if key.may_go] == ["old"]
    assert [name for name, key in keys.items() if key.is_last] == ["new"]
    assert not judged(["only"], {"only": now - timedelta(days=90)}, now=now)[0].may_go


async def test_a_test_is_audited_and_leads_to_where_its_answer_is_shown(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        asked = await visitor.act("/console/connections/ghl:loc_1/test")
        assert "A dispatcher asks ghl:loc_1" in await visitor.page(asked.headers["location"])
        told = [Told("connection.test.notion", "x.test_notion", "notion", 30, "never", (), None, "NOTION_API_KEY is missing")]
        async with postroom.pool.acquire() as connection:
            await routes.tell(connection, told)
        assert "NOTION_API_KEY is missing" in await visitor.page("/console/connections")
        refused = await visitor.act("/console/connections/notion/test")
        assert "notion is not set up: NOTION_API_KEY is missing." in await visitor.page(refused.headers["location"])
        assert "There is no test of smtp" in await visitor.page((await visitor.act("/console/connections/smtp/test")).headers["location"])
    async with looking(postroom) as visitor:
        assert (await visitor.act("/console/connections/notion/test")).status_code == 403
    event = await postroom.rows("select id, kind, convert_from(payload, 'UTF8')::jsonb payload from outbox.events")
    assert [(row["kind"], row["payload"]) for row in event] == [("connection.test.ghl", '{"locationId": "loc_1"}')]
    audited = await postroom.rows("select target, result from outbox.audit where what = 'test'")
    assert audited[0]["target"] == "ghl:loc_1"
    assert str(event[0]["id"]) in str(audited[0]["result"])


async def test_the_key_that_matched_before_keys_were_counted_is_not_said_to_be_new(postroom: Postroom) -> None:
    async with operating(postroom) as visitor:
        key = visitor.talk.desk.webhooks.doors["ghl"].source.describe().keys[0]
        await postroom.pool.execute(
            "insert into outbox.sources (name, accepted, last_accepted_at, last_fingerprint) values ('ghl', 1, now() - interval '2 h', $1)",
            key,
        )
        page = await visitor.page("/console/connections")
    assert "✓ matched last, 2 h ago" in page
