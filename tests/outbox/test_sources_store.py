"""What came in and what was turned away: totals that add, and a bounded collection of rejected requests (P11)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from outbox.store import audit, sources
from outbox.store.sources import Seen, Turned
from outbox.testing import Postroom

EARLY, LATE = datetime(2027, 1, 5, 10, tzinfo=UTC), datetime(2027, 1, 5, 11, tzinfo=UTC)
TURNED = Turned(datetime.now(UTC), "ghl", "signature", "no key matches", "192.0.2.0/24", 12, b'{"a": 1}')


async def test_what_receivers_saw_is_added_up(postroom: Postroom) -> None:
    await sources.count(postroom.pool, [Seen("ghl", 3, 1, 0, EARLY, None, None, "aa"), Seen("notion", 1)])
    await sources.count(postroom.pool, [Seen("ghl", 2, 0, 4, None, LATE, "signature", None)])
    row = await sources.one(postroom.pool, "ghl")
    assert row is not None
    assert dict(row) == {
        "name": "ghl",
        "accepted": 5,
        "duplicates": 1,
        "rejected": 4,
        "last_accepted_at": EARLY,
        "last_rejected_at": LATE,
        "last_rejected": "signature",
        "last_fingerprint": "aa",
    }
    assert [row["name"] for row in await sources.every(postroom.pool)] == ["ghl", "notion"]
    assert await sources.one(postroom.pool, "phorest") is None


async def test_a_late_report_does_not_put_the_clock_back(postroom: Postroom) -> None:
    await sources.count(postroom.pool, [Seen("ghl", 1, last_accepted_at=LATE)])
    await sources.count(postroom.pool, [Seen("ghl", 1, last_accepted_at=EARLY)])
    row = await sources.one(postroom.pool, "ghl")
    assert row is not None
    assert (row["accepted"], row["last_accepted_at"]) == (2, LATE)


async def test_receivers_that_report_the_same_sources_at_once_lose_nothing(postroom: Postroom) -> None:
    seen = [Seen("ghl", 1), Seen("notion", 1)]
    await asyncio.gather(*(sources.count(postroom.pool, order) for order in (seen, seen[::-1]) for _ in range(10)))
    assert [row["accepted"] for row in await sources.every(postroom.pool)] == [20, 20]


async def test_rejected_requests_are_found_newest_first(postroom: Postroom) -> None:
    await sources.keep(postroom.pool, [TURNED, replace(TURNED, source="notion", remote=None)])
    await sources.keep(postroom.pool, [replace(TURNED, reason="malformed", body_head=b"\xff\x00")])
    newest, other, oldest = await sources.rejected(postroom.pool, None)
    assert (newest["reason"], newest["body_head"], other["source"], oldest["reason"]) == ("malformed", b"\xff\x00", "notion", "signature")
    assert [row["id"] for row in await sources.rejected(postroom.pool, "ghl")] == [newest["id"], oldest["id"]]
    assert [row["id"] for row in await sources.rejected(postroom.pool, None, before=newest["id"], limit=1)] == [other["id"]]


async def test_p11_rejected_requests_are_bounded_a_source_and_by_age(postroom: Postroom) -> None:
    await sources.keep(
        postroom.pool,
        [replace(TURNED, detail=str(n)) for n in range(12)] + [replace(TURNED, source="notion", at=datetime.now(UTC) - timedelta(days=8))],
    )
    await sources.prune_rejected(postroom.pool, per_source=5)
    assert [row["detail"] for row in await sources.rejected(postroom.pool, None)] == ["11", "10", "9", "8", "7"]
    await sources.prune_rejected(postroom.pool, per_source=5)
    assert len(await sources.rejected(postroom.pool, None)) == 5


async def test_p11_no_more_than_the_head_of_a_body_is_kept(postroom: Postroom) -> None:
    await sources.keep(postroom.pool, [replace(TURNED, body_head=b"x" * 200)])
    with pytest.raises(asyncpg.CheckViolationError):
        await sources.keep(postroom.pool, [replace(TURNED, body_head=b"x" * 201)])


async def test_acts_are_kept_with_who_and_why_and_read_newest_first(postroom: Postroom) -> None:
    await audit.write(postroom.pool, who="ada", via="cli", what="dead.retry", target="7", reason="mended", result={"retried": 1})
    await audit.write(postroom.pool, who="bert", via="api", what="destination.pause")
    newest, oldest = await audit.find(postroom.pool)
    assert (newest["who"], newest["via"], newest["target"], newest["result"]) == ("bert", "api", None, None)
    assert (oldest["what"], oldest["reason"], oldest["result"]) == ("dead.retry", "mended", '{"retried": 1}')
    assert [row["id"] for row in await audit.find(postroom.pool, before=newest["id"])] == [oldest["id"]]
    assert len(await audit.find(postroom.pool, limit=1)) == 1
    with pytest.raises(asyncpg.CheckViolationError):
        await audit.write(postroom.pool, who="eve", via="telnet", what="dead.retry")
