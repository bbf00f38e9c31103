"""Events over the API: list, stage, timeline, payload, replay."""

import json
from collections.abc import Awaitable, Callable

import pytest

from dispatcher.config import DispatcherSettings
from dispatcher.context import Context
from dispatcher.errors import AnswerLost, Refused
from dispatcher.outcome import Dead, Done, Outcome, Retry
from dispatcher.routes import Route
from outbox import Claimed, Event, stage
from outbox.testing import Drain, Postroom
from tests.receiver.running import AS_OPERATOR, JSON, ghl_delivery, notion_delivery, started


async def stage_all(postroom: Postroom, *events: Event) -> list[int]:
    async with postroom.pool.acquire() as connection, connection.transaction():
        return [await stage(connection, event) for event in events]


async def test_events_are_listed_newest_first_page_by_page(postroom: Postroom) -> None:
    ids = await stage_all(postroom, *(Event("test.work", {"n": n}) for n in range(5)))
    async with started(postroom) as talk:
        seen, before = [], None
        for _ in range(3):
            page = (await talk.get("/api/events" + (f"?limit=2&before={before}" if before else "?limit=2"), viewer=True)).json()
            seen += [event["id"] for event in page["events"]]
            before = page["next_before"]
    assert seen == sorted(ids, reverse=True)
    assert before is None


async def test_each_filter_finds_its_own(postroom: Postroom) -> None:
    one, other = await stage_all(
        postroom, Event("a.x", {}, key="k1", lane="l1", source="shop"), Event("b.y", {}, key="k2", lane="l2", source="till")
    )
    async with started(postroom) as talk:
        for name, mine, theirs in (("kind", "a.x", "b.y"), ("key", "k1", "k2"), ("lane", "l1", "l2"), ("source", "shop", "till")):
            pages = [(await talk.get(f"/api/events?{name}={value}")).json()["events"] for value in (mine, theirs)]
            assert [[event["id"] for event in page] for page in pages] == [[one], [other]], name
        both = (await talk.get("/api/events", source="shop", key="k2")).json()
    assert both["events"] == []


async def test_a_senders_key_finds_its_event(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        staged = (await talk.webhook("ghl", ghl_delivery(webhook_id="delivery-77"))).json()
        await talk.webhook("notion", notion_delivery())
        found = (await talk.get("/api/events", key="delivery-77")).json()["events"]
        none = (await talk.get("/api/events", key="delivery-77", state="dead")).json()["events"]
    assert [event["id"] for event in found] == [staged["id"]]
    assert none == []


async def test_states_are_filtered_together(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        return Dead("no good") if event.kind == "test.dies" else Done()

    await stage_all(postroom, Event("test.works", {}), Event("test.dies", {}), Event("test.unheard", {}))
    await drain({"test.works": Route(handler), "test.dies": Route(handler)})
    await stage_all(postroom, Event("test.waits", {}))
    async with started(postroom) as talk:

        async def kinds(*states: str) -> set[str]:
            return {event["kind"] for event in (await talk.get("/api/events", state=list(states))).json()["events"]}

        assert await kinds("done") == {"test.works"}
        assert await kinds("dead", "skipped") == {"test.dies", "test.unheard"}
        assert await kinds("pending") == {"test.waits"}


async def test_a_filter_on_the_state_can_go_on_past_what_it_looked_at(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.store.search.LOOK_AT", 2)
    ids = await stage_all(postroom, *(Event("test.work", {}) for _ in range(5)))
    async with started(postroom) as talk:
        first = (await talk.get("/api/events", state="done")).json()
        assert first == {"events": [], "next_before": ids[3], "back_to": ids[3], "looked": 2, "count": 0, "counted": False}
        last = (await talk.get("/api/events", state="done", before=ids[1])).json()
    assert last["next_before"] is None


async def test_an_operator_stages_an_event(postroom: Postroom) -> None:
    told = {"kind": "test.work", "payload": {"n": 1}, "key": "k1", "lane": "l1"}
    async with started(postroom) as talk:
        first, repeat = await talk.post("/api/events", told), await talk.post("/api/events", told)
        other = await talk.post("/api/events", {**told, "payload": {"n": 2}})
        audit = (await talk.get("/api/audit", viewer=True)).json()["acts"]
        same = await talk.get("/api/audit", viewer=True, who="otto", via="api", what="st", since="2020-01-01T00:00:00Z")
        assert same.json()["acts"] == audit
        assert (await talk.get("/api/audit", viewer=True, via="console")).json()["acts"] == []
    assert (first.status_code, repeat.status_code, other.status_code) == (201, 200, 409)
    assert repeat.json() == {"id": first.json()["id"], "duplicate": True}
    assert other.json()["type"] == "urn:postroom:key-reused"
    [event] = await postroom.staged()
    assert (event["source"], event["key"], event["lane"], json.loads(event["payload"])) == ("app", "k1", "l1", {"n": 1})
    assert [(act["who"], act["via"], act["what"], act["result"]["duplicate"]) for act in audit] == [
        ("otto", "api", "stage", True),
        ("otto", "api", "stage", False),
    ]


async def test_a_delayed_event_waits_for_its_time(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        staged = await talk.post("/api/events", {"kind": "test.later", "payload": [], "due_at": "2199-01-01T00:00:00+01:00"})
        event = (await talk.get(f"/api/events/{staged.json()['id']}")).json()
    assert (event["state"], event["why"], event["until"]) == ("pending", "delayed", "2198-12-31T23:00:00.000Z")


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"payload": {}}, "kind"),
        ({"kind": "", "payload": {}}, "kind"),
        ({"kind": "no spaces", "payload": {}}, ""),
        ({"kind": 7, "payload": {}}, "kind"),
        ({"kind": "a.b"}, "payload"),
        ({"kind": "a.b", "payload": {}, "colour": "red"}, "colour"),
        ({"kind": "a.b", "payload": {}, "due_at": "2027-01-01T00:00:00"}, "due_at"),
        ({"kind": "a.b", "payload": {}, "due_at": "9999-12-31T23:59:59-14:00"}, "due_at"),
        ({"kind": "a.b", "payload": {}, "due_at": "0001-01-01T00:00:00+14:00"}, "due_at"),
        ({"kind": "a.b", "payload": {}, "key": "a\x00b"}, "key"),
        ({"kind": "a.b", "payload": {"x": "a\x00b"}}, ""),
        ({"kind": "a.b", "payload": {}, "source": "No Source"}, ""),
        ({"kind": "a.b", "payload": {}, "lane": "x" * 401}, "lane"),
    ],
)
async def test_an_event_that_cannot_be_staged_is_a_422_that_names_the_field(postroom: Postroom, told: object, field: str) -> None:
    async with started(postroom) as talk:
        answer = await talk.post("/api/events", told)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert (await postroom.totals())["accepted"] == 0


async def test_a_number_that_json_cannot_say_is_refused(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        answers = [
            await talk.client.post("/api/events", headers={**AS_OPERATOR, **JSON}, content=b'{"kind":"a.b","payload":%b}' % number)
            for number in (b"1e999", b"NaN", b"-Infinity", b"1" * 5000)
        ]
    assert {answer.status_code for answer in answers} <= {400, 422}


async def test_the_timeline_tells_every_attempt_and_step_in_words(postroom: Postroom, drain: Drain, simulated: DispatcherSettings) -> None:
    runs: list[int] = []

    async def handler(event: Claimed, ctx: Context) -> Outcome:
        runs.append(1)
        await ctx.step("first", answering(1), repeatable=True)
        await ctx.step("second", lose_once(), find=found)
        return Retry("once more") if len(runs) == 2 else Done({"told": "all"})

    def answering(value: int) -> Callable[[], Awaitable[int]]:
        async def call() -> int:
            return value

        return call

    def lose_once() -> Callable[[], Awaitable[str]]:
        async def call() -> str:
            raise AnswerLost("ghl", "the answer was lost")

        return call

    async def found() -> str | None:
        return "n1"

    [event_id] = await stage_all(postroom, Event("test.tells", {}))
    await drain({"test.tells": Route(handler)}, hurry=True)
    async with started(postroom) as talk:
        await talk.post(f"/api/events/{event_id}/replay")
        told = (await talk.get(f"/api/events/{event_id}", viewer=True)).json()
    texts = [(entry["what"], entry["text"]) for entry in told["timeline"]]
    assert texts[0] == ("staged", "accepted from app and staged")
    words = [text for what, text in texts if what == "step"]
    assert words[0].startswith("first: done in ")
    assert words[1] == "second: sent, answer lost"
    assert "first: known done, not repeated" in words
    assert any(word.startswith("second: answer lost, looked up, found in ") for word in words)
    attempts = [text for what, text in texts if what == "attempt"]
    assert "will be retried" in attempts[0]
    assert attempts[-1].endswith(": told all")
    assert texts[-1] == ("replay", "replayed by otto")
    moments = [entry["at"] for entry in told["timeline"]]
    assert moments == sorted(moments)


async def test_a_refused_step_and_a_burial_are_told(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        async def call() -> str:
            raise Refused("ghl", "phone is not valid")

        await ctx.step("create", call, repeatable=True)
        return Done()

    [event_id] = await stage_all(postroom, Event("test.refused", {}))
    await drain({"test.refused": Route(handler)})
    async with started(postroom) as talk:
        told = (await talk.get(f"/api/events/{event_id}")).json()
        await talk.post(f"/api/dead-letters/{event_id}/discard", {"reason": "a test"})
        after = (await talk.get(f"/api/events/{event_id}")).json()
    assert told["state"] == "dead"
    assert any(entry["what"] == "step" and entry["text"].startswith("create: surely not done") for entry in told["timeline"])
    assert after["state"] == "skipped"
    assert after["timeline"][-1]["what"] == "discard"
    assert after["timeline"][-1]["text"] == "discarded by otto: a test"


async def test_duplicates_are_told(postroom: Postroom) -> None:
    delivery = ghl_delivery()
    async with started(postroom) as talk:
        for _ in range(3):
            staged = (await talk.webhook("ghl", delivery)).json()
        told = (await talk.get(f"/api/events/{staged['id']}")).json()
    assert told["duplicates"] == 2
    assert told["timeline"][1]["what"] == "duplicate"
    assert told["timeline"][1]["count"] == 2


async def test_a_payload_is_shown_to_operators_only_and_the_look_is_kept(postroom: Postroom) -> None:
    [event_id] = await stage_all(postroom, Event("test.work", {"n": 1}))
    async with started(postroom) as talk:
        plain = (await talk.get(f"/api/events/{event_id}", viewer=True)).json()
        refused = await talk.get(f"/api/events/{event_id}", viewer=True, payload=1)
        shown = await talk.get(f"/api/events/{event_id}", payload=1)
    assert plain["payload"] is None
    assert refused.status_code == 403
    assert shown.json()["payload"] == '{"n": 1}'
    assert await postroom.rows("select who, what, target from outbox.audit") == [
        {"who": "otto", "what": "show payload", "target": str(event_id)}
    ]


async def test_only_what_is_settled_is_replayed(postroom: Postroom, drain: Drain) -> None:
    async def handler(event: Claimed, ctx: Context) -> Outcome:
        return Done()

    [event_id] = await stage_all(postroom, Event("test.work", {}))
    async with started(postroom) as talk:
        early = await talk.post(f"/api/events/{event_id}/replay")
        await drain({"test.work": Route(handler)})
        replayed = await talk.post(f"/api/events/{event_id}/replay")
        again = await talk.post(f"/api/events/{event_id}/replay")
        totals = await drain({"test.work": Route(handler)})
    assert (early.status_code, early.json()["state"]) == (409, "pending")
    assert (replayed.status_code, replayed.json()) == (200, {"id": event_id, "replayed": True})
    assert again.status_code == 409
    assert totals["done"] == 1
    assert await postroom.value("select count(*) from outbox.audit where what = 'replay'") == 1


@pytest.mark.parametrize("which", ["0", "-1", "x", "1.5", "99999999999999999999", "9007199254740992", "%00", "1e3", "١"])
async def test_what_is_no_id_names_nothing(postroom: Postroom, which: str) -> None:
    async with started(postroom) as talk:
        answers = [await talk.get(f"/api/events/{which}"), await talk.post(f"/api/events/{which}/replay")]
    assert [answer.status_code for answer in answers] == [404, 404]


async def test_an_unknown_event_is_a_404(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        answers = [
            await talk.get("/api/events/123"),
            await talk.post("/api/events/123/replay"),
            await talk.get("/api/events/123", payload=1),
        ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
