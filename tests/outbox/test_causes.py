"""What is told about a cause: what its payloads share, by name, and what to do."""

import pytest

from outbox.causes import alike
from outbox.store import events, lanes, search
from outbox.testing import Postroom
from outbox.verdict import advice
from tests.outbox.engine import put, worker


def test_payloads_are_compared_by_the_names_of_their_fields() -> None:
    payloads = [b'{"a": {"id": 1, "phone": "x"}, "kind": "k"}', b'{"a": {"id": 2}, "kind": "k"}', b"no json"]
    assert alike(payloads) == {
        "looked_at": 3,
        "unreadable": 1,
        "same": ["kind"],
        "differ": ["a.id"],
        "missing_in_some": ["a.phone"],
    }
    assert alike([b"[1]", b"[1]"])["same"] == ["payload"]
    assert alike([])["same"] == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("killed its process 3 times", "worker's log"),
        ("buried by ana: stuck", "A person buried it"),
        ("the payload is not as expected: id: missing", "another form"),
        ("ghl answered 403: no", "credential"),
        ("ghl answered 422: phone", "refused the content"),
        ("ghl answered 503 (after 12 failures)", "about a day"),
        ("its handler took longer than 120 s (after 12 failures)", "deadline"),
        ("KeyError: 'id' (after 12 failures)", "about a day"),
        ("ValueError: bad", "own code"),
        ("something else", "Read the reason"),
    ],
)
def test_a_reason_leads_to_what_to_do(reason: str, words: str) -> None:
    assert words in advice(reason)


async def test_lanes_that_need_a_person_are_those_held_for_long_by_no_destination(postroom: Postroom) -> None:
    ids = [(await put(postroom, f"lane-{n}"))[0] for n in range(3)]
    async with worker(postroom) as me:
        taken = {event.id: event for event in await me.claim()}
        await me.retry(taken[ids[0]], taken[ids[2]], delay_s=3600)
        await me.hold(taken[ids[1]])
    assert await lanes.held_long(postroom.pool, before=ids[2]) == 1
    now = await events.clock(postroom.pool)
    assert await lanes.held_long(postroom.pool, before=await search.id_at(postroom.pool, now)) == 2


async def test_an_id_that_is_not_there_is_explained(postroom: Postroom) -> None:
    (event_id,) = await put(postroom, None)
    old = event_id - (100 << events.DAY_BITS)
    assert "retention has dropped it" in await events.missing(postroom.pool, old)
    assert await events.missing(postroom.pool, event_id + 1) == f"Event {event_id + 1} is unknown here."
    assert await events.missing(postroom.pool, 7) == "Event 7 is unknown here."
