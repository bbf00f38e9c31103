"""Reading events: one with its story, many by any filter."""

from outbox.store import dead, events
from outbox.testing import Postroom
from tests.outbox.engine import put, worker


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
