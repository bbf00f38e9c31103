"""What the figures mean: the table of a run, and benchmarks/RESULTS.md from benchmarks/latest.json.

Owns the numbers to reach. NOTES holds, by hand, one honest line for a row that is missed: by how much the table says, why is said here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

Results = Mapping[str, Any]

# By the key of a row (relative ones as "relative.old_snapshot"): why it is missed, and what would change it. Shown only while it is missed.
NOTES: Final[Mapping[str, str]] = {
    "ingest_ratio_notion": "The bare route verifies and answers; ours also reads the payload, makes a key and waits for a commit. "
    "An HMAC is cheap, so that this shows; beside an Ed25519 signature it does not.",
    "drain_per_s": "An absolute rate, of two cores that the dispatcher shares with Postgres; both are busy then (`perf` beside "
    "`--only drain`, 2026-11-29: of both cores 43 % are the dispatcher, which has one thread, 41 % Postgres). It was set on a "
    "machine where pgqueuer reached 11,700/s and more; beside it here it is the ratio that can be compared.",
    "hot_lane_per_s": "Its events go one after the other: for each a statement and a commit that waits for the disk, with nothing "
    "beside it. The rows below it say what each takes: without the wait the lane is above 1,000/s, and no lane can pass the bare "
    "commits. Of the statement's time (perf) no part stands out: setting up its plan, looking up and changing three tables, waking "
    "the other process.",
    "latency_p50_ms": "An absolute time of two durable commits and a wake-up between them. The least that this machine takes for "
    "just these, at the same pace, is the bare row's: each of them takes four times what it takes one right after the other, "
    "because a core that slept must wake up first. What the engine adds for keys, lanes, days, attempts and the start of a handler "
    "is the ratio.",
    "latency_p99_ms": "As the p50, the bare one's p99 being most of it. Taken apart by a trace of every look: what is over the p50 "
    "is the stager's commit or the claim's, which now and then wait for the disk or for a core. A wake-up that was forgotten made "
    "3 ms more; see docs/decisions/performance.md.",
    "calls_s": "Calls that always take exactly 200 ms come back together, so that in each of the 20 rounds 50 answers wait for one "
    "core, and leave together again, for they share their statements: of 240 ms a round 200 are the call, 22 its two trips to the "
    "journal, 8 its settlement, 10 the claim and the loop. docs/decisions/performance.md says what was tried.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `reach` None: no number to reach; `at_most`: less is better."""

    text: str
    key: str
    reach: float | None = None
    at_most: bool = False
    show: str = ",.0f"

    def measured(self, results: Results) -> float | None:
        """None: not measured in this run."""
        found: Any = results
        for part in self.key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return None if found is None else float(found)

    def is_met(self, measured: float) -> bool | None:
        """None where there is nothing to reach."""
        if self.reach is None:
            return None
        return measured <= self.reach if self.at_most else measured >= self.reach

    def wanted(self) -> str:
        """As text."""
        return "" if self.reach is None else f"{'≤' if self.at_most else '≥'} {self.reach:{self.show}}"


ROWS: Final = (
    Row("ingest of Notion webhooks, share of the bare route", "ingest_ratio_notion", 0.65, show=".2f"),
    Row("ingest of GHL webhooks, share of the bare route", "ingest_ratio_ghl", 0.65, show=".2f"),
    Row("ingest of Notion webhooks, requests/s", "ingest_notion_per_s"),
    Row("ingest of GHL webhooks, requests/s", "ingest_ghl_per_s"),
    Row("drain, no-op handler, one process, events/s", "drain_per_s", 30_000),
    Row("drain, times pgqueuer beside it", "drain_vs_pgqueuer", 2, show=".2f"),
    Row("drain, times procrastinate beside it", "drain_vs_procrastinate", show=".1f"),
    Row("drain, times graphile-worker beside it", "drain_vs_graphile", show=".2f"),
    Row("drain, two processes, events/s", "drain_two_processes_per_s"),
    Row("drain with a large backlog, share of the plain rate", "relative.backlog_1m", 0.9, show=".2f"),
    Row("drain beside waiting retries, share of the plain rate", "relative.retries_100k", 0.9, show=".2f"),
    Row("drain beside one long lane, share of the plain rate", "relative.hot_lane", 0.7, show=".2f"),
    Row("drain with an old snapshot held, share of the plain rate", "relative.old_snapshot", 0.6, show=".2f"),
    Row("one hot lane alone, events/s", "hot_lane_per_s", 1_000),
    Row("the same, without waiting for the disk at its commits, events/s", "hot_lane_no_disk_per_s"),
    Row("one hot lane with the tables of 90 days, share of the rate without", "days_90_ratio", show=".2f"),
    Row("bare commits of one connection, one after the other, /s", "commits_per_s"),
    Row("WAL, stage, bytes/event", "wal_stage_bytes"),
    Row("WAL, drain, bytes/event", "wal_drain_bytes"),
    Row("WAL, stage and drain, bytes/event", "wal_bytes", 1_750, at_most=True),
    Row("WAL of pgqueuer, bytes/job", "pgqueuer_wal_bytes"),
    Row("WAL of graphile-worker, bytes/job", "graphile_wal_bytes"),
    Row("transactions/event under backlog", "tx_per_event", 0.01, at_most=True, show=".4f"),
    Row("fixed work of one core (JSON, SHA-256, plain Python), rounds/s", "core_rounds_per_s"),
    Row("CPU of the dispatcher, µs/event", "cpu_us_per_event", show=".1f"),
    Row("staged → handler starts at 100/s, p50, ms", "latency_p50_ms", 3, at_most=True, show=".1f"),
    Row("staged → handler starts at 100/s, p99, ms", "latency_p99_ms", 8, at_most=True, show=".1f"),
    Row("of it until the stager had its answer, p50, ms", "latency_stage_p50_ms", show=".1f"),
    Row("the same, p99, ms", "latency_stage_p99_ms", show=".1f"),
    Row("bare: a row and its NOTIFY, heard and taken by a second commit, p50, ms", "latency_bare_p50_ms", show=".1f"),
    Row("the same, p99, ms", "latency_bare_p99_ms", show=".1f"),
    Row("staged → handler starts, times the bare one, p50", "latency_vs_bare", show=".2f"),
    Row("staged → handler starts in the worst window, p99, ms", "latency_worst_window_p99_ms", show=".1f"),
    Row("1,000 calls of 200 ms, 50 at once by slots, seconds (at best 4.0)", "calls_s", 4.5, at_most=True, show=".2f"),
    Row("CPU of the dispatcher for each of these, ms", "calls_cpu_ms_per_event", show=".2f"),
    Row("1,000 calls of 200 ms, 50 at once by their destination's gate, seconds", "calls_gated_s", show=".2f"),
    Row("a replay by a plan, no-op handler, one process: events/s to its end", "replay_per_s"),
    Row("the same, seconds", "replay_s", show=".1f"),
    Row("live events beside it, staged → handler starts, p50, ms", "replay_fresh_p50_ms", show=".1f"),
    Row("the same, p99, ms", "replay_fresh_p99_ms", show=".1f"),
    Row("memory of a dispatcher over a large backlog, at most, MB", "rss_mb", 150, at_most=True),
    Row("its growth from the first tenth to the end, MB", "rss_growth_mb", 10, at_most=True, show=".1f"),
)


def lines(results: Results) -> Iterator[tuple[Row, str, str, str]]:
    """(row, measured, to reach, met?) of what was measured."""
    for row in ROWS:
        if (measured := row.measured(results)) is not None:
            met = row.is_met(measured)
            yield row, f"{measured:{row.show}}", row.wanted(), {True: "yes", False: "no", None: ""}[met]


def table(results: Results) -> Table:
    """For the terminal."""
    made = Table("what", "measured", "to reach", "met?")
    for row, measured, wanted, met in lines(results):
        made.add_row(row.text, measured, wanted, f"[red]{met}[/red]" if met == "no" else met)
    return made


def headline(results: Results) -> str:
    """When, on what, how long, and how quiet the machine was."""
    noise = results.get("noise", {})
    told = [f"{results['machine']}, PostgreSQL {results.get('postgres', '?')}, {results['at']}, {results['seconds']} s"]
    if "stolen" in noise:
        told.append(f"meanwhile other programs used {noise['others']:.1%} of the machine, and its host took {noise['stolen']:.1%}")
    if (load := noise.get("load_before")) is not None:
        told.append(f"load average before the run {load:g}")
    return "; ".join(told)


def is_missed(results: Results) -> list[Row]:
    """Rows whose number is not reached."""
    return [row for row, _, _, met in lines(results) if met == "no"]


def markdown(results: Results) -> str:
    """The whole of RESULTS.md."""
    form = "the short form (`make bench-short`): smaller sizes, more noise" if results.get("short") else "`make bench`"
    parts = [
        "# Benchmarks: measured\n",
        f"Written by `python -m benchmarks --results` from latest.json; not by hand. {form[0].upper()}{form[1:]}.\n",
        f"{headline(results)}.\n",
        "| what | measured | to reach | met? |\n|---|---|---|---|",
        *(f"| {row.text} | {measured} | {wanted} | {met} |" for row, measured, wanted, met in lines(results)),
        "",
        *_section("## What is missed, and why", _missed(results)),
        *_section("## What was left out", _left_out(results)),
        HOW,
        *_section("## Sizes", _sizes(results)),
    ]
    return "\n".join(parts)


def _section(title: str, told: list[str]) -> list[str]:
    return [f"{title}\n", *told, ""] if told else []


def _missed(results: Results) -> list[str]:
    told = []
    for row in is_missed(results):
        measured = row.measured(results)
        assert measured is not None
        assert row.reach is not None
        off = abs(measured / row.reach - 1)
        why = NOTES.get(row.key, "no reason is written down yet: benchmarks/report.py, NOTES")
        told.append(f"- **{row.text}**: {measured:{row.show}} instead of {row.wanted()}, {off:.0%} off. {why}")
    return told


def _sizes(results: Results) -> list[str]:
    sizes = {name.replace("_", " "): value for name, value in results.get("sizes", {}).items() if not isinstance(value, bool)}
    return [", ".join(f"{name} {value:,}" for name, value in sizes.items()) + "."] if sizes else []


def _left_out(results: Results) -> list[str]:
    skipped = results.get("graphile_skipped")
    return [f"- graphile-worker: {skipped}."] if skipped else []


HOW: Final = """## How it is measured

- A Postgres of the run's own on the same machine, durable as by default (fsync, synchronous_commit and full_page_writes on), large enough
  that no checkpoint falls into a run; a fresh database for each run. All programs share the machine with it.
- The drain is the real dispatcher in a process of its own: time limits, attempt records, fences, leases and metrics on, a handler that
  parses its payload and returns. Clock: from "begin" to when no row is left.
- Whatever is compared is measured in turns. Ingest: rounds of both apps one after the other, the median of the rounds' ratios. Peers and
  relative cases: between two plain drains, against their mean.
- Peers are configured for throughput as their own docs advise. They keep no order by key, no attempt records and no durable idempotency
  keys; their clock stops with the last handler, ours with the last settlement.
- Latency: the median and the worst of several windows. Memory: the process's peak, and the growth of its resident size.
- Real handlers: one journaled step with one HTTP call each, to a server in a process of its own that answers after 200 ms.
"""
