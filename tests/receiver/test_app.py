"""The webhook routes as a sender meets them: what is accepted, what is refused, and with which words."""

import asyncio
import json
import time
from collections.abc import Callable

import httpx
import pytest

from outbox.testing import Postroom
from outbox.timeline import SIGNED_BY
from receiver.app import Receiver, create_app
from simulators.samples import ghl_contact_event
from simulators.shapes import compact
from simulators.signing import GhlSigner, sign_notion
from tests.receiver.running import (
    JSON,
    UNUSED_DSN,
    Talk,
    ghl_delivery,
    notion_delivery,
    sealer,
    settings,
    standard_delivery,
    started,
    until,
    workflow_delivery,
)
from tests.receiver.senders import NOTION_TOKEN

Delivery = tuple[dict[str, str], bytes]
DELIVERIES: dict[str, Callable[[], Delivery]] = {
    "ghl": ghl_delivery,
    "ghl-workflow": workflow_delivery,
    "notion": notion_delivery,
    "standard/shop": lambda: standard_delivery("msg_1", int(time.time())),
}


def problem(answer: httpx.Response) -> dict[str, object]:
    """The body of a refusal, in the one shape that refusals have."""
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, object] = answer.json()
    assert said["status"] == answer.status_code
    assert str(said["type"]).startswith("urn:postroom:")
    return said


@pytest.mark.parametrize("source", DELIVERIES)
async def test_a_signed_webhook_is_accepted_and_its_repeat_is_a_duplicate(postroom: Postroom, source: str) -> None:
    delivery = DELIVERIES[source]()
    async with started(postroom) as talk:
        first, repeat = await talk.webhook(source, delivery), await talk.webhook(source, delivery)
    assert (first.status_code, repeat.status_code) == (202, 202)
    assert first.json() == {"id": first.json()["id"], "duplicate": False}
    assert repeat.json() == {"id": first.json()["id"], "duplicate": True}
    assert first.json()["id"] < 2**53
    [event] = await postroom.staged()
    assert (event["id"], event["source"], event["payload"]) == (first.json()["id"], source.replace("/", ":"), delivery[1].decode())


async def test_the_body_is_kept_byte_by_byte(postroom: Postroom) -> None:
    body = b'{ "type":"ContactCreate", "id":"c1", "n":1e999, "webhookId":"w1",\r\n "name":"Zo\xc3\xab", "x":1, "x":2 }'
    async with started(postroom) as talk:
        answer = await talk.webhook("ghl", ({**JSON, **GhlSigner.for_demo().headers(body)}, body))
        assert answer.status_code == 202
        shown = (await talk.get(f"/api/events/{answer.json()['id']}", payload=1)).json()
    assert await postroom.value("select payload from outbox.events") == body
    assert shown["payload"].encode() == body


async def test_no_signature_is_kept_with_the_event(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        for source, delivery in DELIVERIES.items():
            await talk.webhook(source, delivery())
    kept = [json.loads(row["headers"]) for row in await postroom.rows("select headers from outbox.events")]
    assert len(kept) == 4
    assert {name for headers in kept for name in headers} <= {
        "content-type",
        "user-agent",
        "webhook-id",
        "webhook-timestamp",
        SIGNED_BY,
    }


def forged() -> list[tuple[str, Delivery]]:
    """Everything that has to do with who sent it."""
    body = compact(ghl_contact_event())
    stranger = GhlSigner.generate()
    notion = notion_delivery()[1]
    return [
        ("ghl", (JSON, body)),
        ("ghl", ({**JSON, "x-ghl-signature": ""}, body)),
        ("ghl", ({**JSON, "x-ghl-signature": "not base64 !"}, body)),
        ("ghl", ({**JSON, **stranger.headers(body)}, body)),
        ("ghl", ({**JSON, **GhlSigner.for_demo().headers(body)}, body + b" ")),
        ("ghl", (JSON, b"\xff\x00 not json")),
        ("notion", (JSON, notion)),
        ("notion", ({**JSON, **sign_notion(notion, "a-token-of-a-stranger")}, notion)),
        ("notion", ({**JSON, "x-notion-signature": "sha256=zz"}, notion)),
        ("ghl-workflow", (JSON, b"{}")),
        ("ghl-workflow", ({**JSON, "x-webhook-secret": "wrong-wrong-wrong"}, b"{}")),
        ("standard/shop", standard_delivery("msg_1", int(time.time()) - 10 * 24 * 3600)),
        ("standard/shop", ({**JSON, "webhook-id": "1"}, b"{}")),
        ("standard/nobody", standard_delivery("msg_1", int(time.time()))),
    ]


async def test_every_failure_of_proof_has_one_and_the_same_answer(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        answers = [await talk.webhook(source, delivery) for source, delivery in forged()]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1
    problem(answers[0])
    assert (await postroom.totals())["accepted"] == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"id":"c1"}', b'{"type":7}', b"\xff\xfe", b'{"type":"A\\u0000"}'])
async def test_a_rightly_signed_message_that_makes_no_sense_is_a_400(postroom: Postroom, body: bytes) -> None:
    async with started(postroom) as talk:
        answer = await talk.webhook("ghl", ({**JSON, **GhlSigner.for_demo().headers(body)}, body))
    assert answer.status_code == 400
    assert problem(answer)["type"] == "urn:postroom:bad-request"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("source", ["ghl", "notion", "standard/shop", "standard/nobody"])
async def test_another_method_is_a_405_that_says_what_is_allowed(postroom: Postroom, method: str, source: str) -> None:
    async with started(postroom) as talk:
        answer = await talk.client.request(method, f"/api/webhooks/{source}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert (answer.content == b"") == (method == "HEAD")


@pytest.mark.parametrize("path", ["/", "/api/webhooks/", "/api/webhooks/nobody", "/api/webhooks/standard/UPPER", "/api/webhooks/ghl/"])
async def test_an_unknown_path_is_a_404_problem(postroom: Postroom, path: str) -> None:
    async with started(postroom) as talk:
        answer = await talk.client.post(path, content=b"{}")
    assert answer.status_code == 404
    assert problem(answer)["instance"] == path


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
async def test_a_compressed_body_is_a_415(postroom: Postroom, encoding: str) -> None:
    headers, body = ghl_delivery()
    async with started(postroom) as talk:
        answer = await talk.webhook("ghl", ({**headers, "content-encoding": encoding}, body))
    assert answer.status_code == 415
    problem(answer)


async def test_identity_is_no_compression(postroom: Postroom) -> None:
    headers, body = ghl_delivery()
    async with started(postroom) as talk:
        assert (await talk.webhook("ghl", ({**headers, "content-encoding": "identity"}, body))).status_code == 202


async def test_a_head_is_the_head_of_the_get(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        for path in ("/healthz", "/openapi.json", "/api/webhooks/ghl/health", "/nowhere"):
            get, head = await talk.client.get(path), await talk.client.head(path)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-length"] == str(len(get.content))


async def away(talk: Talk) -> None:
    """This receiver has known for a while that its database is away."""
    talk.desk.intake._down_since = time.monotonic() - 60
    await talk.desk.intake.stop(timeout_s=0)


async def test_without_its_database_ghl_is_told_429_and_everybody_else_503(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        await until(lambda: talk.desk.notion.is_known)
        await away(talk)
        answers = {source: await talk.webhook(source, delivery()) for source, delivery in DELIVERIES.items()}
    assert {source: answer.status_code for source, answer in answers.items()} == {
        "ghl": 429,
        "ghl-workflow": 429,
        "notion": 503,
        "standard/shop": 503,
    }
    assert all(int(answer.headers["retry-after"]) > 0 and problem(answer) for answer in answers.values())


async def test_an_overloaded_receiver_says_429_and_when_to_come_again(postroom: Postroom) -> None:
    async with started(postroom, settings(max_waiting=1)) as talk:
        async with postroom.pool.acquire() as other, other.transaction():
            await other.execute("lock table outbox.keys in access exclusive mode")
            taken = [asyncio.create_task(talk.webhook("ghl", ghl_delivery()))]
            await until(lambda: len(talk.desk.intake._flight) == 1)
            taken.append(asyncio.create_task(talk.webhook("ghl", ghl_delivery())))
            await until(lambda: talk.desk.intake.waiting == 2)
            refused = await talk.webhook("notion", notion_delivery())
        assert [(await one).status_code for one in taken] == [202, 202]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert problem(refused)["type"] == "urn:postroom:busy"


async def test_a_receiver_starts_and_says_so_without_its_database() -> None:
    async with started(UNUSED_DSN) as talk:
        assert (await talk.client.get("/healthz")).status_code == 200
        ready = await talk.client.get("/readyz")
        assert ready.status_code == 503
        assert problem(ready)


async def test_a_notion_signature_is_not_judged_before_the_promoted_tokens_are_known() -> None:
    async with started(UNUSED_DSN) as talk:
        unknown = await talk.webhook("notion", notion_delivery("a-token-that-may-be-promoted"))
        forgery = await talk.webhook("ghl", (JSON, b"{}"))
    assert (unknown.status_code, forgery.status_code) == (503, 401)


async def test_an_app_that_was_not_started_asks_to_come_again() -> None:
    transport = httpx.ASGITransport(app=create_app(UNUSED_DSN, settings(), sealer=sealer()))
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver.example") as client:
        answers = [await client.post("/api/webhooks/ghl"), await client.get("/api/events")]
    assert [answer.status_code for answer in answers] == [503, 503]


async def test_our_own_fault_asks_the_sender_to_come_again(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async with started(postroom) as talk:
        monkeypatch.setattr(talk.desk.ledger, "accepted", lambda *_, **__: broken())
        answers = [await talk.webhook("ghl", ghl_delivery()), await talk.webhook("notion", notion_delivery())]
    assert [answer.status_code for answer in answers] == [429, 503]
    assert "fault of ours" not in answers[0].text


async def test_ghl_app_id_and_rsa_follow_the_settings(postroom: Postroom) -> None:
    body = compact(ghl_contact_event(app_id="app-1"))
    headers = {**JSON, **GhlSigner.for_demo().headers(body)}
    async with started(postroom, settings(ghl_app_id="app-2")) as talk:
        assert (await talk.webhook("ghl", (headers, body))).status_code == 401
    async with started(postroom, settings(ghl_app_id="app-1", ghl_accept_rsa=True)) as talk:
        assert (await talk.webhook("ghl", (headers, body))).status_code == 202
        assert "RSA" in (await talk.client.get("/api/webhooks/ghl/health")).json()["scheme"]


async def test_an_age_limit_turns_old_messages_away(postroom: Postroom) -> None:
    old = standard_delivery("msg_old", int(time.time()) - 3600)
    async with started(postroom, settings(webhook_max_age_s=600)) as talk:
        assert (await talk.webhook("standard/shop", old)).status_code == 401
    async with started(postroom) as talk:
        assert (await talk.webhook("standard/shop", old)).status_code == 202


async def test_stopping_answers_what_waits_and_writes_the_counts(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        assert (await talk.webhook("notion", notion_delivery(NOTION_TOKEN))).status_code == 202
    assert await postroom.value("select accepted from outbox.sources where name = 'notion'") == 1
    assert isinstance(talk.app, Receiver)
    assert talk.app.desk is None
