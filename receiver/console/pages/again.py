"""Replaying many: the ticked at once, and all that a filter finds by a stored plan, which is counted before anything is done.

Only what is done or skipped is replayed; dead letters are retried.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from outbox import operators, planning
from outbox.store import events, routes
from receiver.console.asked import Query
from receiver.console.page import Act, Done, Form, Pages, Visit
from receiver.console.pages import events as listed
from receiver.console.pages import plans
from receiver.console.words import plural

MOST_TICKED = 200  # a page of the list


async def again(visit: Visit, form: Form) -> Done:
    """Those that are ticked."""
    ids = [int(value) for value in form.many("event") if value.isascii() and value.isdigit() and len(value) <= 16][:MOST_TICKED]
    if not ids:
        return Done("Nothing is ticked: nothing was replayed.", form.back(listed.PATH), good=False)
    replayed = await operators.replay_many(visit.pool, visit.actor, ids, which=plural(len(ids), "ticked event"))
    rest = [event_id for event_id in ids if event_id not in replayed]
    said = f"Replayed {len(replayed):,} of {len(ids):,}{await _not_settled(visit, rest)}."
    link = ("View", f"{listed.PATH}/{rest[0]}") if rest else None
    return Done(said, form.back(listed.PATH), link=link, good=bool(replayed))


async def _not_settled(visit: Visit, ids: Sequence[int]) -> str:
    """What those are that were not replayed, in words."""
    if not ids:
        return ""
    known = await events.marks(visit.pool, ids)
    standing = Counter(str(known[one]["mark"]) if one in known else "gone" for one in ids)
    return ": " + ", ".join(f"{number:,} {'is' if number == 1 else 'are'} {mark}" for mark, number in standing.most_common())


async def plan(visit: Visit, form: Form) -> Done:
    """A plan of all that is settled among what the page showed: the form holds its filters, with their times as moments."""
    query = (form.text("query", most=4000) or "").partition("?")[2]
    filtered = replace(visit, query=Query(query, visit.zone))
    wanted = listed.wanted_of(filtered, listed.since_of(filtered), await routes.every(visit.pool))
    made = await planning.make_replay(visit.pool, visit.actor, wanted, known_sources=listed.sources_of(visit))
    return Done(f"Plan {made} is stored. Nothing was replayed yet.", f"{plans.PATH}/{made}")


SITE = Pages(acts=(Act("/console/acts/again", again), Act("/console/acts/again/plan", plan)))
