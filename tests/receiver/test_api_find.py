"""POST /api/find: what a text leads to, for viewers, and in no URL."""

from outbox.testing import Postroom
from tests.outbox.engine import put
from tests.receiver.running import AS_VIEWER, started


async def test_a_viewer_finds_a_lane_and_what_explains_an_absence(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, "ghl:contact:c1")
    async with started(postroom) as talk:
        there = await talk.client.post("/api/find", headers=AS_VIEWER, json={"text": "ghl:contact:c1"})
        away = await talk.client.post("/api/find", headers=AS_VIEWER, json={"text": "nobody@example.com"})
        silent = await talk.post("/api/find", {"text": "  "})
    assert there.json() == {
        "events": [],
        "lanes": [{"lane": "ghl:contact:c1", "what": "lane", "newest": event_id}],
        "absence": None,
    }
    assert set(away.json()["absence"]) == {"since", "until", "sources", "rejected", "syncs"}
    assert silent.status_code == 422
