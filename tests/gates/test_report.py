"""benchmarks/RESULTS.md says what was measured, and of each number that is not reached by how much and why."""

import json
from typing import Any

import pytest

from benchmarks import report
from benchmarks.__main__ import LATEST
from benchmarks.report import NOTES, ROWS, is_missed, markdown

FOUND: dict[str, Any] = {
    "at": "2026-11-01T10:00:00+00:00",
    "machine": "2 cores",
    "seconds": 600,
    "short": False,
    "drain_per_s": 24_000,
    "latency_p99_ms": 6.0,
    "relative": {"backlog_1m": 0.95, "old_snapshot": 0.45},
    "noise": {"load_before": 0.1, "others": 0.021, "stolen": 0.003},
    "graphile_skipped": "node or npm is not there",
    "sizes": {"is_short": False, "drained": 200_000},
}


def test_a_row_is_missed_by_being_too_small_or_too_large_and_only_where_it_was_measured() -> None:
    assert [row.key for row in is_missed(FOUND)] == ["drain_per_s", "relative.old_snapshot"]
    assert [row.key for row in is_missed(FOUND | {"latency_p99_ms": 8.1})] == ["drain_per_s", "relative.old_snapshot", "latency_p99_ms"]


def test_what_is_missed_has_its_own_line_with_the_distance_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "NOTES", {"drain_per_s": "The planner was asleep."})
    text = markdown(FOUND)
    assert "24,000 instead of ≥ 30,000, 20% off. The planner was asleep." in text
    assert "0.45 instead of ≥ 0.60, 25% off. no reason is written down yet" in text
    assert "| staged → handler starts at 100/s, p99, ms | 6.0 | ≤ 8.0 | yes |" in text
    assert "graphile-worker: node or npm is not there." in text
    assert "other programs used 2.1% of the machine" in text
    assert "drained 200,000" in text


def test_a_run_that_reaches_everything_has_no_section_of_misses() -> None:
    assert "What is missed" not in markdown(FOUND | {"drain_per_s": 31_000, "relative": {}})


def test_reasons_are_written_for_rows_that_there_are() -> None:
    assert NOTES.keys() <= {row.key for row in ROWS}


def test_the_figures_that_were_kept_have_the_agreed_names() -> None:
    kept = json.loads(LATEST.read_text("utf-8"))
    agreed = {
        "ingest_ratio_notion", "ingest_ratio_ghl", "drain_per_s", "drain_vs_pgqueuer", "drain_two_processes_per_s", "wal_stage_bytes",
        "wal_drain_bytes", "tx_per_event", "latency_p50_ms", "latency_p99_ms", "relative", "hot_lane_per_s", "rss_mb",
    }  # fmt: skip
    assert agreed <= kept.keys()
    assert kept["relative"].keys() == {"backlog_1m", "retries_100k", "hot_lane", "old_snapshot"}
    assert markdown(kept)
