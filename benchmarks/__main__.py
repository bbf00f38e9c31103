"""`make bench`: the rows of the design's table, as ratios in one run; prints a table, writes latest.json and RESULTS.md.

`--only` runs single cases and writes nothing but what it prints (`--json FILE` keeps it).
"""

import argparse
import asyncio
import dataclasses
import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks import noise
from benchmarks.bench import Bench, Results
from benchmarks.cases import CASES, WHOLE_ONLY
from benchmarks.report import headline, markdown, table
from benchmarks.server import server, version
from benchmarks.sizes import FULL, SHORT
from benchmarks.yardstick import rounds_per_s

LATEST = Path(__file__).with_name("latest.json")
RESULTS = Path(__file__).with_name("RESULTS.md")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the rows of the design, smaller, in under two minutes")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"single cases: {', '.join(CASES)}")
    parser.add_argument("--results", action="store_true", help="only write RESULTS.md again from latest.json")
    parser.add_argument("--json", type=Path, help="write the figures here instead of to latest.json")
    return parser.parse_args()


async def measure(asked: argparse.Namespace, console: Console) -> Results:
    """Runs the cases and returns their figures."""
    began, load_before = time.perf_counter(), noise.load()
    sizes = SHORT if asked.short else FULL
    with server() as running:
        before = noise.Moment.now(running.pid)
        bench = Bench(running, sizes, lambda text: console.print(f"  {time.perf_counter() - began:4.0f} s  {text}", highlight=False))
        bench.results |= {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "core_rounds_per_s": rounds_per_s(),
            "postgres": await version(running),
            "short": sizes.is_short,
            "sizes": dataclasses.asdict(sizes),
        }
        names = asked.only or [name for name in CASES if not (asked.short and name in WHOLE_ONLY)]
        for place, name in enumerate(names, 1):
            console.print(f"{place}/{len(names)} [bold]{name}[/bold]: {(CASES[name].__doc__ or '').strip()}", highlight=False)
            try:
                await CASES[name](bench)
            except Exception as problem:  # noqa: BLE001 -- one case must not cost the figures of all others; the exit code says it
                console.print_exception()
                bench.results.setdefault("failed", {})[name] = f"{type(problem).__name__}: {problem}"
        bench.settle_plain()
        share = noise.Noise.between(before, noise.Moment.now(running.pid))
    bench.results |= {
        "seconds": round(time.perf_counter() - began),
        "noise": {"load_before": load_before, **({} if share is None else dataclasses.asdict(share))},
    }
    return bench.results


def machine() -> str:
    """What the figures were measured on."""
    return f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}"


async def main() -> int:
    asked, console = options(), Console(width=None if sys.stdout.isatty() else 132)
    if not asked.results:
        found = await measure(asked, console)
        console.print(table(found))
        console.print(f"{headline(found)}.", highlight=False)
        target = asked.json or (None if asked.only else LATEST)
        if target is None:
            return 1 if "failed" in found else 0
        target.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        console.print(f"All of it is in {target}.", highlight=False)
        if "failed" in found:
            return 1
        if target != LATEST or asked.short:
            return 0
    RESULTS.write_text(markdown(json.loads(LATEST.read_text("utf-8"))), "utf-8")
    console.print(f"{RESULTS.name} is written.", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
