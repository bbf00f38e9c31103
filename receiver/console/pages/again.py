"""What is done with several events of the list: replaying them, by a stored plan that is counted before anything is done, and ending waits.

Only what is done or skipped is replayed; dead letters are retried. A single one that is ticked needs no plan.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from outbox import operators, planning
from outbox.db import Record
from outbox.errors import NotNow
from outbox.store import events, routes
from outbox.store.search import Wanted
from receiver.console.asked import Query
from receiver.console.page import Act, Done, Form, Pages, Visit
from receiver.console.pages import events as listed
from receiver.console.pages import plans
from receiver.console.words import plural

MOST_TICKED = 200  # a page of the list


async def again(visit: Visit, form: Form) -> Done:
    """Of those that are ticked and settled: one at once, several by a plan."""
    ids = _ticked(form)
    known = await events.marks(visit.pool, ids)
    settled = [one for one in ids if one in known and known[one]["mark"] in planning.SETTLED]
    if not settled:
        return Done(f"Nothing was replayed{_instead(known, ids) or ': nothing is ticked'}.", form.back(listed.PATH), good=False)
    besides = _instead(known, [one for one in ids if one not in settled])
    if len(settled) > 1:
        return _planned(await planning.make_replay(visit.pool, visit.actor, Wanted(), ids=settled), besides=besides)
    await operators.replay(visit.pool, visit.actor, settled[0])
    return Done(f"#{settled[0]} is in the queue again{besides}.", form.back(listed.PATH), link=("View", f"{listed.PATH}/{settled[0]}"))


async def run(visit: Visit, form: Form) -> Done:
    """The waits of those that are ticked end now, one by one; what does not wait for a time stays as it is."""
    ids, left = _ticked(form), list[int]()
    if not ids:
        return Done("Nothing is ticked: nothing was run.", form.back(listed.PATH), good=False)
    for event_id in ids:
        try:
            await operators.run_now(visit.pool, visit.actor, event_id)
        except NotNow:
            left.append(event_id)
    ran, standing = len(ids) - len(left), _instead(await events.marks(visit.pool, left), left)
    said = f"{ran:,} of {plural(len(ids), 'event')} {'runs' if ran == 1 else 'run'} now{standing}."
    return Done(said, form.back(listed.PATH), link=("View", f"{listed.PATH}/{left[0]}") if left else None, good=bool(ran))


def _ticked(form: Form) -> list[int]:
    return [int(value) for value in form.many("event") if value.isascii() and value.isdigit() and len(value) <= 16][:MOST_TICKED]


def _planned(made: int, *, besides: str = "") -> Done:
    return Done(f"Plan {made} is stored. Nothing was replayed yet{besides}.", f"{plans.PATH}/{made}")


def _instead(known: Mapping[int, Record], ids: Sequence[int]) -> str:
    """What those are that stay as they are, in words; nothing for none."""
    if not ids:
        return ""
    standing = Counter(str(known[one]["mark"]) if one in known else "gone" for one in ids)
    return ": " + ", ".join(f"{number:,} {'is' if number == 1 else 'are'} {mark}" for mark, number in standing.most_common())


async def plan(visit: Visit, form: Form) -> Done:
    """A plan of all that is settled among what the page showed: the form holds its filters, with their times as moments."""
    query = (form.text("query", most=4000) or "").partition("?")[2]
    filtered = replace(visit, query=Query(query, visit.zone))
    wanted = listed.wanted_of(filtered, listed.since_of(filtered), await routes.every(visit.pool))
    made = await planning.make_replay(visit.pool, visit.actor, wanted, known_sources=await listed.sources_of(visit))
    return _planned(made)


SITE = Pages(acts=(Act("/console/acts/again", again), Act("/console/acts/again/plan", plan), Act("/console/acts/run/ticked", run)))
