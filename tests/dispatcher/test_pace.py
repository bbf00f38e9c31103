"""How fast a run is: over the last minute, and of this attempt and phase alone."""

from dispatcher.syncs.pace import WINDOW_MS, Pace


def test_a_resumed_run_is_as_fast_as_it_is_since_it_was_resumed() -> None:
    pace = Pace(500_000, phase="contacts", done=4_000)
    assert pace.behind_page(502_000, phase="contacts", done=4_200) == 100
    assert pace.behind_page(504_000, phase="contacts", done=4_300) == 75


def test_what_is_older_than_a_minute_counts_no_more() -> None:
    pace, said = Pace(0, phase=None, done=0), None
    for second in range(1, 241):
        said = pace.behind_page(second * 1000, phase=None, done=second * 200 if second <= 120 else 24_000 + (second - 120) * 10)
    assert said == 10
    assert pace.behind_page(240_000 + 2 * WINDOW_MS, phase=None, done=25_200 + 240) == 2


def test_a_phase_counts_from_its_own_beginning() -> None:
    pace = Pace(0, phase=None, done=0)
    assert pace.behind_page(1_000, phase="contacts", done=200) == 200
    assert pace.behind_page(3_000, phase="deletions", done=20) == 10


def test_a_walk_that_begins_again_counts_from_there() -> None:
    pace = Pace(0, phase="everything", done=0)
    assert pace.behind_page(1_000, phase="everything", done=900) == 900
    assert pace.behind_page(2_000, phase="everything", done=100) == 100


def test_without_progress_or_time_nobody_knows() -> None:
    pace = Pace(0, phase=None, done=0)
    assert pace.behind_page(0, phase=None, done=10) is None
    assert Pace(0, phase=None, done=10).behind_page(5_000, phase=None, done=10) is None
