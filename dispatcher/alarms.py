"""Looks whether something is wrong that was not, or is right again, and stages that as an event. Any dispatcher does it for all.

The event is staged in the transaction that notes the change down, so people are told of each change once. Telling them is the handlers'
work (handlers/alerts), with the retries of every event.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from dispatcher.policy.alarm import LASTING_S, WELL, Act, Condition, changes
from outbox import db
from outbox.db import Connection, Pool
from outbox.errors import DatabaseUnavailable
from outbox.event import Event
from outbox.health import MOST_DEAD, TARGET_DEAD, Health, Standing, Verdict, judge
from outbox.log import get_logger
from outbox.staging import stage
from outbox.store import alerts, audits, standing
from outbox.timeline import iso

log = get_logger(__name__)
RED = "its last success is too long ago, or it paused itself"
EVERY_S: Final = 10.0
RAISED, CLEARED = "alert.raised", "alert.cleared"


class Alarms:
    """One for each worker."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> None:
        """Looks for ever, also through an outage."""
        while True:
            try:
                await self.once()
            except DatabaseUnavailable as problem:
                log.debug("no look for alerts while the database is away", problem=problem)
            except Exception as problem:  # whatever is wrong with the alerts, the events go on
                log.error("the look for alerts failed; the events go on", exc_info=problem)
            await asyncio.sleep(EVERY_S)

    async def once(self) -> list[int]:
        """One look. Returns the ids of the events that it staged."""
        now = await standing.look(self._pool)
        gaps = await audits.open_gaps(self._pool)
        staged: list[int] = []
        async with db.transaction(self._pool) as connection:
            if not await alerts.lock(connection):
                return []
            known = await alerts.every(connection)
            for step in changes(conditions(now, judge(now), gaps), known):
                was = known[step.condition.name].state if step.condition.name in known else WELL
                match step.act:
                    case Act.SEE:
                        await alerts.see(connection, step.condition.name, was=WELL, now=step.condition.state, detail=step.condition.detail)
                    case Act.TELL:
                        staged.append(await _tell(connection, step.condition, was))
                    case Act.FORGET:
                        await alerts.forget(connection, step.condition.name)
        return staged


async def _tell(connection: Connection, condition: Condition, was: str) -> int:
    since = await alerts.tell(connection, condition.name)
    payload = {
        "alert": condition.name,
        "state": condition.state,
        "was": was,
        "since": iso(since),
        "detail": condition.detail,
        "runbook": condition.runbook,
    }
    kind = CLEARED if condition.state == WELL else RAISED
    key = f"{condition.name}:{condition.state}:{iso(since)}"
    log.warning("alert", name=condition.name, state=condition.state, was=was)
    return int(await stage(connection, Event(kind, payload, key=key, lane=f"alert:{condition.name}", source="alerts")))


def conditions(now: Standing, verdict: Verdict, gaps: Mapping[str, tuple[int, int]]) -> list[Condition]:
    """Everything that can be wrong, as it looks; `gaps`: by system, its newest audit and how many that found. Pure."""
    issues = "; ".join(check.issue for check in verdict.unmet) or "all checks are met"
    health = WELL if verdict.status is Health.HEALTHY else verdict.status.value
    over = "over the limit" if now.dead >= MOST_DEAD else "over the target" if now.dead >= TARGET_DEAD else WELL
    return [
        Condition("health", health, issues, "health", LASTING_S),
        Condition("dead-letters", over, f"{now.dead} dead letters", "dead-letters", LASTING_S),
        *(Condition(f"connection:{one.name}", one.state, one.said, "connection") for one in now.stopped if one.state == "unauthorised"),
        *(
            [Condition("connection:google", "unauthorised", f"google: {now.stopped_users.said}", "connection")]
            if now.stopped_users.state == "unauthorised"
            else []
        ),
        *(
            Condition(f"audit:{system}", "gaps", f"audit #{audit} of {system} found {count} gaps", "audit")
            for system, (audit, count) in gaps.items()
            if count
        ),
        *(Condition(f"sync:{name}", "red", f"the sync {name} is red: {RED}", "sync") for name in now.red_syncs),
        *(Condition(f"brake:{name}", "braked", f"the brake of {name} asks a person: {why}", "sync") for name, why in now.braked_syncs),
        *([Condition("sync:users", "red", f"{now.red_users} users' syncs are red", "sync")] if now.red_users else []),
    ]
