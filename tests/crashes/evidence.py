"""What the crash tests measured, kept as rows, and made into docs/evidence.md.

A test gives a Row to the fixture `evidence`; it is kept only where POSTROOM_EVIDENCE names a folder, as `make test-long` does.
`make evidence` runs that and renders:  python -m tests.crashes.evidence FOLDER docs/evidence.md
"""

import argparse
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import psutil

from outbox.embedded import find_binaries

FOLDER = "POSTROOM_EVIDENCE"
HEALS_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario. Its name is `family: what happened`; `healed_s` None: nothing had to heal. `command` reruns it."""

    scenario: str
    events: int
    lost: int
    duplicated: int
    healed_s: float | None
    command: str

    @property
    def family(self) -> str:
        return self.scenario.partition(": ")[0]


def keep(row: Row, folder: Path) -> None:
    """Adds a line to this process's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def gathered(folder: Path) -> list[Row]:
    """All rows of a folder by scenario; of one that was run again, the last."""
    files = sorted(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime)
    rows = [Row(**json.loads(line)) for file in files for line in file.read_text().splitlines()]
    return sorted({row.scenario: row for row in rows}.values(), key=lambda row: row.scenario)


def machine() -> str:
    """Cores, memory, Python and Postgres, in a line."""
    gib = psutil.virtual_memory().total / 2**30
    postgres = find_binaries(os.environ.get("POSTROOM_PG_BIN")).version
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores, {gib:.0f} GiB, {system}, Python {platform.python_version()}, Postgres {postgres}"


def render(rows: Sequence[Row], *, at: datetime, on: str) -> str:
    """The page."""
    healed = [row.healed_s for row in rows if row.healed_s is not None]
    lines = [
        "# Evidence",
        "",
        "Each row is a run in which something was killed, frozen, cut off or upgraded under load, and in which every id was added up",
        "afterwards: *lost* counts events that were accepted and are in no state (P7) or whose effect is missing, *duplicated* counts",
        "effects at the far side beyond the first (P6) and deliveries that became two events (P2). Events of a lane that ended out of",
        "order (P5) fail the test. *Seconds to heal* run from the kill (of Postgres: from the moment it answers again) until the",
        f"interrupted work runs again or is settled; promise P9 says at most {HEALS_WITHIN_S:g}.",
        "",
        "Rerun everything with `make evidence`, or one row with the command in its last column.",
        "",
        f"Measured on {at:%Y-%m-%d}: {on}.",
        "",
        f"**{len(rows)} scenarios, {sum(row.events for row in rows):,} events, {sum(row.lost for row in rows)} lost, "
        f"{sum(row.duplicated for row in rows)} duplicated, at most {max(healed, default=0.0):.1f} s to heal.**",
    ]
    for family, members in groupby(rows, key=lambda row: row.family):
        lines += ["", f"## {family[:1].upper()}{family[1:]}", "", *_table(members)]
    return "\n".join(lines) + "\n"


def _table(rows: Iterable[Row]) -> list[str]:
    lines = ["| scenario | events | lost | duplicated effects | seconds to heal | command |", "|---|---:|---:|---:|---:|---|"]
    for row in rows:
        what = row.scenario.partition(": ")[2] or row.scenario
        seconds = "–" if row.healed_s is None else f"{row.healed_s:.1f}"
        cells = (what, f"{row.events:,}", str(row.lost), str(row.duplicated), seconds, f"`{row.command}`")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m tests.crashes.evidence FOLDER PAGE`."""
    parser = argparse.ArgumentParser(description="Makes a page of what the crash tests measured.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("page", type=Path)
    given = parser.parse_args(arguments)
    rows = gathered(given.folder)
    if not rows:
        parser.exit(1, f"{given.folder} holds no rows: set {FOLDER} to it and run the crash tests first\n")
    given.page.write_text(render(rows, at=datetime.now(UTC), on=machine()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
