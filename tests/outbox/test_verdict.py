"""What a verdict says, in words."""

import pytest

from outbox.verdict import in_words, verdict


@pytest.mark.parametrize("mark", ["retry", "snoozed", "skipped", "dead"])
def test_a_reason_that_is_a_sentence_ends_in_one_full_stop(mark: str) -> None:
    said = verdict({"mark": mark, "why": "ghl answered 400. Correct the data.", "attempts": 1})
    assert "Correct the data." in said
    assert ".." not in said


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("no route for x", "no route for x"),
        ('{"contact": "created"}', "contact created"),
        (
            '{"tags": ["a", "b"], "task": true, "note": false, "calendar": {"booked": 1}, "n": 0, "none": []}',
            "tags a b, task, calendar (booked 1), n 0",
        ),
        ('{"kept": false}', '{"kept": false}'),
        ("{not json", "{not json"),
    ],
)
def test_what_a_handler_returned_is_said_in_words(note: str, said: str) -> None:
    assert in_words(note) == said
