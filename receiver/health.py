"""Is it alive, is it ready, what did each source send, and the numbers for Prometheus. Open to everybody, so nothing here is a secret.

/healthz   the process answers                     restart it when not
/readyz    and its database does, at its schema    send it no traffic when not
/metrics   and how much                            numbers without names of people
"""

import asyncio
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from pydantic import Field

from outbox import db, sync_facts
from outbox.errors import DatabaseUnavailable
from outbox.light import Light
from outbox.migrate import check
from outbox.store import events, sources
from outbox.sync_facts import Folded
from outbox.timeline import iso
from receiver.api.operation import Answer, Call, NoBody, NoQuery, Operation, Said, Table, Time
from receiver.desk import Desk
from receiver.errors import not_found, unavailable

READY_TIMEOUT_S = 2.0
COUNTED_FOR_S = 5.0


class Alive(Said):
    alive: bool = True


class Ready(Said):
    ready: bool = True
    waiting: int = Field(description="Webhooks that wait for their commit.")
    watches: bool = Field(description="Whether people are told from here when no dispatcher is alive: alert URLs are set for this process.")


class SourceHealth(Said):
    source: str
    scheme: str
    configured: bool
    keys: list[str] = Field(description="Fingerprints, with the name where a secret has one.")
    max_age_s: int | None
    switched_off: list[str]
    accepted: int
    duplicates: int
    rejected: int
    last_accepted_at: Time | None
    last_accepted_key: str | None
    last_rejected_at: Time | None
    last_rejected: str | None = Field(description="The reason of the last rejected request.")
    database: str = Field(description="answers; or away: the counts are then those of this process since it lost it.")


async def healthz(call: Call[NoQuery, NoBody]) -> Answer:
    """It answers, so it lives."""
    return Answer(Alive())


async def readyz(call: Call[NoQuery, NoBody]) -> Answer:
    """The database answers, at this code's schema, and the intake has its connection."""
    with db.mapped():
        async with asyncio.timeout(READY_TIMEOUT_S), call.desk.pool.acquire() as connection:
            await check(connection)
    if not call.desk.intake.is_up:
        raise unavailable("The intake is connecting to the database.", retry_after_s=1)
    return Answer(Ready(waiting=call.desk.intake.waiting, watches=call.desk.watches))


async def source_health(call: Call[NoQuery, NoBody]) -> Answer:
    """What a source is set up for and what came of it."""
    name = f"standard/{call.path['name']}" if "name" in call.path else call.path["source"]
    door = call.desk.webhooks.doors.get(name)
    if door is None:
        raise not_found("No such source is configured here.")
    described = door.source.describe()
    seen = call.desk.ledger.seen(described.source)
    try:
        row = await sources.one(call.desk.pool, described.source)
        database = "answers"
    except DatabaseUnavailable:
        row, database = None, "away"
    return Answer(
        SourceHealth(
            source=described.source,
            scheme=described.scheme,
            configured=described.configured,
            keys=list(described.keys),
            max_age_s=described.max_age_s,
            switched_off=list(described.switched_off),
            accepted=seen.accepted + (row["accepted"] if row else 0),
            duplicates=seen.duplicates + (row["duplicates"] if row else 0),
            rejected=seen.rejected + (row["rejected"] if row else 0),
            last_accepted_at=iso(seen.last_accepted_at or (row["last_accepted_at"] if row else None)),
            last_accepted_key=seen.last_fingerprint or (row["last_fingerprint"] if row else None),
            last_rejected_at=iso(seen.last_rejected_at or (row["last_rejected_at"] if row else None)),
            last_rejected=seen.last_rejected or (row["last_rejected"] if row else None),
            database=database,
        )
    )


class Metrics:
    """The numbers of one process and, at most every few seconds, those of the database."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._counted_at = float("-inf")
        self._counts: dict[str, int] | None = None
        self._syncs = Folded([], None)

    async def text(self, desk: Desk) -> bytes:
        """In Prometheus's text format."""
        async with self._lock:
            if time.monotonic() - self._counted_at > COUNTED_FOR_S:
                try:
                    self._counts = await events.counts(desk.pool)
                    self._syncs = await sync_facts.every(desk.pool)
                except DatabaseUnavailable:
                    self._counts = None
                self._counted_at = time.monotonic()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Snapshot(desk, self._counts, self._syncs))
        return bytes(generate_latest(registry))


class _Snapshot(Collector):
    def __init__(self, desk: Desk, counts: dict[str, int] | None, syncs: Folded) -> None:
        self._desk, self._counts, self._syncs = desk, counts, syncs

    def collect(self) -> Iterable[Metric]:
        """Everything, once."""
        webhooks = CounterMetricFamily("postroom_webhooks", "Webhooks by source and what became of them.", labels=["source", "outcome"])
        for (source, outcome), count in sorted(self._desk.ledger.totals.items()):
            webhooks.add_metric([source, outcome], count)
        yield webhooks
        intake, done = self._desk.intake, self._desk.intake.done
        yield CounterMetricFamily("postroom_intake_flushes", "Committed batches.", value=done.flushes)
        yield CounterMetricFamily("postroom_intake_rows", "Webhooks in committed batches.", value=done.rows)
        yield CounterMetricFamily("postroom_intake_flush_seconds", "Time between sending a batch and its commit.", value=done.seconds)
        yield CounterMetricFamily("postroom_intake_refused", "Webhooks told to come again.", value=done.refused)
        yield GaugeMetricFamily("postroom_intake_waiting", "Webhooks that wait for their commit.", value=intake.waiting)
        yield GaugeMetricFamily("postroom_database_up", "Whether the database answers.", value=int(self._counts is not None))
        if self._counts is not None:
            undone = GaugeMetricFamily("postroom_events", "Events that are not settled.", labels=["where"])
            for where in ("pending", "running", "waiting", "held", "delayed", "dead"):
                undone.add_metric([where], self._counts[where])
            yield undone
            yield GaugeMetricFamily("postroom_workers", "Dispatchers whose lease holds.", value=self._counts["workers"])
            yield GaugeMetricFamily("postroom_destinations_stopped", "Destinations that do not flow.", value=self._counts["stopped"])
            lights = GaugeMetricFamily("postroom_sync_light", "1 for the light that each sync shows.", labels=["sync", "light"])
            for sync in self._syncs.syncs:
                for colour in Light:
                    lights.add_metric([sync["name"], colour.value], int(sync["light"] == colour))
            yield lights
            of_users = GaugeMetricFamily("postroom_user_syncs", "How many users' syncs show each light.", labels=["light"])
            for colour in Light:
                of_users.add_metric([colour.value], 0 if self._syncs.users is None else self._syncs.users["lights"][colour])
            yield of_users


def operations(metrics: Metrics) -> Table:
    """The open routes. `metrics` remembers the database's numbers for a few seconds, so that asking often costs nothing."""

    async def prometheus(call: Call[NoQuery, NoBody]) -> Answer:
        return Answer(await metrics.text(call.desk), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    health = "What a source is set up for, what it sent last"
    return (
        Operation("GET", "/healthz", "The process lives", None, healthz, NoQuery, NoBody, Alive),
        Operation("GET", "/readyz", "It can do its work", None, readyz, NoQuery, NoBody, Ready, also={503: "It cannot, and why"}),
        Operation("GET", "/metrics", "Numbers for Prometheus", None, prometheus, NoQuery, NoBody),
        Operation("GET", "/api/webhooks/{source}/health", health, None, source_health, NoQuery, NoBody, SourceHealth),
        Operation("GET", "/api/webhooks/standard/{name}/health", health, None, source_health, NoQuery, NoBody, SourceHealth),
    )
