"""The cases, in the order of a run. Each stands alone (`--only`): what it is compared with, it measures itself."""

import asyncio
import json
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from benchmarks import load
from benchmarks.bench import Bench
from benchmarks.calls import calls
from benchmarks.drain import drain
from benchmarks.graphile import Absent, graphile, installed
from benchmarks.ingest import ingest
from benchmarks.latency import bare, latency
from benchmarks.replay import replay
from benchmarks.server import database
from benchmarks.yardstick import commits_per_s
from outbox import db

Case: TypeAlias = Callable[[Bench], Awaitable[None]]


async def ingest_both(bench: Bench) -> None:
    """Signed and durable, 64 connections, in turns with a bare route that only verifies the same signature."""
    for source in ("notion", "ghl"):
        found = await ingest(bench.running, source, requests=bench.sizes.ingest_requests, rounds=bench.sizes.ingest_rounds)
        bench.results |= {
            f"ingest_ratio_{source}": round(found.ratio, 2),
            f"ingest_{source}_per_s": round(found.postroom_per_s),
            f"ingest_{source}_bare_per_s": round(found.bare_per_s),
            f"ingest_{source}_p99_ms": round(found.p99_ms, 1),
        }
        bench.tell(f"ingest of {source}: {found.postroom_per_s:,.0f}/s, {found.ratio:.2f} of the bare route")


async def plain(bench: Bench) -> None:
    """No-op handler, one process: the drain that others are compared with; other cases add runs of it."""
    for _ in range(1 if bench.sizes.is_short else 3):
        await bench.plain()


async def two_processes(bench: Bench) -> None:
    """The same with two dispatchers."""

    async def both() -> float:
        return (await drain(bench.running, events=bench.sizes.drained, lanes=bench.sizes.lanes, processes=2)).per_s

    per_s, beside = await bench.beside("two processes", both)
    bench.results |= {"drain_two_processes_per_s": round(per_s), "two_processes_ratio": round(per_s / beside, 2)}


async def _peer(bench: Bench, name: str, measure: Callable[[str], Awaitable[dict[str, float]]], *, rounds: int) -> None:
    said: list[dict[str, float]] = []
    ratios = []

    async def once() -> float:
        async with database(bench.running, "peer", migrated=False) as dsn:
            said.append(await measure(dsn))
        return said[-1]["per_s"]

    for _ in range(rounds):
        per_s, beside = await bench.beside(name, once)
        ratios.append(beside / per_s)
    bench.results |= {
        f"{name}_per_s": round(statistics.median(round_["per_s"] for round_ in said)),
        f"{name}_wal_bytes": round(statistics.median(round_["wal_bytes"] for round_ in said)),
        f"drain_vs_{name}": round(statistics.median(ratios), 2),
    }


async def peers(bench: Bench) -> None:
    """pgqueuer and procrastinate on the same server, in turns with our drain."""

    async def run(name: str, events: int, dsn: str) -> dict[str, float]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.peers",
            name,
            dsn,
            str(events),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
        said: dict[str, float] = json.loads(output.splitlines()[-1])
        return said

    sizes = bench.sizes
    await _peer(bench, "pgqueuer", lambda dsn: run("pgqueuer", sizes.pgqueuer, dsn), rounds=sizes.peer_rounds)
    await _peer(bench, "procrastinate", lambda dsn: run("procrastinate", sizes.procrastinate, dsn), rounds=1)


async def graphile_worker(bench: Bench) -> None:
    """graphile-worker, where Node is there."""
    try:
        async with installed() as folder:
            await _peer(bench, "graphile", lambda dsn: graphile(folder, dsn, bench.sizes.graphile), rounds=bench.sizes.peer_rounds)
    except Absent as why:
        bench.results["graphile_skipped"] = str(why)
        bench.tell(f"graphile-worker is left out: {why}")


async def _relative(bench: Bench, name: str, **how: Any) -> None:
    async def once() -> float:
        return (await drain(bench.running, events=bench.sizes.drained, lanes=bench.sizes.lanes, **how)).per_s

    per_s, beside = await bench.beside(name.replace("_", " "), once)
    bench.results.setdefault("relative", {})[name] = round(per_s / beside, 2)


async def retries(bench: Bench) -> None:
    """Beside 100k lanes whose head waits for its retry."""
    await _relative(bench, "retries_100k", prepare=lambda control: load.add_waiting_retries(control, bench.sizes.retries))


async def hot_beside(bench: Bench) -> None:
    """Beside one lane of 100k, which is not waited for."""

    async def one_hot_lane(control: db.Connection) -> None:
        await load.stage(control, bench.sizes.hot_beside, lane="hot", seed=8)

    await _relative(bench, "hot_lane", prepare=one_hot_lane, but="hot")


async def snapshot(bench: Bench) -> None:
    """While somebody holds a snapshot from before the drain."""
    await _relative(bench, "old_snapshot", snapshot=True)


async def backlog(bench: Bench) -> None:
    """A backlog of 1M: the rate over all of it, and the memory of the dispatcher."""

    async def large() -> float:
        run = await drain(bench.running, events=bench.sizes.backlog, lanes=bench.sizes.backlog_lanes)
        bench.results |= {"rss_mb": round(run.peak_rss_mb), "rss_growth_mb": round(run.rss_growth_mb, 1)}
        return run.per_s

    per_s, beside = await bench.beside("backlog 1m", large)
    bench.results.setdefault("relative", {})["backlog_1m"] = round(per_s / beside, 2)
    bench.tell(
        f"its dispatcher: {bench.results['rss_mb']} MB at most, {bench.results['rss_growth_mb']:+} MB from its first tenth to its end"
    )


async def hot_lane(bench: Bench) -> None:
    """One lane alone, beside what a commit takes: those of one connection, one after the other, and the same lane with none that waits."""
    bench.results["commits_per_s"] = await commits_per_s(bench.running)
    for key, prepare in (("hot_lane_per_s", None), ("hot_lane_no_disk_per_s", load.let_no_commit_wait)):
        found = await drain(bench.running, events=bench.sizes.hot_alone, lanes=0, lane="hot", prepare=prepare)
        bench.results[key] = round(found.per_s)
    alone, no_disk, commits = (bench.results[key] for key in ("hot_lane_per_s", "hot_lane_no_disk_per_s", "commits_per_s"))
    bench.tell(
        f"one hot lane alone: {alone:,}/s; without waiting for the disk: {no_disk:,}/s; bare commits, one after the other: {commits:,}/s"
    )


async def old_days(bench: Bench) -> None:
    """One lane alone, with the tables of ninety days and without, in turns."""

    async def prepare(control: db.Connection) -> None:
        await load.add_old_days(control, 90)

    ratios = []
    for _ in range(1 if bench.sizes.is_short else 3):
        without = await drain(bench.running, events=bench.sizes.hot_alone, lanes=0, lane="hot")
        beside = await drain(bench.running, events=bench.sizes.hot_alone, lanes=0, lane="hot", prepare=prepare)
        ratios.append(beside.per_s / without.per_s)
        bench.tell(f"one lane alone: {without.per_s:,.0f}/s; with the tables of 90 days {beside.per_s:,.0f}/s")
    bench.results["days_90_ratio"] = round(statistics.median(ratios), 2)


async def wake_up(bench: Bench) -> None:
    """staged → handler starts, at 100 events a second; and the least that this machine takes for it: two commits and a wake-up."""
    windows, window_s = bench.sizes.latency_windows, bench.sizes.latency_window_s
    least = await bare(bench.running, windows=max(1, windows // 3), window_s=window_s)
    found = await latency(bench.running, windows=windows, window_s=window_s)
    bench.results |= {
        "latency_bare_p50_ms": round(least.p50_ms, 1),
        "latency_bare_p99_ms": round(least.p99_ms, 1),
        "latency_stage_p50_ms": round(found.stage_p50_ms, 1),
        "latency_stage_p99_ms": round(found.stage_p99_ms, 1),
        "latency_vs_bare": round(found.p50_ms / least.p50_ms, 2),
        "latency_p50_ms": round(found.p50_ms, 1),
        "latency_p99_ms": round(found.p99_ms, 1),
        "latency_worst_window_p50_ms": round(found.worst_p50_ms, 1),
        "latency_worst_window_p99_ms": round(found.worst_p99_ms, 1),
    }
    worst = f"{found.worst_p50_ms:.1f} and {found.worst_p99_ms:.1f} ms"
    bench.tell(f"latency: {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms; in the worst window {worst}")
    staged = f"{found.stage_p50_ms:.1f} ms, p99 {found.stage_p99_ms:.1f} ms"
    bench.tell(f"of it until stage() returned: {staged}; bare: {least.p50_ms:.1f} ms, p99 {least.p99_ms:.1f} ms")


async def real_handlers(bench: Bench) -> None:
    """1,000 events, each a step with a call of 200 ms, 50 at once: by the worker's slots; whole form: by their destination's gate, too."""
    sizes = bench.sizes
    forms = {"calls_s": False} if sizes.is_short else {"calls_s": False, "calls_gated_s": True}
    for key, gated in forms.items():
        found = await calls(bench.running, events=sizes.calls, at_once=sizes.calls_at_once, call_ms=sizes.call_ms, gated=gated)
        bench.results |= {key: round(found.seconds, 2), key.replace("_s", "_cpu_ms_per_event"): round(found.cpu_ms_per_event, 2)}
        best_s = sizes.calls * sizes.call_ms / 1000 / sizes.calls_at_once
        told = f"{found.seconds:.2f} s (at best {best_s:.1f}), {found.cpu_ms_per_event:.1f} ms of CPU each"
        bench.tell(f"calls of {sizes.call_ms} ms, {'by the gate' if gated else 'by slots'}: {told}")


async def replays(bench: Bench) -> None:
    """100,000 settled events by a plan of a replay, to its end, beside live ones."""
    found = await replay(bench.running, events=bench.sizes.replayed, lanes=bench.sizes.replayed // 10)
    waited = [found.fresh_ms[int(len(found.fresh_ms) * share)] for share in (0.5, 0.99)]
    bench.results |= {
        "replay_plan_s": round(found.made_s, 1),
        "replay_sent_s": round(found.sent_s, 1),
        "replay_s": round(found.over_s, 1),
        "replay_per_s": round(bench.sizes.replayed / found.over_s),
        "replay_fresh_p50_ms": round(waited[0], 1),
        "replay_fresh_p99_ms": round(waited[1], 1),
    }
    told = f"planned in {found.made_s:.1f} s, all sent after {found.sent_s:.1f} s, over after {found.over_s:.1f} s"
    bench.tell(f"{bench.sizes.replayed:,} replayed: {told}; live ones waited {waited[0]:.1f} ms, p99 {waited[1]:.1f} ms")


CASES: Final[Mapping[str, Case]] = {
    "ingest": ingest_both,
    "latency": wake_up,
    "calls": real_handlers,
    "hot": hot_lane,
    "days": old_days,
    "replay": replays,
    "drain": plain,
    "two": two_processes,
    "peers": peers,
    "graphile": graphile_worker,
    "retries": retries,
    "hot-beside": hot_beside,
    "snapshot": snapshot,
    "backlog": backlog,
}
# Left out of the short form, unless they are asked for: what the design's table has no row for.
WHOLE_ONLY: Final = frozenset({"days", "replay"})
