"""Dead letters over the API: found, retried singly and by filter, discarded."""

import asyncio
from typing import Any

import pytest

from dispatcher.context import Context
from dispatcher.outcome import Dead, Outcome
from dispatcher.routes import Route
from outbox import Claimed, Event
from outbox.testing import Drain, Postroom
from tests.receiver.running import AS_VIEWER, Talk, started
from tests.receiver.test_api_events import stage_all


async def _dies(event: Claimed, ctx: Context) -> Outcome:
    return Dead("no phone" if event.kind == "test.phone" else "no mail")


DYING = {kind: Route(_dies) for kind in ("test.phone", "test.mail")}


@pytest.fixture
async def dead(postroom: Postroom, drain: Drain) -> list[int]:
    """Three of one cause and one of another, over three lanes."""
    ids = await stage_all(
        postroom,
        Event("test.phone", {}, lane="a", source="shop"),
        Event("test.phone", {}, lane="a"),
        Event("test.phone", {}, lane="b"),
        Event("test.mail", {}, lane="c"),
    )
    await drain(DYING)
    return ids


async def listed(talk: Talk, **filters: Any) -> list[int]:
    return [one["id"] for one in (await talk.get("/api/dead-letters", **filters)).json()["dead_letters"]]


async def test_dead_letters_are_listed_newest_first_by_every_filter(postroom: Postroom, dead: list[int]) -> None:
    one, two, three, four = dead
    async with started(postroom) as talk:
        assert await listed(talk) == [four, three, two, one]
        assert await listed(talk, limit=2) == [four, three]
        assert await listed(talk, before=three) == [two, one]
        assert await listed(talk, kind="test.mail") == [four]
        assert await listed(talk, source="shop") == [one]
        assert await listed(talk, lane="a") == [two, one]
        assert await listed(talk, since="2199-01-01T00:00:00Z") == []
        assert await listed(talk, until="2199-01-01T00:00:00Z") == [four, three, two, one]
        groups = (await talk.get("/api/dead-letters/groups", viewer=True)).json()["groups"]
        assert {group["reason"]: (group["dead"], group["lanes"]) for group in groups} == {"no phone": (3, 2), "no mail": (1, 1)}
        mailed = (await talk.get("/api/dead-letters/groups", kind="test.mail", since="2020-01-01T00:00:00Z")).json()["groups"]
        assert [group["reason"] for group in mailed] == ["no mail"]
        assert (await talk.get("/api/dead-letters/groups", noted="")).json() == {"groups": []}
        mail = next(group for group in groups if group["reason"] == "no mail")
        assert await listed(talk, group=mail["group"]) == [four]
        letter = (await talk.get(f"/api/dead-letters/{four}", viewer=True)).json()
    assert (letter["reason"], letter["kind"], letter["lane"], letter["attempts"]) == ("no mail", "test.mail", "c", 1)


async def test_one_is_retried_once(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        first, again = [await talk.post(f"/api/dead-letters/{dead[0]}/retry") for _ in range(2)]
    assert (first.status_code, first.json()) == (200, {"id": dead[0], "retried": True})
    assert (again.status_code, again.json()["state"]) == (409, "pending")
    assert await postroom.rows("select who, what, target from outbox.audit") == [{"who": "otto", "what": "retry", "target": str(dead[0])}]


async def test_one_is_discarded_with_a_reason(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        without = await talk.post(f"/api/dead-letters/{dead[0]}/discard")
        discarded = await talk.post(f"/api/dead-letters/{dead[0]}/discard", {"reason": "sent twice by hand"})
        event = (await talk.get(f"/api/events/{dead[0]}")).json()
    assert without.status_code == 422
    assert discarded.json() == {"id": dead[0], "discarded": True}
    assert (event["state"], event["why"]) == ("skipped", "discarded by otto: sent twice by hand")
    assert await postroom.value("select reason from outbox.audit") == "sent twice by hand"


async def test_what_is_not_dead_is_neither_shown_nor_discarded(postroom: Postroom) -> None:
    [event_id] = await stage_all(postroom, Event("test.mail", {}))
    async with started(postroom) as talk:
        assert (await talk.get(f"/api/dead-letters/{event_id}")).status_code == 404
        assert (await talk.post(f"/api/dead-letters/{event_id}/discard", {"reason": "x"})).status_code == 409
        assert (await talk.post("/api/dead-letters/123/retry")).status_code == 404


async def test_a_dry_run_counts_and_changes_nothing(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        counted = (await talk.post("/api/dead-letters/retry", {"kind": "test.phone", "dry_run": True})).json()
    assert counted == {"matched": 3, "lanes": 2, "retried": 0, "ids": [], "ceiling": dead[2]}
    assert (await postroom.totals())["dead"] == 4
    assert await postroom.value("select count(*) from outbox.audit") == 0


async def test_a_retry_by_filter_touches_only_what_was_counted(postroom: Postroom, dead: list[int], drain: Drain) -> None:
    async with started(postroom) as talk:
        counted = (await talk.post("/api/dead-letters/retry", {"kind": "test.phone", "dry_run": True})).json()
        [later] = await stage_all(postroom, Event("test.phone", {}))
        await drain(DYING)
        retried = (await talk.post("/api/dead-letters/retry", {"kind": "test.phone", "ceiling": counted["ceiling"]})).json()
        assert retried == {"matched": 3, "lanes": 2, "retried": 3, "ids": dead[:3], "ceiling": dead[2]}
        assert await listed(talk) == [later, dead[3]]
    audit = await postroom.rows("select what, result->>'retried' retried, result->>'kind' kind from outbox.audit")
    assert audit == [{"what": "retry by filter", "retried": "3", "kind": "test.phone"}]


async def test_a_retry_by_filter_takes_the_oldest_in_portions(postroom: Postroom, dead: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.api.dead_letters.PORTION", 2)
    async with started(postroom) as talk:
        retried = (await talk.post("/api/dead-letters/retry", {"all": True, "limit": 3})).json()
    assert (retried["matched"], retried["ids"]) == (4, dead[:3])
    assert await postroom.value("select count(*) from outbox.audit") == 2


async def test_all_has_to_be_said(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        silent = await talk.post("/api/dead-letters/retry", {"dry_run": True})
        said = (await talk.post("/api/dead-letters/retry", {"all": True, "dry_run": True})).json()
    assert silent.status_code == 422
    assert said["matched"] == 4


async def test_a_filter_that_finds_nothing_retries_nothing(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        nothing = (await talk.post("/api/dead-letters/retry", {"kind": "test.unheard"})).json()
    assert nothing == {"matched": 0, "lanes": 0, "retried": 0, "ids": [], "ceiling": None}


async def test_two_people_retrying_at_once_retry_each_letter_once(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        answers = await asyncio.gather(*(talk.post("/api/dead-letters/retry", {"all": True}) for _ in range(2)))
    assert sorted(event_id for answer in answers for event_id in answer.json()["ids"]) == dead
    assert (await postroom.totals())["pending"] == 4


async def test_a_viewer_looks_and_does_not_retry(postroom: Postroom, dead: list[int]) -> None:
    async with started(postroom) as talk:
        refused = await talk.client.post("/api/dead-letters/retry", headers=AS_VIEWER, json={"all": True})
    assert refused.status_code == 403
    assert (await postroom.totals())["dead"] == 4
