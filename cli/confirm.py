"""Asking before an act on many."""

import sys

from cli.errors import Failed, Usage
from cli.output import err


def confirm(said: str, *, yes: bool, as_json: bool) -> None:
    """Goes on when `--yes` was given, or a person at the terminal says so. `said` is what would happen."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise Usage(f"{said}: add --yes.")
    err().print(f"{said}. Go on? [y/N] ", end="")
    if input().strip().lower() not in ("y", "yes"):
        raise Failed("Nothing was done.")
