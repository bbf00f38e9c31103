"""Reading events: one with its story, many by any filter."""

from outbox.store import dead, events
from outbox.testing import Postroom
from tests.outbox.engine import put, settled, worker


async def test_an_event_tells_its_whole_story(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "chair:1")
    async with worker(postroom, "anna") as me:
        await me.retry(*await me.claim(), why="it failed")
        await me.bury(*await me.take_due(), reason="refused")
    await dead.retry(postroom.pool, [event_id], by="ada")
    story = await events.timeline(postroom.pool, event_id)
    assert sorted((row["code"], row["attempt"], row["note"], row["worker"]) for row in story) == [
        ("p", 2, "retried by ada", None),
        ("r", 1, "it failed", "anna"),
        ("x", 2, "refused", "anna"),
    ]
    whole = await events.one(postroom.pool, event_id)
    assert whole is not None
    assert (whole["kind"], whole["state"], whole["why"], whole["attempts"], whole["duplicates"]) == ("a", "pending", "ready", 2, None)
    assert await events.one(postroom.pool, 1) is None


async def test_events_are_found_newest_first_by_any_filter(postroom: Postroom) -> None:
    done = await settled(postroom, "done", "chair:1", kind="a")
    buried = await settled(postroom, "bury", "chair:3", kind="a")
    waiting = await postroom.value("select outbox.stage('b', '{}', key => 'k1', lane => 'chair:2', source => 'till')")
    find = {
        "all": await events.find(postroom.pool),
        "below": await events.find(postroom.pool, before=waiting),
        "one": await events.find(postroom.pool, limit=1),
        "source": await events.find(postroom.pool, source="till"),
        "kind": await events.find(postroom.pool, kind="a"),
        "lane": await events.find(postroom.pool, lane="chair:2"),
        "key": await events.find(postroom.pool, key="k1"),
        "states": await events.find(postroom.pool, states=["done", "dead"]),
        "states, looked at too few": await events.find(postroom.pool, states=["done"], look_at=2),
        "states, one": await events.find(postroom.pool, states=["done", "dead"], limit=1),
    }
    assert {name: [row["id"] for row in rows] for name, rows in find.items()} == {
        "all": [waiting, buried, done],
        "below": [buried, done],
        "one": [waiting],
        "source": [waiting],
        "kind": [buried, done],
        "lane": [waiting],
        "key": [waiting],
        "states": [buried, done],
        "states, looked at too few": [],
        "states, one": [buried],
    }
