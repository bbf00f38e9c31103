"""Fills an empty, migrated database for `python -m benchmarks.console`: the statements of console_load.sql, in their order.

Rows are made by the server, not staged one by one: what is measured afterwards is reading.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

from outbox import db
from outbox.db import Connection

STATEMENTS = Path(__file__).with_suffix(".sql")
_NAME = re.compile(r"^-- name: (.+)$", re.MULTILINE)
TIMEOUT_S = 1800.0


async def fill(connection: Connection, *, events: int, dead: int, tell: Callable[[str], None]) -> None:
    """All of it, and the statistics of the planner."""
    _, *parts = _NAME.split(STATEMENTS.read_text("utf-8"))
    for name, statement in zip(parts[::2], parts[1::2], strict=True):
        began = time.perf_counter()
        values = (events, dead)[: 2 if "$2" in statement else 1 if "$1" in statement else 0]
        await db.fetch(connection, statement, *values, timeout_s=TIMEOUT_S)
        tell(f"{name}: {time.perf_counter() - began:.0f} s")
    await connection.execute("vacuum analyze", timeout=TIMEOUT_S)
