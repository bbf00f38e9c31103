"""The story of an event, told from rows: attempts, steps and what a lost answer means, without a database."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from outbox.timeline import iso, summary, tell

START = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(*, why: str | None = None, duplicates: int | None = None) -> dict[str, Any]:
    return {
        "id": 7,
        "source": "ghl",
        "kind": "ghl.ContactCreate",
        "key": "k",
        "lane": None,
        "state": "pending",
        "why": why,
        "mark": "ready",
        "until": None,
        "attempts": 1,
        "staged_at": START,
        "changed_at": START,
        "duplicates": duplicates,
        "last_duplicate_at": None if duplicates is None else at(100),
    }


def run(
    seconds: float, code: str, *, attempt: int = 1, note: str | None = None, owner: int = 3, worker: str | None = "host:1"
) -> dict[str, Any]:
    return {
        "at": at(seconds),
        "step": None,
        "code": code,
        "attempt": attempt,
        "took_ms": 0 if owner == 0 or code == "c" else 500,
        "note": note,
        "owner": owner,
        "worker": worker,
        "answer": None,
    }


def step(seconds: float, code: str, *, attempt: int = 1, name: str = "note", note: str | None = None, answer: Any = None) -> dict[str, Any]:
    return {
        "at": at(seconds),
        "step": name,
        "code": code,
        "attempt": attempt,
        "took_ms": None if code == "i" else 212,
        "note": note,
        "owner": None,
        "worker": None,
        "answer": None if answer is None else json.dumps(answer),
    }


def told(*rows: dict[str, Any], **about: Any) -> list[str]:
    return [entry["text"] for entry in entries(*rows, **about)[1:]]


def entries(*rows: dict[str, Any], **about: Any) -> list[dict[str, Any]]:
    """Without the waits, which have tests of their own."""
    return [entry for entry in tell(event(**about), sorted(rows, key=lambda row: row["at"])) if entry["what"] != "wait"]


def waits(*rows: dict[str, Any], lane: Sequence[dict[str, Any]] = ()) -> list[tuple[str | None, str]]:
    return [(entry["at"], entry["text"]) for entry in tell(event(), rows, lane) if entry["what"] == "wait"]


def test_a_run_with_a_step_that_was_done() -> None:
    found = entries(run(1, "d"), step(1.1, "i"), step(1.4, "d", answer={"id": "n1"}))
    assert [entry["what"] for entry in found] == ["staged", "attempt", "step"]
    assert found[1]["text"] == "attempt 1 by host:1: done, took 500 ms"
    assert (found[2]["text"], found[2]["at"], found[2]["answer"]) == ("note: done in 212 ms", iso(at(1.1)), {"id": "n1"})


def test_an_answer_that_was_lost_and_found() -> None:
    assert told(run(1, "r", note="cut"), step(1.1, "i"), run(9, "d", attempt=2), step(9.1, "f", attempt=2)) == [
        "attempt 1 by host:1: will be retried, took 500 ms: cut",
        "note: sent, answer lost",
        "attempt 2 by host:1: done, took 500 ms",
        "note: answer lost, looked up, found in 212 ms",
    ]


def test_an_answer_that_was_lost_and_not_found_is_sent_again() -> None:
    texts = told(run(1, "r"), step(1.1, "i"), run(9, "d", attempt=2), step(9.1, "i", attempt=2), step(9.4, "d", attempt=2))
    assert texts[-1] == "note: earlier answer lost, sent again, done in 212 ms"


def test_an_answer_that_was_lost_twice() -> None:
    texts = told(run(1, "r"), step(1.1, "i"), run(9, "r", attempt=2), step(9.1, "i", attempt=2))
    assert texts[-1] == "note: sent again after a lost answer, and this answer was lost too"


def test_a_step_that_surely_did_not_happen() -> None:
    assert told(run(1, "x", note="refused"), step(1.1, "i"), step(1.2, "n", note="400"))[-1] == "note: surely not done: 400"


def test_a_step_of_a_run_that_goes_on_is_under_way_and_not_lost() -> None:
    assert told(step(1.1, "i"), why="running") == ["note: under way"]
    assert told(run(1, "r"), step(1.1, "i"), why="running")[-1] == "note: sent, answer lost"


def test_a_finished_step_is_told_in_each_later_run() -> None:
    texts = told(run(1, "r"), step(1.1, "i"), step(1.2, "d"), run(5, "r", attempt=2), run(9, "d", attempt=3))
    assert [text for text in texts if "not repeated" in text] == ["note: known done, not repeated"] * 2


def test_a_held_event_keeps_its_attempts_number_and_its_finished_steps() -> None:
    texts = told(run(1, "h", note="ghl is down"), step(1.1, "i"), step(1.2, "d"), run(60, "d"))
    assert texts[0] == "attempt 1 by host:1: held: its destination does not flow, took 500 ms: ghl is down"
    assert texts[-1] == "note: known done, not repeated"


def test_a_lost_worker_repeats_nothing_by_being_lost() -> None:
    texts = told(step(1.1, "i"), step(1.2, "d"), run(9, "c", note="its worker was lost"))
    assert not any("not repeated" in text for text in texts)


def test_acts_of_people_are_told_as_theirs() -> None:
    found = entries(
        run(0.1, "x", owner=0, note="buried by ben: stuck"),
        run(1, "x"),
        run(5, "p", owner=0, note="retried by ana"),
        run(9, "s", attempt=2, owner=0, note="discarded by ben: twice"),
    )
    assert [(entry["what"], entry["text"]) for entry in found if entry["what"] not in ("staged", "attempt")] == [
        ("bury", "buried by ben: stuck"),
        ("replay", "retried by ana"),
        ("discard", "discarded by ben: twice"),
    ]


def test_a_worker_whose_name_is_forgotten_still_has_its_number() -> None:
    assert told(run(1, "d", worker=None)) == ["attempt 1 by worker 3: done, took 500 ms"]


def test_repeats_of_the_delivery_are_told_where_the_last_one_came() -> None:
    assert told(run(1, "d"), duplicates=1)[-1] == "delivered again; answered with this event"
    assert told(run(1, "d"), run(200, "d"), duplicates=4)[1] == "delivered again, 4 times by now; answered with this event"


def test_the_story_is_plain_json() -> None:
    json.dumps(tell(event(duplicates=2), [run(1, "d"), step(1.1, "i"), step(1.2, "d", answer=[1, None])]))
    json.dumps(summary(event()))


def test_times_are_told_in_utc_to_the_millisecond() -> None:
    assert iso(datetime(2026, 10, 5, 10, 1, 34, 285999, tzinfo=timezone(timedelta(hours=1)))) == "2026-10-05T09:01:34.285Z"
    assert iso(None) is None


def test_a_wait_that_somebody_would_notice_is_told_with_what_it_was_for() -> None:
    runs = [run(0.1, "r"), run(3, "h", attempt=2), run(60, "c", attempt=2), run(70, "z", attempt=3), run(95, "d", attempt=4)]
    assert waits(*runs) == [
        (iso(at(0.6)), "waited 2400 ms for its retry"),
        (iso(at(60)), "waited 10.0 s for another worker"),
        (iso(at(70.5)), "waited 24.5 s as its handler asked"),
    ]


def test_the_first_wait_names_the_event_ahead_of_it_in_its_lane() -> None:
    ahead = {"id": 6, "state": "done", "changed_at": at(11)}
    before = {"id": 5, "state": "done", "changed_at": at(-1)}
    assert waits(run(12, "d"), lane=[before, ahead]) == [(iso(START), "waited 12.0 s behind #6 in its lane")]
    assert waits(run(12, "d"), lane=[before]) == [(iso(START), "waited 12.0 s for its turn")]
