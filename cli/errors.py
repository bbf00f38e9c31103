"""Every error as one line for people and one exit code for scripts. The only place that knows the codes; no traceback passes it.

0 fine   1 failed, or something is wrong   2 bad usage   3 the database is away   130 interrupted
"""

import os
from enum import IntEnum
from typing import NoReturn

import typer

from outbox.embedded import EmbeddedError
from outbox.errors import DatabaseUnavailable, PostroomError
from outbox.log import get_logger, scrub

log = get_logger(__name__)

EXIT_CODES = "Exit codes: 0 fine, 1 failed or something is wrong, 2 bad usage, 3 the database is away."
MAX_LINE_CHARS = 600


class Code(IntEnum):
    """What the process exits with."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    DATABASE_AWAY = 3
    INTERRUPTED = 130


class Failed(PostroomError):
    """A command could not do what it was asked; the message says what, which, and what to do."""


class Usage(PostroomError):
    """An argument that cannot be used; the message says which and what it should be."""


def explain(problem: BaseException) -> tuple[str, Code]:
    """The line and the code for anything that a command let through."""
    while isinstance(problem, BaseExceptionGroup):  # of a TaskGroup: the first of them says it
        problem = problem.exceptions[0]
    match problem:
        case typer.TyperException() if type(problem).__name__ == "NoArgsIsHelpError":
            return "", Code.USAGE  # the help itself was printed already
        case typer.TyperException():
            return _usage(problem), Code(problem.exit_code) if problem.exit_code in set(Code) else Code.USAGE
        case Usage():
            return str(problem), Code.USAGE
        case DatabaseUnavailable():
            return _database_away(problem), Code.DATABASE_AWAY
        case EmbeddedError():
            return str(problem), Code.DATABASE_AWAY
        case PostroomError():
            return str(problem), Code.FAILED
        case KeyboardInterrupt() | typer.Abort():
            return "interrupted", Code.INTERRUPTED
    if (sqlstate := getattr(problem, "sqlstate", None)) is not None:
        return _refused_by_postgres(problem, str(sqlstate))
    if isinstance(problem, OSError) and problem.filename is not None:
        return f"{problem.filename}: {problem.strerror}", Code.FAILED
    if os.environ.get("POSTROOM_LOG_LEVEL") == "debug":
        log.error("an error that no command expects", exc_info=problem)
    words = f"{type(problem).__name__}: {scrub(str(problem))}".splitlines()[0]
    return f"unexpected {words[:300]}. Run it again with POSTROOM_LOG_LEVEL=debug to see where it comes from.", Code.FAILED


def _usage(problem: typer.TyperException) -> str:
    context = getattr(problem, "ctx", None)
    command = getattr(context, "command_path", "postroom")
    message = problem.format_message().rstrip()
    return f"{message}{'' if message.endswith(('.', '?', '!')) else '.'} Try '{command} --help'."


def _database_away(problem: DatabaseUnavailable) -> str:
    cause = problem.__cause__
    said = f": {scrub(str(cause)).splitlines()[0]}" if isinstance(cause, OSError) and str(cause) else ""
    why = f" ({type(cause).__name__}{said})" if cause is not None else ""
    return f"Postgres did not answer{why}. Check DATABASE_URL and that the server runs, then run this again."


def _refused_by_postgres(problem: BaseException, sqlstate: str) -> tuple[str, Code]:
    said = scrub(str(problem)).splitlines()[0]
    if sqlstate[:2] in ("08", "28", "3D", "53", "57"):  # no connection, not let in, no such database, no room, shut down
        return f"Postgres refused the connection: {said}. Check DATABASE_URL.", Code.DATABASE_AWAY
    if sqlstate == "42501":
        return f"Postgres refused: {said}. Grant the user of DATABASE_URL what it needs.", Code.FAILED
    return f"Postgres refused: {said} (SQLSTATE {sqlstate}).", Code.FAILED


def bad(what: str, given: object, wanted: str) -> NoReturn:
    """Raises Usage for an argument: `bad("--due-at", text, "a time like …")`."""
    shown = repr(str(given)[:80])
    raise Usage(f"{what}: {shown} is not {wanted}.")
