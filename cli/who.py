"""Who acts by command line, and the audit's line about it."""

import getpass

from outbox.db import Connection, Pool
from outbox.operators import Actor


def operator() -> str:
    """The operating system's name of the user."""
    try:
        return getpass.getuser()[:40]
    except (KeyError, OSError):  # a container's user may have no name
        return "nobody"


async def note(connection: Connection | Pool, what: str, *, target: object = None, reason: str | None = None, **result: object) -> None:
    """Writes the act into the audit, in the caller's transaction. The words are those of the operators' API."""
    await actor().note(connection, what, target=target, reason=reason, **result)


def actor() -> Actor:
    """Who acts, as outbox.operators takes it."""
    return Actor(operator(), "cli")
