"""What is kept of a rejected request: its first bytes without secrets; and the ledger that counts it."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.testing import Postroom
from receiver import ledger as ledgers
from receiver.body_head import HEAD_BYTES, head_of
from receiver.ledger import KEPT_IN_MEMORY, Ledger
from tests.receiver.running import started, until

WAITS_FOR_A_LOCK = """select count(*) > 0 from pg_stat_activity
                      where datname = current_database() and query like '%outbox.rejected%' and wait_event_type = 'Lock'"""
NOW = datetime(2026, 10, 5, 9, 5, tzinfo=UTC)
SECRETS = st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=24, max_size=80).filter(
    lambda text: any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
)


@pytest.mark.parametrize(
    "body",
    [
        b'{"verification_token":"SECRET"}',
        b'{"a": 1, "client_secret" : "SECRET", "b": 2}',
        b'{"apiKey":"SECRET","name":"Ada"}',
        b"{'password': 'SECRET'}",
        b'{"token": "SECRET',
        b"grant=1&access_token=SECRET&x=2",
        b"Authorization: Bearer SECRET",
        b"x-webhook-secret: SECRET\r\n",
        b'{"nested":{"Set-Cookie":"SECRET"}}',
    ],
)
def test_a_value_under_a_telling_name_is_blanked(body: bytes) -> None:
    kept = head_of(body.replace(b"SECRET", b"sesame99"))
    assert b"sesame99" not in kept
    assert b"***" in kept


@pytest.mark.parametrize(
    "token", ["whsec_c2VjcmV0c2VjcmV0", "pit-0000-1111-2222", "ntn_a1b2c3d4e5", "eyJhbGciOiJIUzI1.eyJzdWIi.c2ln", "a1" * 16]
)
def test_what_looks_like_a_token_is_blanked_wherever_it_stands(token: str) -> None:
    assert token.encode() not in head_of(json.dumps({"note": f"see {token} there"}).encode())


def test_ids_and_words_are_left_because_they_explain() -> None:
    body = b'{"type":"ContactCreate","id":"m8614FnsFfCr3exNY8HB","webhookId":"9062e8fb-8994-4b3c-bd91-280b42011652"}'
    assert head_of(body) == body


def test_a_configured_secret_is_blanked_as_it_is() -> None:
    assert head_of(b'{"hello":"correct horse battery"}', ["correct horse battery"]) == b'{"hello":"***"}'


@given(body=st.binary(max_size=3000))
def test_any_body_gives_a_bounded_head(body: bytes) -> None:
    assert len(head_of(body)) <= HEAD_BYTES


@given(before=st.binary(max_size=700), secret=SECRETS, after=st.binary(max_size=300))
def test_a_configured_secret_never_survives(before: bytes, secret: str, after: bytes) -> None:
    assert secret.encode() not in head_of(before + b" " + secret.encode() + b" " + after, [secret])


@given(padding=st.integers(min_value=0, max_value=700), secret=SECRETS)
def test_no_part_of_a_token_survives_at_a_cut(padding: int, secret: str) -> None:
    kept = head_of(b" " * padding + b'"' + secret.encode() + b'"' + b" " * 700)
    assert secret[:8].encode() not in kept


def test_rejected_requests_are_bounded_in_memory_and_all_counted() -> None:
    ledger = Ledger()
    for n in range(KEPT_IN_MEMORY + 100):
        ledger.rejected(f"source-{n}", "bad_signature", "none", network=None)
    assert len(ledger._turned) == KEPT_IN_MEMORY
    assert sum(ledger.totals.values()) == KEPT_IN_MEMORY + 100


async def test_counts_are_added_to_those_of_other_receivers(postroom: Postroom) -> None:
    for _ in range(2):
        ledger = Ledger()
        ledger.accepted("ghl", "abcd1234", duplicate=False, now=NOW)
        ledger.accepted("ghl", "abcd1234", duplicate=True, now=NOW)
        ledger.rejected("ghl", "too_old", "sent long ago", network=None)
        assert await ledger.flush(postroom.pool)
        assert await ledger.flush(postroom.pool)  # what was written is not written again
    [row] = await postroom.rows("select accepted, duplicates, rejected, last_accepted_at, last_fingerprint from outbox.sources")
    assert row == {"accepted": 2, "duplicates": 2, "rejected": 2, "last_accepted_at": NOW, "last_fingerprint": "abcd1234"}
    assert await postroom.value("select count(*) from outbox.rejected") == 2


async def test_what_a_flush_writes_while_its_task_is_cancelled_is_not_written_again(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that stops flushes once more; the last flush of its second may be at the database still."""
    monkeypatch.setattr(ledgers, "FLUSH_S", 0.01)
    ledger = Ledger()
    ledger.rejected("ghl", "bad_signature", "none", network=None)
    async with postroom.pool.acquire() as other, other.transaction():
        await other.execute("lock table outbox.rejected in access exclusive mode")
        run = asyncio.create_task(ledger.run(postroom.pool))
        await until(lambda: postroom.value(WAITS_FOR_A_LOCK))
        run.cancel()
        last = asyncio.create_task(ledger.flush(postroom.pool))
        await asyncio.wait([run])
    assert await last
    assert await postroom.value("select count(*) from outbox.rejected") == 1
    assert await postroom.value("select rejected from outbox.sources") == 1


async def test_a_viewer_reads_what_was_rejected_page_by_page(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        for body in (b"\xff\xfe first", b"second", b"third"):
            await talk.webhook("ghl", ({}, body))
        await talk.webhook("notion", ({}, b"other"))
        await talk.flushed()
        newest = (await talk.get("/api/rejected", viewer=True, source="ghl", limit=2)).json()
        older = (await talk.get("/api/rejected", viewer=True, source="ghl", limit=2, before=newest["next_before"])).json()
    assert [one["body_head"] for one in newest["rejected"] + older["rejected"]] == ["third", "second", "\\xff\\xfe first"]
    assert older["next_before"] is None
    assert newest["rejected"][0]["reason"] == "bad_signature"
    assert newest["rejected"][0]["network"] == "127.0.0.0/24"
