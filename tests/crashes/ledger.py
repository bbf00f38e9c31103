"""What a test sent, and the adding up: every id (P7), every delivery (P2), every effect (P6), the order in every lane (P5).

Owns no process and no request: a World tells it what was sent and what was answered. The far sides are looked at through the simulators,
the events through Postgres.
"""

import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from outbox import db
from simulators.ghl import GhlSimulator
from simulators.notion import NotionSimulator

MARKER = re.compile(r"postroom:(\d+)\.[0-9a-f]+/(note|task)")
WITH_TASK = ("appointment.created", "appointment.cancelled", "appointment.completed")


@dataclass(slots=True)
class Sent:
    """One delivery of a webhook, or one change of an app: when it was first sent, and under which ids it was accepted."""

    source: str
    key: str
    began: float
    ids: set[int] = field(default_factory=set)
    accepted_at: float | None = None

    def accept(self, event_id: int) -> None:
        """It was answered, or committed, as this event."""
        self.ids.add(event_id)
        if self.accepted_at is None:
            self.accepted_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class Account:
    """accepted = done + skipped + dead + undone, when nothing is lost. `problems` says in words what is wrong."""

    accepted: int
    done: int
    skipped: int
    dead: int
    undone: int
    lost: int
    duplicated: int
    disordered: int
    problems: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing twice, nothing out of order."""
        return self.lost == self.duplicated == self.disordered == 0


class Ledger:
    """Everything that was sent, in order."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def begin(self, source: str, key: str) -> Sent:
        """Notes that something is sent now."""
        sent = Sent(source, key, time.monotonic())
        self.sent.append(sent)
        return sent

    async def account(self, pool: db.Pool, ghl: GhlSimulator, notion: NotionSimulator) -> Account:
        """Adds up. Call it when nothing is under way."""
        events = [dict(row) for row in await db.fetch(pool, EVENTS)]
        states = Counter(event["state"] for event in events)
        lost, twice, problems = 0, 0, list[str]()
        for wrong in (self._vanished(events), await _uncommitted(pool), _stateless(events), await _untold(pool, events, ghl, notion)):
            lost += len(wrong)
            problems += wrong
        for wrong in (self._doubled(events), _repeated(events, ghl)):
            twice += len(wrong)
            problems += wrong
        disordered = self._disordered(events)
        return Account(
            accepted=len(events),
            done=states["done"],
            skipped=states["skipped"],
            dead=states["dead"],
            undone=states["pending"],
            lost=lost,
            duplicated=twice,
            disordered=len(disordered),
            problems=tuple(problems + disordered),
        )

    def _vanished(self, events: list[dict[str, Any]]) -> list[str]:
        """Accepted, by an answer or a commit, and not there."""
        there = {event["id"] for event in events}
        return [f"accepted and gone: {sent.source} {sent.key}" for sent in self.sent for event_id in sent.ids if event_id not in there]

    def _doubled(self, events: list[dict[str, Any]]) -> list[str]:
        """A key that became two events, or was answered with two ids."""
        keys = Counter((event["source"], event["key"]) for event in events if event["key"] is not None)
        doubled = [f"{count} events of {source} {key}" for (source, key), count in keys.items() if count > 1]
        return doubled + [f"answered with {len(sent.ids)} ids: {sent.source} {sent.key}" for sent in self.sent if len(sent.ids) > 1]

    def _disordered(self, events: list[dict[str, Any]]) -> list[str]:
        """Two of a lane, the later sent after the earlier was accepted, whose settlements are in another order than their staging.

        The order of the settlements is that of their transactions' ids: the later one's claim waited for the earlier one's settlement.
        What was replayed or delayed joined its lane anew.
        """
        known = {event_id: sent for sent in self.sent for event_id in sent.ids}
        lanes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in events:
            if event["lane"] is not None and event["settled_by"] is not None and not event["rejoined"] and event["id"] in known:
                lanes[event["lane"]].append(event)
        wrong = []
        for lane, members in lanes.items():
            for n, later in enumerate(members):
                began = known[later["id"]].began
                for earlier in members[:n]:
                    accepted_at = known[earlier["id"]].accepted_at
                    if accepted_at is not None and accepted_at < began and earlier["settled_by"] > later["settled_by"]:
                        wrong.append(f"lane {lane}: {later['id']} was settled before {earlier['id']}")
        return wrong


# settled_by: the transaction that wrote the last row of its attempts, where that is an end.
EVENTS = """
select e.id, e.source, e.kind, e.key, e.lane, s.state, s.why,
       (select a.xmin::text::bigint from outbox.attempts a where a.event_id = e.id and a.outcome in ('d', 's', 'x')
        order by a.attempt desc, a.outcome in ('d', 's') desc limit 1) settled_by,
       exists (select from outbox.attempts a where a.event_id = e.id and a.outcome = 'p') rejoined,
       case when e.kind like 'appointment.%' then convert_from(e.payload, 'UTF8')::jsonb -> 'appointment' ->> 'contact_id' end contact
from outbox.events e join outbox.states(array(select id from outbox.events)) s on s.event_id = e.id order by e.id"""


async def _uncommitted(pool: db.Pool) -> list[str]:
    """P3: the app's own rows and their events exist together or not at all."""
    alone = """select 'change without its event: ' || c.key problem from changes c
               where not exists (select from outbox.events e where e.id = c.event_id)
               union all
               select 'event without its change: ' || e.key from outbox.events e
               where e.key like 'change-%' and e.source = 'app' and not exists (select from changes c where c.event_id = e.id)"""
    return [row["problem"] for row in await db.fetch(pool, alone)]


def _stateless(events: list[dict[str, Any]]) -> list[str]:
    """P7: no event is in none of the states."""
    return [f"event {event['id']} is {event['state']}" for event in events if event["state"] not in ("pending", "done", "skipped", "dead")]


async def _untold(pool: db.Pool, events: list[dict[str, Any]], ghl: GhlSimulator, notion: NotionSimulator) -> list[str]:
    """Done, and its effect is not there: a note or a task at GHL, a contact or a client here."""
    made = _marked(ghl)
    contacts = {row["ghl_contact_id"] for row in await db.fetch(pool, "select ghl_contact_id from crm.contacts")}
    clients = {str(row["notion_page_id"]) for row in await db.fetch(pool, "select notion_page_id from crm.clients")}
    missing = []
    for event in (event for event in events if event["state"] == "done"):
        lane, what = event["lane"] or "", f"event {event['id']} ({event['kind']}) is done"
        if event["contact"] is not None:
            wanted = ("note", "task") if event["kind"] in WITH_TASK else ("note",)
            missing += [f"{what} without its {step}" for step in wanted if not made[event["id"], step]]
        elif lane.startswith("ghl:contact:"):
            contact_id = lane.removeprefix("ghl:contact:")
            missing += [f"{what} without its contact"] if contact_id in ghl.store.contacts and contact_id not in contacts else []
        elif lane.startswith("notion:page:"):
            page_id = lane.removeprefix("notion:page:")
            missing += [f"{what} without its client"] if notion.store.visible_page(page_id) and page_id not in clients else []
    return missing


def _repeated(events: list[dict[str, Any]], ghl: GhlSimulator) -> list[str]:
    """P6: a note or a task that was made more than once, or for an event that is not there."""
    there = {event["id"] for event in events}
    made = _marked(ghl)
    return [f"{count} × {step} of event {event_id}" for (event_id, step), count in made.items() for _ in range(count - (event_id in there))]


def _marked(ghl: GhlSimulator) -> Counter[tuple[int, str]]:
    """How often each step of an event left its marker at GHL."""
    texts = [effect.text for kind in ("note", "task") for effect in ghl.effects.list(kind)]
    return Counter((int(event_id), step) for text in texts for event_id, step in MARKER.findall(text))
