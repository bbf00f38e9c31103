"""The overview: one sentence, what needs a person, and the way to a first event."""

from outbox.store import destinations
from outbox.testing import Postroom
from tests.console.visiting import looking, operating


async def test_an_empty_installation_says_how_to_get_a_first_event(postroom: Postroom) -> None:
    async with looking(postroom) as visitor:
        page = await visitor.page("/console/")
    assert "To a first event" in page
    assert "/api/webhooks/ghl" in page
    assert "No dispatcher is at work" in page


async def test_what_does_not_flow_and_what_died_needs_a_person(postroom: Postroom) -> None:
    event = await postroom.value("select outbox.stage('thing.done', '{}')")
    await postroom.pool.execute("delete from outbox.pending")
    await postroom.pool.execute(
        "insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason) values ($1, $1, 0, 3, 'cafe', $2)",
        event,
        "field <b> is wrong",
    )
    await destinations.pause(postroom.pool, "notion", why="schema change", by="ben")
    async with operating(postroom) as visitor:
        page = await visitor.page("/console")
        html = (await visitor.get("/console/")).text
    assert "3 things need you. 1 event dead" in page
    assert "1 dead: thing.done: field <b> is wrong" in page
    assert "field <b>" not in html
    assert "notion paused by ben “schema change”, 0 waiting" in page
    assert "To a first event" not in page
