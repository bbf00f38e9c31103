"""The table of named points: every place of dispatcher and receiver that writes to Postgres or calls outside, and how a spec names one.

Pure data; `arming` makes a child stop there. `test_points` holds the table against outbox/queries: what writes is reached, or exempt.

    spec    [action:]moment:name[#n]      kill is the action when none is named; the n-th time it is come to, 1 when not said
    moment  before  nothing is sent yet
            during  the statement or request is sent, and its answer is not read
            after   it is answered or committed, and nothing else has happened since
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

COMMIT = "COMMIT;"


class Moment(StrEnum):
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Action(StrEnum):
    """What a child does at an armed point."""

    KILL = "kill"  # it ends itself by SIGKILL
    TELL = "tell"  # it says so and waits to be let go on; what was in flight has been answered by then, and its answer is thrown away
    LOSE = "lose"  # the answer is thrown away and the connection falls; it lives on


@dataclass(frozen=True, slots=True)
class Point:
    """A function by module and attribute, awaited; of its calls those whose arguments fit `only`.

    `queries`: the writing statements (file.name) that it sends, and that `during` waits for; COMMIT for the end of a transaction.
    `exits`: the end of the async context manager that the function returns is meant, not its call. `nth`: at which time of coming there
    the matrix stands: in the middle of a run, not at its first page.
    """

    module: str
    attribute: str
    queries: tuple[str, ...] = ()
    only: Mapping[str, str] = field(default_factory=dict)
    exits: bool = False
    moments: tuple[Moment, ...] = tuple(Moment)
    nth: int = 1


RUNS, PLANS, REPAIRS = "outbox.store.runs", "outbox.store.plans", "outbox.store.phorest_repairs"
CONTEXT = "dispatcher.context"
LANES, EVENTS, WORKERS = "outbox.store.lanes", "outbox.store.events", "outbox.store.workers"
DESTINATIONS, DAYS, SOURCES = "outbox.store.destinations", "outbox.store.days", "outbox.store.sources"
NOTES, TASKS, TAGS, CONTACT, PAGE = (
    "POST /contacts/*/notes",
    "POST /contacts/*/tasks",
    "POST /contacts/*/tags",
    "GET /contacts/*",
    "GET /v1/pages/*",
)


def call(request: str, *, nth: int = 1) -> Point:
    """A request to a far side."""
    return Point("httpx", "AsyncClient.send", only={"request": request}, nth=nth)


def page_of_a_run(*, nth: int = 3) -> Point:
    """The commit of a page. The first part of a run is its beginning, the second its first page."""
    return Point(CONTEXT, "Context.part", (COMMIT,), exits=True, nth=nth)


def end_of_a_handler() -> Point:
    """The commit of a handler's transaction."""
    return Point(CONTEXT, "Context.transaction", (COMMIT,), exits=True)


PULLS: Mapping[str, Point] = {
    # a run of a sync; ghl-contacts stands for all of them, whose pages are the same code
    "run.begin": Point(RUNS, "begin", ("runs.renew", "runs.begin")),
    "run.call": call("POST /contacts/search", nth=2),
    "run.progress": Point(LANES, "progressed", ("busy.progress",), nth=2),
    "run.log": Point(RUNS, "log", ("runs.log",), nth=2),
    "run.keep": Point(RUNS, "keep", ("runs.keep",), nth=2),
    "run.page": page_of_a_run(),
    "run.saw": Point(RUNS, "saw", ("runs.saw",), nth=2),
    "run.advance": Point("outbox.store.syncs", "advance", ("syncs.advance",)),
    "run.forget_seen": Point(RUNS, "forget_seen", ("runs.forget_seen",)),
    "run.end": end_of_a_handler(),
    "run.end_dead": Point(RUNS, "end_dead", ("runs.end_dead",)),
    "notion.query": call("POST /v1/data_sources/*/query", nth=2),
    "notion.page": page_of_a_run(),
    "notion.end": end_of_a_handler(),
    "google.call": call("GET /v1/people/me/connections", nth=2),
    "google.page": page_of_a_run(),
    "google.hand_on": Point("outbox.store.google_contacts", "hand_on", ("google_contacts.hand_on",)),
    "google.sweep": Point("outbox.store.google_contacts", "sweep", ("google_contacts.sweep",)),
    "google.end": end_of_a_handler(),
    # Phorest: phase one, phase two, the repair of one client, the rollback
    "salon.call": call("GET /third-party-api-server/api/business/*/client", nth=2),
    "salon.page": page_of_a_run(),
    "push.make": call("POST /contacts/"),
    "push.book": call("POST /calendars/events/appointments"),
    "push.tags": call(TAGS),
    "push.link": Point("outbox.store.links", "join", ("links.join",)),
    "push.commit": end_of_a_handler(),
    "repair.ask": Point(REPAIRS, "ask", ("phorest_repairs.ask", "phorest_repairs.staged")),
    "repair.fetch": call("GET /third-party-api-server/api/business/*/client/*"),
    "repair.follow": Point(REPAIRS, "follow", ("phorest_repairs.staged",)),
    "repair.wake": Point(LANES, "wake", ("busy.wake",)),
    "repair.commit": end_of_a_handler(),
    "undo.delete": call("DELETE /contacts/*"),
    "undo.commit": end_of_a_handler(),
    # ticks, and what a dispatcher writes down as it begins
    "tick": Point("outbox.store.schedules", "tick", ("schedules.tick",)),
    "tick.stage": Point(RUNS, "ask", ("runs.stage",)),
    "begin.routes": Point("outbox.store.routes", "tell", ("routes.forget", "routes.tell")),
    "begin.sync": Point("outbox.store.syncs", "register", ("syncs.register",)),
    "begin.schedule": Point("outbox.store.schedules", "put", ("schedules.put",)),
    "begin.retire": Point("outbox.store.syncs", "retire", ("syncs.retire",)),
    # bulk acts
    "plan.portion": Point(PLANS, "_take_portion", ("plans.taken", "plans.move"), nth=2),
    "plan.settle": Point("outbox.db", "fetch", ("plans.settle",), {"query": "plans.settle"}, nth=2),
    "plan.commit": Point(PLANS, "advance", (COMMIT,)),
    "plan.discard": Point(PLANS, "_take_portion", ("plans.taken", "plans.move")),
    "plan.replay": Point(EVENTS, "replay_many", ("events.replay_many",), nth=2),
}

DISPATCHER: Mapping[str, Point] = {
    **PULLS,
    # taking work
    "claim": Point(LANES, "claim", ("pending.claim",)),
    "claim_fresh": Point("outbox.store.fresh", "claim", ("fresh.claim",)),
    "take_due": Point(LANES, "take_due", ("busy.take_due",)),
    "promote_delayed": Point(LANES, "promote_delayed", ("pending.promote_delayed",)),
    "followers": Point(LANES, "followers", ("pending.followers",)),
    # settling
    "finish_and_take": Point(LANES, "finish_and_take", ("busy.finish_and_take",)),
    "finish_with_followers": Point(LANES, "finish", ("busy.finish_with_followers",)),
    "wait": Point(LANES, "wait", ("busy.wait",)),
    "hold": Point(LANES, "wait", ("busy.wait",)),
    "bury": Point(LANES, "bury", ("busy.bury",)),
    "hand_back": Point(LANES, "hand_back", ("busy.hand_back",)),
    "hand_back_strays": Point(LANES, "hand_back_strays", ("busy.hand_back_strays",)),
    # the journal and the calls outside
    "journal.intent": Point("outbox.store.steps", "write", ("steps.write",), {"entries": "i"}),
    "journal.done": Point("outbox.store.steps", "write", ("steps.write",), {"entries": "d"}),
    "journal.not_done": Point("outbox.store.steps", "write", ("steps.write",), {"entries": "n"}),
    "journal.found": Point("outbox.store.steps", "write", ("steps.write",), {"entries": "f"}),
    "call.note": Point("httpx", "AsyncClient.send", only={"request": NOTES}),
    "call.undone_note": Point(
        "httpx", "AsyncClient.send", only={"request": NOTES}, moments=(Moment.DURING,)
    ),  # sent, and never carried out
    "call.late_note": Point(
        "httpx", "AsyncClient.send", only={"request": NOTES}, moments=(Moment.DURING,)
    ),  # carried out after its sender's death
    "call.task": Point("httpx", "AsyncClient.send", only={"request": TASKS}),
    "call.tags": Point("httpx", "AsyncClient.send", only={"request": TAGS}),
    "call.contact": Point("httpx", "AsyncClient.send", only={"request": CONTACT}),
    "call.page": Point("httpx", "AsyncClient.send", only={"request": PAGE}),
    # the handler's own transaction
    "handler.contact": Point("outbox.store.contacts", "apply", ("contacts.apply",)),
    "handler.deleted": Point("outbox.store.contacts", "mark_deleted", ("contacts.mark_deleted",)),
    "handler.client": Point("outbox.store.clients", "apply", ("clients.apply",)),
    "handler.settle": Point("dispatcher.context", "Transaction.settle", ("busy.finish", "busy.finish_with_followers")),
    "handler.commit": Point("dispatcher.context", "Context.transaction", (COMMIT,), exits=True),
    # workers and take-over
    "begin": Point(WORKERS, "begin", ("workers.begin",)),
    "renew": Point(WORKERS, "renew", ("workers.renew",)),
    "end": Point(WORKERS, "end", ("workers.end",)),
    "end_lapsed": Point(WORKERS, "end_lapsed", ("workers.end_lapsed",)),
    "end_frozen": Point(WORKERS, "end_frozen", ("workers.end_frozen",)),
    "terminate": Point(WORKERS, "terminate", ("workers.terminate",)),
    "bury_poison": Point(LANES, "bury_poison", ("busy.bury_poison",)),
    "release_orphans": Point(LANES, "release_orphans", ("busy.release_orphans",)),
    # destinations and budgets
    "open_breaker": Point(DESTINATIONS, "open_breaker", ("destinations.open",)),
    "take_probe": Point(DESTINATIONS, "take_probe", ("destinations.take_probe",)),
    "give_up_probe": Point(DESTINATIONS, "give_up_probe", ("destinations.give_up_probe",)),
    "flow": Point(DESTINATIONS, "flow", ("destinations.flow",)),
    "end_pauses": Point(DESTINATIONS, "end_pauses", ("destinations.end_pauses",)),
    "release_held": Point(LANES, "release_held", ("busy.release_held",)),
    "release_probe": Point(LANES, "release_probe", ("busy.release_probe",)),
    "budget.make": Point("outbox.store.budgets", "take", ("budgets.make",)),
    "budget.take": Point("outbox.store.budgets", "take", ("budgets.save",)),
    "budget.learn": Point("outbox.store.budgets", "learn", ("budgets.learn",)),
    # upkeep
    "upkeep.open_days": Point(DAYS, "open_days", ("days.open",)),
    "upkeep.sum_up": Point(DAYS, "sum_up", ("days.sum_up",)),
    "upkeep.prune_workers": Point(WORKERS, "prune", ("workers.prune",)),
    "upkeep.prune_rejected": Point(SOURCES, "prune_rejected", ("rejected.prune",)),
    "upkeep.prune_runs": Point(RUNS, "prune", ("runs.prune_seen", "runs.prune_records", "runs.prune")),
    "upkeep.forget_wanted": Point("outbox.store.wanted", "forget", ("wanted.forget",)),
    "upkeep.prune_plans": Point(PLANS, "prune", ("plans.prune",)),
    "upkeep.prune_keys": Point(DAYS, "_prune_keys", ("days.prune_keys",)),
    "upkeep.drop_day": Point(DAYS, "_drop", ("days.prune_duplicates",)),
}

RECEIVER: Mapping[str, Point] = {
    "stage_many": Point(EVENTS, "stage_many", ("events.stage_many",)),
    "count_duplicates": Point("outbox.db", "fetch", ("events.count_duplicates",), {"query": "events.count_duplicates"}),
    "answer": Point("receiver.webhooks", "Webhooks._stage", moments=(Moment.BEFORE, Moment.AFTER)),
    "handshake": Point("outbox.store.handshakes", "offer", ("handshakes.offer",)),
    "promote": Point("outbox.store.handshakes", "promote", ("handshakes.promote",)),
    "retire": Point("outbox.store.handshakes", "retire_others", ("handshakes.retire",)),
    "ledger.count": Point(SOURCES, "count", ("sources.count",)),
    "ledger.keep": Point(SOURCES, "keep", ("rejected.keep",)),
    "api.stage": Point(
        "receiver.api.events", "stage", moments=(Moment.BEFORE, Moment.AFTER)
    ),  # not sent by itself: the transaction's commit is api.commit
    "api.replay": Point(EVENTS, "replay", ("events.replay",)),
    "api.appointment": Point("outbox.store.appointments", "create_once", ("appointments.create_once",)),
    "api.appointment_without_key": Point("outbox.store.appointments", "create", ("appointments.create",)),
    "api.change": Point("outbox.store.appointments", "change", ("appointments.change",)),
    "api.retry": Point("outbox.store.dead", "retry", ("dead.retry", "events.notify")),
    "api.discard": Point("outbox.store.dead", "discard", ("dead.discard",)),
    "api.pause": Point(DESTINATIONS, "pause", ("destinations.pause",)),
    "api.resume": Point(DESTINATIONS, "resume", ("destinations.resume",)),
    "api.plan": Point(PLANS, "make", ("plans.make", "plans.mark_late")),
    "api.plan_of_a_replay": Point(PLANS, "make_replay", ("plans.make_replay",)),
    "api.plan_begins": Point(PLANS, "start", ("plans.start",)),
    "api.portion": Point(PLANS, "advance", (COMMIT,)),
    "api.rollback": Point("outbox.store.phorest_rollback", "stage_batch", moments=(Moment.BEFORE, Moment.AFTER)),
    "api.rollback_pauses": Point("outbox.store.syncs", "pause", ("syncs.pause",)),
    "api.sync_resumes": Point("outbox.store.syncs", "resume", ("syncs.resume",)),
    "api.schedule": Point("outbox.store.schedules", "switch", ("schedules.switch",)),
    "api.cancel": Point(RUNS, "cancel", ("runs.cancel_resting",)),
    "api.note": Point("outbox.store.notes", "write", ("notes.write",)),
    "api.audit": Point("outbox.store.audit", "write", ("audit.write",)),
    "api.commit": Point("asyncpg.transaction", "Transaction.__aexit__", (COMMIT,)),
}

POINTS: Mapping[str, Point] = {**DISPATCHER, **RECEIVER}

# Statements that write and are reached by no point, each with its reason.
_REFRESH = "the tokens of connected accounts: tests/dispatcher/test_oauth_tokens.py kills a process between its call and its commit"
_INSTALL = "sent in a handler's transaction, which ends with its settlement: handler.commit"
_STATISTICS = (
    "numbers for people, one statement each; no event depends on them: "
    "tests/outbox/test_minutes.py, tests/dispatcher/test_tally.py and test_calls.py"
)
_ALERTS = "one transaction with the staging of its event: tests/dispatcher/test_alarms.py breaks it off"
_BY_HAND = "a person's act, one transaction with its row of the audit: api.commit"
_SESSION = "sign-ins and forms of the console: no event depends on them: tests/console"
_GROUPS: Mapping[str, tuple[str, ...]] = {
    _BY_HAND: (
        *("acts.bury", "acts.release", "acts.run_now", "notes.remove", "pending.take_one", "runs.cancel", "syncs.allow", "syncs.expect"),
        *("plans.go_on", "plans.stop", "plans.resume"),
    ),
    _SESSION: (
        *("sessions.begin", "sessions.end", "sessions.find", "sessions.offer_link", "sessions.prune", "sessions.send_form"),
        *("sessions.take_link", "sessions.tell", "sessions.unsend_form"),
    ),
}
EXEMPT: Mapping[str, str] = {
    **{query: reason for reason, queries in _GROUPS.items() for query in queries},
    "connections.take": _REFRESH,
    "connections.store": _REFRESH,
    "connections.give_back": _REFRESH,
    "connections.give_up": _REFRESH,
    "connections.connect": _INSTALL,
    "connections.install": _INSTALL,
    "connections.uninstall": _INSTALL,
    "consents.begin": "one statement of the command line, which a person repeats",
    "consents.end": "sent in one transaction with the staging of its event: api.commit",
    "calls.add": _STATISTICS,
    "calls.prune": _STATISTICS,
    "minutes.add": _STATISTICS,
    "minutes.begin_arrivals": _STATISTICS,
    "minutes.count_arrivals": _STATISTICS,
    "minutes.prune": _STATISTICS,
    "sources.prune": _STATISTICS,
    "alerts.lock": "an advisory lock until its transaction ends; what that writes are the alerts",
    "alerts.see": _ALERTS,
    "alerts.tell": _ALERTS,
    "alerts.forget": _ALERTS,
    "busy.hold_lock": "locks a row until its transaction ends, and writes nothing",
    "days.lock": "an advisory lock until its transaction ends; what that writes is days.open, workers.prune and rejected.prune",
    "events.replay_lock": "locks until its transaction ends; what that writes is events.replay",
    "events.replay_many_lock": "as events.replay_lock",
    "events.keep_many": "as events.replay_lock: keeps events from being dropped until its transaction ends",
    "wanted.want": "sent for a handler of a user's own module only; repeated each minute: tests/dispatcher/test_handlers_docs.py",
    "phorest_repairs.lock": "locks a row until its transaction ends, and writes nothing",
    "plans.take": "as phorest_repairs.lock",
    "runs.turn": "an advisory lock until its transaction ends; what that writes is runs.stage",
}


@dataclass(frozen=True, slots=True)
class Spec:
    """One armed point: what is to happen where, and at which time of coming there."""

    action: Action
    moment: Moment
    name: str
    nth: int = 1

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Raises ValueError for a spec that names no point of the table."""
        parts, _, nth = text.partition("#")
        *action, moment, name = parts.split(":")
        spec = cls(Action(action[0] if action else "kill"), Moment(moment), name, int(nth or "1"))
        if name not in POINTS or len(action) > 1 or spec.nth < 1 or spec.moment not in POINTS[name].moments:
            raise ValueError(f"no such point: {text}")
        return spec

    @property
    def where(self) -> str:
        return f"{self.moment}:{self.name}"
