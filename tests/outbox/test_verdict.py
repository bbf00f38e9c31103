"""What a verdict says, in words."""

import pytest

from outbox.verdict import verdict


@pytest.mark.parametrize("mark", ["retry", "snoozed", "skipped", "dead"])
def test_a_reason_that_is_a_sentence_ends_in_one_full_stop(mark: str) -> None:
    said = verdict({"mark": mark, "why": "ghl answered 400. Correct the data.", "attempts": 1})
    assert "Correct the data." in said
    assert ".." not in said
