"""Live updates: what is told, to whom, for how long; and that nothing is read or kept for pages that nobody looks at."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, suppress
from html import unescape
from typing import Any

import httpx
import pytest

from outbox.testing import Postroom
from receiver.console import live as live_module
from receiver.console.live import MOST_OF_SESSION, MOST_STREAMS, Live, Viewer
from receiver.console.topics import TOPICS
from tests.console.serving import serving
from tests.console.visiting import OWN, looking, operating
from tests.receiver.running import VIEWER_TOKEN, until


async def _signed_in() -> bool:
    return True


@asynccontextmanager
async def reading(postroom: Postroom, of: Live | None = None) -> AsyncIterator[Live]:
    """The reader at work."""
    live = of or Live(TOPICS)
    running = asyncio.create_task(live.run(postroom.pool))
    try:
        yield live
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def told(stream: AsyncIterator[str], topic: str) -> dict[str, Any]:
    """The next value of a topic."""
    async with asyncio.timeout(20):
        async for said in stream:
            if f"\nevent: {topic}\n" in said:
                found: dict[str, Any] = json.loads(said.partition("\ndata: ")[2])
                return found
    raise AssertionError("the stream ended")


async def test_a_change_is_told_to_those_who_look_and_a_value_that_stands_is_not_told_again(postroom: Postroom) -> None:
    async with reading(postroom) as live:
        viewer = Viewer(b"one", frozenset({"newest"}))
        with live.watching(viewer):
            async with aclosing(live.stream(viewer, since=0, is_signed_in=_signed_in)) as stream:
                assert (await told(stream, "newest"))["id"] == 0
                event = await postroom.value("select outbox.stage('thing.done', '{}')")
                assert (await told(stream, "newest"))["id"] == event
        assert live.viewers == 0


async def test_an_event_a_run_and_a_plan_are_told_by_their_ids(postroom: Postroom) -> None:
    event = await postroom.value("select outbox.stage('thing.done', '{}')")
    topics = (f"event-{event}", "event-99", "run-7", "plan-7", "lights", "needs", "minute", "totals")
    values = await Live(TOPICS).read(postroom.pool, topics)
    assert values is not None
    assert values[f"event-{event}"]["mark"] == "ready"
    assert values["totals"]["pending"] == "1"
    assert values["event-99"] == values["run-7"] == values["plan-7"] == {}
    assert values["needs"] == {"dead": 0, "lanes": 0, "connections": 0, "red": 0, "yellow": 0, "workers": []}
    json.dumps(values)


async def test_a_browser_that_comes_back_hears_only_what_is_newer(postroom: Postroom) -> None:
    async with reading(postroom) as live:
        first = Viewer(b"one", frozenset({"newest"}))
        with live.watching(first):
            async with aclosing(live.stream(first, since=0, is_signed_in=_signed_in)) as stream:
                await anext(stream)
                heard = (await anext(stream)).partition("\n")[0].removeprefix("id: ")
            again = Viewer(b"one", frozenset({"newest"}))
            with live.watching(again):
                assert live.since(heard) > 0
                assert live.since("another-" + heard.partition("-")[2]) == 0
                async with aclosing(live.stream(again, since=live.since(heard), is_signed_in=_signed_in)) as stream:
                    event = await postroom.value("select outbox.stage('thing.done', '{}')")
                    assert (await told(stream, "newest"))["id"] == event


async def test_nothing_is_read_and_nothing_kept_while_nobody_looks(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "EVERY_S", 0.01)
    reads = 0

    async def count(*_: object) -> dict[str, dict[str, int]]:
        nonlocal reads
        reads += 1
        return {"totals": {"n": reads}}

    async with reading(postroom, Live({"totals": count})) as live:
        with live.watching(Viewer(b"one", frozenset({"totals"}))):
            await until(lambda: reads > 1)
        await until(lambda: live.is_at_rest)
        before = reads
        await postroom.value("select outbox.stage('thing.done', '{}')")
        assert reads == before


async def test_many_viewers_cost_one_read(postroom: Postroom) -> None:
    reads = 0

    async def count(*_: object) -> dict[str, dict[str, int]]:
        nonlocal reads
        reads += 1
        return {"totals": {"n": 1}}

    async with reading(postroom, Live({"totals": count})) as live:
        viewers = [Viewer(b"one", frozenset({"totals"})) for _ in range(20)]
        with ExitStack() as stack:
            for viewer in viewers:
                stack.enter_context(live.watching(viewer))
            for viewer in viewers:
                async with aclosing(live.stream(viewer, since=0, is_signed_in=_signed_in)) as stream:
                    assert (await told(stream, "totals")) == {"n": 1}
        assert reads <= 2


async def test_a_stream_ends_with_its_session_and_when_the_process_stops(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "SESSION_EVERY_S", 0.0)
    monkeypatch.setattr(live_module, "BEAT_S", 0.01)

    async def signed_out() -> bool:
        return False

    live = Live(TOPICS)
    said = [text async for text in live.stream(Viewer(b"one", frozenset({"totals"})), since=0, is_signed_in=signed_out)]
    assert said[0].startswith("retry: ")
    live.stop()
    assert len([text async for text in live.stream(Viewer(b"one", frozenset({"totals"})), since=0, is_signed_in=_signed_in)]) == 1
    assert not live.has_room(b"one")


def test_streams_are_few_for_a_session_and_for_a_process() -> None:
    live, topics = Live(TOPICS), frozenset({"totals"})
    with ExitStack() as stack:
        for _ in range(MOST_OF_SESSION):
            stack.enter_context(live.watching(Viewer(b"one", topics)))
        assert not live.has_room(b"one")
        assert live.has_room(b"two")
        for n in range(MOST_STREAMS - MOST_OF_SESSION):
            stack.enter_context(live.watching(Viewer(str(n).encode(), topics)))
        assert not live.has_room(b"two")
    assert live.has_room(b"one")


def test_a_list_of_topics_names_only_topics_that_there_are() -> None:
    live = Live(TOPICS)
    assert live.topics("totals,event-7,run-811") == frozenset({"totals", "event-7", "run-811"})
    for text in ("", "nothing", "event-", "event-x", "event", "totals-1", "event-" + "9" * 17, ",".join(f"event-{n}" for n in range(9))):
        assert live.topics(text) is None, text


async def test_over_http_a_stream_is_told_needs_a_session_and_leaves_nothing_behind(postroom: Postroom) -> None:
    async with serving(postroom.dsn) as (url, app), httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await client.get("/console/live?topics=totals")).status_code == 401
        assert (await client.get("/console/live/check?topics=totals")).status_code == 401
        await client.post("/console/sign-in", data={"token": VIEWER_TOKEN}, headers=OWN)
        assert (await client.get("/console/live?topics=secrets")).status_code == 422
        async with client.stream("GET", "/console/live?topics=totals") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            async for line in answer.aiter_lines():
                if line == "event: totals":
                    break
            assert app.console.live.viewers == 1
        await until(lambda: app.console.live.viewers == 0)
        with ExitStack() as stack:
            for n in range(MOST_STREAMS):
                stack.enter_context(app.console.live.watching(Viewer(str(n).encode(), frozenset({"totals"}))))
            assert (await client.get("/console/live?topics=totals")).status_code == 204
            said = (await client.get("/console/live/check?topics=totals,needs")).json()
            assert said["has_room"] is False
            assert said["topics"]["totals"]["dead"] == "0"


async def test_an_open_page_keeps_no_session_alive(postroom: Postroom) -> None:
    async with looking(postroom) as visitor:
        await postroom.pool.execute("update outbox.sessions set seen_at = now() - interval '5 min'")
        until_then = await postroom.value("select until from outbox.sessions")
        assert (await visitor.get("/console/live/check?topics=totals")).status_code == 200
        assert (await visitor.talk.client.get("/console/audit", headers={"x-postroom-live": "1"})).status_code == 200
        assert await postroom.value("select until from outbox.sessions") == until_then
        assert (await visitor.get("/console/audit")).status_code == 200
        assert await postroom.value("select until from outbox.sessions") > until_then


async def test_a_server_that_stops_waits_for_no_stream(postroom: Postroom) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=20))
        async with serving(postroom.dsn) as (url, _):
            await client.post(f"{url}/console/sign-in", data={"token": VIEWER_TOKEN}, headers=OWN)
            answer = await stack.enter_async_context(client.stream("GET", f"{url}/console/live?topics=totals"))
            lines = answer.aiter_lines()
            await anext(lines)
            began = time.monotonic()
        assert time.monotonic() - began < 4
        assert [line async for line in lines][-1:] in ([""], [])


async def test_the_list_says_how_many_are_newer_under_its_own_filters(postroom: Postroom) -> None:
    first = await postroom.value("select outbox.stage('thing.done', '{}')")
    async with operating(postroom) as visitor:
        html = (await visitor.get("/console/events?kind=thing.done")).text
        part = re.search(r'data-live-from="([^"]+)"', html)
        assert part is not None
        place = unescape(part[1])
        assert place == f"/console/events/newer?kind=thing.done&after={first}"
        assert "newer" not in await visitor.page(place)
        await postroom.pool.execute("select outbox.stage('thing.done', '{}'), outbox.stage('thing.else', '{}')")
        assert "1 newer. Show" in await visitor.page(place)
        assert "data-live-from" not in (await visitor.get(f"/console/events?before={first + 1}")).text
