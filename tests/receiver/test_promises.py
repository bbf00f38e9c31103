"""P1, P2 and P11, each with tests named after it."""

import asyncio
import json
import time

import httpx

from outbox.testing import Postroom
from receiver.ledger import KEPT_PER_S
from tests.receiver.relay import relay_to
from tests.receiver.running import (
    OPERATOR_TOKEN,
    PATIENCE_S,
    Talk,
    ghl_delivery,
    notion_delivery,
    settings,
    started,
    until,
)
from tests.receiver.senders import NOTION_TOKEN, WORKFLOW_SECRET


async def until_blocked(postroom: Postroom) -> None:
    asked = "select count(*) > 0 from pg_stat_activity where application_name = 'postroom:intake' and wait_event_type = 'Lock'"
    await until(lambda: postroom.value(asked))


async def test_p1_no_2xx_is_sent_before_the_commit(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        async with postroom.pool.acquire() as other, other.transaction():
            await other.execute("lock table outbox.keys in access exclusive mode")
            answer = asyncio.create_task(talk.webhook("ghl", ghl_delivery()))
            await until_blocked(postroom)
            assert not answer.done()
            assert await other.fetchval("select count(*) from outbox.events") == 0
        answered = await asyncio.wait_for(answer, PATIENCE_S)
        assert answered.status_code == 202
        assert [row["id"] for row in await postroom.staged()] == [answered.json()["id"]]


async def test_p1_a_commit_that_does_not_come_is_no_2xx(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        async with postroom.pool.acquire() as other, other.transaction():
            await other.execute("lock table outbox.keys in access exclusive mode")
            answers = [
                asyncio.create_task(talk.webhook("ghl", ghl_delivery())),
                asyncio.create_task(talk.webhook("notion", notion_delivery())),
            ]
            await until_blocked(postroom)
            await until(lambda: talk.desk.intake.waiting == 2)
            talk.desk.intake.expire(time.monotonic() + 60)
            statuses = [(await asyncio.wait_for(answer, PATIENCE_S)).status_code for answer in answers]
        assert statuses == [429, 503]


async def test_p2_one_delivery_to_two_receivers_at_once_is_accepted_once(postroom: Postroom) -> None:
    delivery = ghl_delivery()
    async with started(postroom) as one, started(postroom) as other:
        answers = await asyncio.gather(*(talk.webhook("ghl", delivery) for talk in (one, other) * 10))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.json()["duplicate"] for answer in answers].count(False) == 1
    assert (await postroom.totals())["accepted"] == 1


async def test_p2_many_deliveries_to_two_receivers_in_opposite_orders_do_not_deadlock(postroom: Postroom) -> None:
    deliveries = [ghl_delivery() for _ in range(50)]
    async with started(postroom) as one, started(postroom) as other:
        answers = await asyncio.gather(
            *(delivered(one, delivery) for delivery in deliveries),
            *(delivered(other, delivery) for delivery in reversed(deliveries)),
        )
    assert {answer.status_code for answer in answers} == {202}
    assert (await postroom.totals())["accepted"] == 50


async def delivered(talk: Talk, delivery: tuple[dict[str, str], bytes]) -> httpx.Response:
    """As a sender does it: a receiver that has no core asks it to come again."""
    while True:
        answer = await talk.webhook("ghl", delivery)
        if answer.status_code != 429:
            return answer
        await asyncio.sleep(0.1)


async def reject_some(talk: Talk, count: int) -> None:
    """Bad signatures whose bodies are full of secrets."""
    body = json.dumps({"verification_token": "secret_abcdefghijklmnop", "note": f"Bearer {OPERATOR_TOKEN}", "who": WORKFLOW_SECRET})
    for _ in range(count):
        answer = await talk.webhook("ghl", ({"x-ghl-signature": "bm8=", "authorization": f"Bearer {WORKFLOW_SECRET}"}, body.encode()))
        assert answer.status_code == 401


async def test_p11_rejected_requests_are_all_counted_and_kept_bounded_in_number_and_size(postroom: Postroom) -> None:
    began = time.monotonic()
    async with started(postroom) as talk:
        await reject_some(talk, 60)
        seconds = time.monotonic() - began
        assert (await talk.webhook("ghl", ({}, b"x" * 300_000))).status_code == 413
        await talk.flushed()
    [counted] = await postroom.rows("select rejected, accepted, last_rejected from outbox.sources where name = 'ghl'")
    assert counted == {"rejected": 61, "accepted": 0, "last_rejected": "too_large"}
    kept = await postroom.rows("select length(body_head) size, body_bytes from outbox.rejected")
    assert KEPT_PER_S <= len(kept) <= KEPT_PER_S * (seconds + 2)  # a slow machine may take seconds over the sixty
    assert all(row["size"] <= 200 for row in kept)


async def test_p11_each_kind_of_refusal_is_kept_with_its_reason(postroom: Postroom) -> None:
    signed_but_no_object = notion_delivery()[0], b"[]"
    async with started(postroom) as talk:
        await talk.webhook("ghl", ({}, b"{}"))
        await talk.webhook("notion", signed_but_no_object)
        await talk.webhook("ghl-workflow", ({"x-webhook-secret": WORKFLOW_SECRET}, b"{not json"))
        await talk.webhook("standard/shop", ({"content-encoding": "gzip"}, b"{}"))
        await talk.webhook("standard/unheard-of", ({}, b"{}"))
        await talk.webhook("ghl", ({}, b" " * 300_000))
        await talk.flushed()
    kept = await postroom.rows("select source, reason, remote from outbox.rejected order by source, reason")
    assert [(row["source"], row["reason"]) for row in kept] == [
        ("ghl", "bad_signature"),
        ("ghl", "too_large"),
        ("ghl-workflow", "malformed"),
        ("notion", "bad_signature"),
        ("standard", "not_configured"),
        ("standard:shop", "compressed"),
    ]
    assert {row["remote"] for row in kept} == {"127.0.0.0/24"}


async def test_p11_nothing_that_is_kept_holds_a_secret(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        await reject_some(talk, 3)
        await talk.flushed()
    kept = str(await postroom.rows("select * from outbox.rejected"))
    assert "note" in kept
    for secret in ("secret_abcdefghijklmnop", OPERATOR_TOKEN, WORKFLOW_SECRET, NOTION_TOKEN, "bm8="):
        assert secret not in kept


async def test_p11_counts_survive_an_outage_of_the_database(postroom: Postroom) -> None:
    async with relay_to(postroom.dsn) as relay, started(relay.dsn, settings()) as talk:
        await relay.cut()
        await reject_some(talk, 30)
        assert not await talk.desk.ledger.flush(talk.desk.pool)
        await relay.open()
        await until(lambda: talk.desk.ledger.flush(talk.desk.pool))
    assert await postroom.value("select rejected from outbox.sources where name = 'ghl'") == 30
    assert await postroom.value("select count(*) from outbox.rejected") >= KEPT_PER_S
