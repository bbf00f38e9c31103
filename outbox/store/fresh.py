"""The freshest of outbox.pending, found by their ids in outbox.events: a claim whose cost dead rows do not raise.

Owns nothing else. It takes heads of free lanes under the same rules as a claim over all lanes, which alone finds everything: what
was committed late, put back, or let go by another worker.
"""

from collections.abc import Sequence

from outbox import db
from outbox.db import Connection
from outbox.queries import load
from outbox.store.lanes import Looked, whole

Q = load("fresh")
LOOK_AT = 1000


async def claim(
    connection: Connection, *, worker: int, limit: int, above: int | None, urgency: int, lanes: Sequence[int] = (), timeout_s: float = 5
) -> Looked:
    """Heads of up to `limit` free lanes among events above an id (None: the newest) and in these lanes, taken for `worker`.

    `seen` is how many events it looked at, at most LOOK_AT; `last` is the highest of their ids, or where it looked from.
    """
    rows = await db.fetch(connection, Q["claim"], worker, limit, above, urgency, LOOK_AT, list(lanes), timeout_s=timeout_s)
    info = rows.pop()
    return Looked(await whole(connection, rows, timeout_s=timeout_s), info[1], info[3])
