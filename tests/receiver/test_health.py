"""What is open to everybody: it says enough to know what is wrong, and nothing that is a secret."""

import re
import time

from prometheus_client.parser import text_string_to_metric_families

from outbox import Event, stage
from outbox.testing import Postroom
from tests.receiver.relay import relay_to
from tests.receiver.running import (
    OPERATOR_TOKEN,
    UNUSED_DSN,
    VIEWER_TOKEN,
    ghl_delivery,
    notion_delivery,
    settings,
    standard_delivery,
    started,
    until,
)
from tests.receiver.senders import NOTION_TOKEN, STANDARD_SECRET, WORKFLOW_SECRET

SOURCES = ("ghl", "ghl-workflow", "notion", "standard/shop")


async def test_a_sources_health_says_what_came_in_and_what_was_turned_away(postroom: Postroom) -> None:
    delivery = ghl_delivery()
    async with started(postroom) as talk:
        for _ in range(2):
            await talk.webhook("ghl", delivery)
        await talk.webhook("ghl", ({}, b"{}"))
        unwritten = (await talk.client.get("/api/webhooks/ghl/health")).json()
        await talk.flushed()
        written = (await talk.client.get("/api/webhooks/ghl/health")).json()
    assert {key: written[key] for key in ("accepted", "duplicates", "rejected", "last_rejected")} == {
        "accepted": 1,
        "duplicates": 1,
        "rejected": 1,
        "last_rejected": "bad_signature",
    }
    assert written["last_accepted_key"] in written["keys"]
    assert unwritten == written  # what is not written yet counts too


async def test_a_sources_health_says_what_is_switched_off_and_how_to_switch_it_on(postroom: Postroom) -> None:
    async with started(postroom, settings(ghl_workflow_secrets="", standard_secrets="")) as talk:
        workflow = (await talk.client.get("/api/webhooks/ghl-workflow/health")).json()
        unknown = await talk.client.get("/api/webhooks/standard/shop/health")
    assert not workflow["configured"]
    assert "GHL_WORKFLOW_SECRETS" in workflow["switched_off"][0]
    assert unknown.status_code == 404


async def test_health_is_open_and_holds_no_secret(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        paths = ["/healthz", "/readyz", "/metrics", "/openapi.json", *(f"/api/webhooks/{source}/health" for source in SOURCES)]
        answers = [await talk.client.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    said = "".join(answer.text for answer in answers)
    for secret in (NOTION_TOKEN, STANDARD_SECRET, WORKFLOW_SECRET, VIEWER_TOKEN, OPERATOR_TOKEN, postroom.dsn, "otto", "vera"):
        assert re.search(rf"\b{re.escape(secret)}\b", said) is None


async def test_health_is_told_while_the_database_is_away() -> None:
    async with started(UNUSED_DSN) as talk:
        await talk.webhook("ghl", ({}, b"{}"))
        health = (await talk.client.get("/api/webhooks/ghl/health")).json()
    assert (health["database"], health["rejected"]) == ("away", 1)


async def test_readiness_follows_the_database(postroom: Postroom) -> None:
    async with relay_to(postroom.dsn) as relay, started(relay.dsn) as talk:

        async def status() -> int:
            return (await talk.client.get("/readyz")).status_code

        async def is_ready() -> bool:
            return await status() == 200

        await until(is_ready)
        await relay.cut()
        await until(lambda: not talk.desk.intake.is_up)
        assert await status() == 503
        assert (await talk.client.get("/healthz")).status_code == 200
        await relay.open()
        await until(is_ready)


async def test_readiness_says_whether_somebody_looks_for_dispatchers(postroom: Postroom) -> None:
    for watches in (False, True):
        async with started(postroom, watches=watches) as talk:
            assert (await talk.client.get("/readyz")).json()["watches"] is watches


async def test_readiness_names_the_schema_when_it_does_not_fit(postroom: Postroom) -> None:
    await postroom.pool.execute("insert into outbox.migrations (version, name) values (9999, 'of a newer Postroom')")
    try:
        async with started(postroom) as talk:
            answer = await talk.client.get("/readyz")
    finally:
        await postroom.pool.execute("delete from outbox.migrations where version = 9999")
    assert answer.status_code == 503
    assert "9999" in answer.json()["detail"]


async def test_metrics_are_numbers_that_prometheus_reads(postroom: Postroom) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        await stage(connection, Event("test.waits", {}))
    async with started(postroom) as talk:
        await talk.webhook("notion", notion_delivery())
        await talk.webhook("standard/shop", standard_delivery("m1", int(time.time())))
        await talk.webhook("ghl", ({}, b"{}"))
        answer = await talk.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["postroom_webhooks_total", "accepted", "notion"] == 1
    assert samples["postroom_webhooks_total", "bad_signature", "ghl"] == 1
    assert samples["postroom_intake_rows_total",] == 2
    assert samples["postroom_events", "pending"] == 3
    assert samples["postroom_database_up",] == 1


async def test_metrics_are_told_while_the_database_is_away() -> None:
    async with started(UNUSED_DSN) as talk:
        answer = await talk.client.get("/metrics")
    assert answer.status_code == 200
    assert "postroom_database_up 0.0" in answer.text
