"""The rows that crash tests leave, and the page made of them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.crashes import evidence as kept
from tests.crashes.evidence import FOLDER, Row, gathered, main, render

AT = datetime(2027, 1, 5, tzinfo=UTC)
FIRST = Row("dispatcher killed: before claim", 32, 0, 0, 9.04, ".venv/bin/pytest x -k 'claim'")
SECOND = Row("dispatcher killed: after claim", 1200, 0, 0, 11.96, ".venv/bin/pytest x")
OTHER = Row("postgres killed: during a | b", 5, 1, 2, None, ".venv/bin/pytest y")


def test_a_row_is_kept_in_the_folder_that_is_named_and_nowhere_else(
    evidence: Callable[[Row], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept.keep(FIRST, tmp_path / "rows")
    kept.keep(OTHER, tmp_path / "rows")
    assert gathered(tmp_path / "rows") == [FIRST, OTHER]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "rows"))
    return tmp_path / "rows"


def test_the_fixture_keeps_rows_where_the_environment_says(named: Path, evidence: Callable[[Row], None]) -> None:
    evidence(FIRST)
    assert gathered(named) == [FIRST]


def test_of_a_scenario_that_was_run_again_the_last_row_counts(tmp_path: Path) -> None:
    rows = [FIRST, Row(FIRST.scenario, 40, 0, 0, 8.0, FIRST.command)]
    (tmp_path / "1.jsonl").write_text("".join(json.dumps({name: getattr(row, name) for name in Row.__slots__}) + "\n" for row in rows))
    assert gathered(tmp_path) == rows[1:]


def test_the_page_adds_up_and_has_a_table_for_each_family() -> None:
    page = render([SECOND, FIRST, OTHER], at=AT, on="2 cores")
    assert "Measured on 2027-01-05: 2 cores." in page
    assert "**3 scenarios, 1,237 events, 1 lost, 2 duplicated, at most 12.0 s to heal.**" in page
    assert page.count("| scenario | events | lost | duplicated effects | seconds to heal | command |") == 2
    assert "## Dispatcher killed\n" in page
    assert "| before claim | 32 | 0 | 0 | 9.0 | `.venv/bin/pytest x -k 'claim'` |" in page
    assert r"| during a \| b | 5 | 1 | 2 | – | `.venv/bin/pytest y` |" in page


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    kept.keep(FIRST, tmp_path / "rows")
    assert main([str(tmp_path / "rows"), str(tmp_path / "evidence.md")]) == 0
    page = (tmp_path / "evidence.md").read_text()
    assert "before claim" in page
    assert "Python 3." in page
    assert "Postgres" in page


def test_without_rows_there_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main([str(tmp_path), str(tmp_path / "evidence.md")])
    assert "holds no rows" in capsys.readouterr().err
    assert not (tmp_path / "evidence.md").exists()
