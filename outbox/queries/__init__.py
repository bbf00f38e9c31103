"""Named queries: `load("busy")["finish"]` is the statement under `-- name: finish` in busy.sql. One file for each table."""

import re
from functools import cache
from importlib.resources import files

HEAD = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load(stem: str) -> dict[str, str]:
    """The statements of `stem`.sql by name. Raises FileNotFoundError for a stem without a file."""
    text = files("outbox.queries").joinpath(f"{stem}.sql").read_text("utf-8")
    parts = HEAD.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def stems() -> list[str]:
    """The files there are."""
    return sorted(entry.name.removesuffix(".sql") for entry in files("outbox.queries").iterdir() if entry.name.endswith(".sql"))
