"""What `postroom doctor` finds about storage: who pins the horizon, dead rows, the days, settings that durability and vacuum depend on.

Names who and since when, never what anybody ran: that may hold what is personal. Ends nobody and changes nothing.
"""

from datetime import timedelta

from cli.findings import AllSettings, Finding, fine, warn, wrong
from cli.output import count, plain
from outbox.db import Pool
from outbox.store import days, horizon, storage
from outbox.store.horizon import Keeps, Pin, What
from outbox.store.storage import Table

MANY_DEAD, DEAD_PER_ALIVE = 50_000, 5
NEARLY_WRAPPED = 1_600_000_000  # where Postgres itself lets go of everything else; at 2.1 thousand million it stops


async def in_storage(pool: Pool, settings: AllSettings) -> list[Finding]:
    """All of it."""
    found = await _days(pool, keep_days=settings.database.retention_days)
    held = await horizon.pins(pool)
    found += [_pinned(pin) for pin in held]
    tables = await storage.tables(pool)
    swollen = [_swollen(table, is_pinned=any(pin.keeps is Keeps.ROWS for pin in held)) for table in tables if _is_swollen(table)]
    found += swollen
    if not held and not swollen:
        stored = _stored(await days.sizes(pool), keep_days=settings.database.retention_days)
        found.append(fine("storage", f"nothing keeps dead rows; {_sizes(tables)}{stored}"))
    found += [
        warn(
            "storage", f"autovacuum is switched off for outbox.{table.name}", f"alter table outbox.{table.name} reset (autovacuum_enabled)"
        )
        for table in tables
        if table.is_off
    ]
    return [*found, *await _server(pool), *await _wraparound(pool)]


# ── days


async def _days(pool: Pool, *, keep_days: int) -> list[Finding]:
    found = []
    made = await days.ahead(pool)
    if made.last is None:
        found.append(
            wrong("days", "there is no partition for any day: nothing can be staged", "Start `postroom worker`, which makes them.")
        )
    elif made.last < made.today + timedelta(days=1) or made.drawn < made.today:
        says = (
            f"partitions are made up to {made.last}, and events are counted as of {made.drawn}; nothing stops, but nobody does the upkeep"
        )
        found.append(warn("days", says, "Start `postroom worker`, which does."))
    for one in await days.kept(pool, await days.old(pool, keep_days=keep_days)):
        others = f" and {count(one.events - 1, 'other')}" if one.events > 1 else ""
        says = f"{one.day} is past retention, but is kept whole by event {one.oldest} ({one.place}){others}"
        act = "Retry or discard it" if one.place == "dead" else "See what it waits for"
        found.append(warn("days", says, f"{act}: `postroom events show {one.oldest}`."))
    for stranger in await storage.strangers(pool):
        says = f"{count(stranger.events, 'row')} of outbox.{stranger.place} name no event (such as {stranger.example})"
        found.append(wrong("days", says, "This is a bug, or somebody's own SQL: please report it."))
    return found


def _stored(stored: list[days.Day], *, keep_days: int) -> str:
    """How large the days are, and when the oldest goes."""
    if not stored:
        return ""
    oldest, size = stored[-1], _bytes(sum(day.bytes for day in stored))
    return f"; {count(len(stored), 'day')} of events {size}, the oldest, {oldest.day}, to be dropped on {oldest.dropped_on(keep_days)}"


# ── dead rows, and what keeps them


def _pinned(pin: Pin) -> Finding:
    keeps = "dead rows" if pin.keeps is Keeps.ROWS else "dead rows of the system's own tables"
    since = f"since {plain(pin.since)} UTC ({_long(pin.age_s)})" if pin.since and pin.age_s is not None else "since we may not see when"
    behind = f"{pin.xids:,} transactions back"
    role = f" of role {plain(pin.role)}" if pin.role else ""
    called = f" called {plain(pin.application)}" if pin.application else ""
    match pin.what:
        case What.BACKEND:
            says = f"process {pin.name}{called}{role}, {pin.state or 'doing what we may not see'}, {since}, keeps {keeps}, {behind}"
            is_idle = pin.state is not None and pin.state.startswith("idle in transaction")
            act = "End it" if is_idle else "Wait for it or end it"
            lasting = f"; set idle_in_transaction_session_timeout for {plain(pin.role or 'its role')}" if is_idle else ""
            return warn("horizon", says, f"{act}: select pg_terminate_backend({pin.name}){lasting}.")
        case What.STANDBY:
            says = f"a standby{called} (process {pin.name}) says that its readers need {keeps}, {behind}"
            return warn("horizon", says, "Look for a long query on that standby, or set its hot_standby_feedback to off.")
        case What.PREPARED:
            says = f"prepared transaction '{plain(pin.name)}'{role}, {since}, keeps {keeps} and its locks, {behind}"
            name = pin.name.replace("'", "''")
            return warn("horizon", says, f"Ask its coordinator, then: commit prepared '{name}', or rollback prepared '{name}'.")
        case What.SLOT:
            log_kept = f" and {_bytes(pin.wal_bytes)} of the write-ahead log" if pin.wal_bytes is not None else ""
            says = f"replication slot {plain(pin.name)} ({pin.state}) keeps {keeps}{log_kept}, {behind}"
            return warn("horizon", says, f"Let its subscriber catch up, or: select pg_drop_replication_slot('{plain(pin.name)}').")


def _is_swollen(table: Table) -> bool:
    return table.dead > MANY_DEAD and table.dead > DEAD_PER_ALIVE * table.alive


def _swollen(table: Table, *, is_pinned: bool) -> Finding:
    vacuumed = f"last vacuumed {plain(table.vacuumed_at)} UTC" if table.vacuumed_at else "never vacuumed"
    says = f"outbox.{table.name} has {table.dead:,} dead rows for {table.alive:,} alive, {_bytes(table.heap_bytes)}; {vacuumed}"
    if is_pinned:
        return warn("storage", says, "End what keeps them, above; vacuum then clears them away by itself.")
    return warn("storage", says, f"Autovacuum does not keep up. Now: vacuum outbox.{table.name}.")


def _sizes(tables: list[Table]) -> str:
    return ", ".join(f"{table.name} {_bytes(table.heap_bytes + table.index_bytes)}" for table in tables)


# ── the server


async def _server(pool: Pool) -> list[Finding]:
    found, is_set = [], await storage.settings(pool)
    for name, is_on in (("fsync", is_set.fsync), ("full_page_writes", is_set.full_page_writes)):
        if not is_on:
            found.append(warn("durability", f"{name} is off: a power cut may destroy the database", "Switch it on, except for tests."))
    if is_set.synchronous_commit == "off":
        says = f"synchronous_commit is off (by {is_set.synchronous_commit_from}): a crash may lose what handlers and apps just committed"
        found.append(warn("durability", says, "Switch it on. Receivers ask for it themselves, but not behind a pooler."))
    elif is_set.without_durability:
        roles = ", ".join(plain(role) for role in is_set.without_durability)
        found.append(warn("durability", f"synchronous_commit is off for {roles}", "What they stage may be lost in a crash: reset it."))
    for name, is_on in (("autovacuum", is_set.autovacuum), ("track_counts", is_set.track_counts)):
        if not is_on:
            found.append(warn("storage", f"{name} is off: nothing clears dead rows away, and all slows down", "Switch it on."))
    return found


async def _wraparound(pool: Pool) -> list[Finding]:
    found, age = [], await storage.wraparound(pool)
    for behind, forced_at, word in (
        (age.xids, age.forced_at, "transactions"),
        (age.multixacts, age.multixacts_forced_at, "multixacts"),
    ):
        says = f"the oldest row is {behind:,} {word} old (oldest table: {plain(age.oldest_table)})"
        if behind > NEARLY_WRAPPED:
            found.append(wrong("wraparound", f"{says}; at 2,100,000,000 Postgres stops", "End what pins the horizon, then: vacuum freeze."))
        elif behind > 2 * forced_at:
            do = "Vacuum does not get through: see what pins the horizon, and whether autovacuum runs."
            found.append(warn("wraparound", f"{says}; vacuum freezes by force from {forced_at:,}", do))
    return found


def _long(seconds: float) -> str:
    whole = timedelta(seconds=max(0, int(seconds)))
    hours, rest = divmod(whole.seconds, 3600)
    if whole.days:
        return f"{count(whole.days, 'day')} {hours} h"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _bytes(number: int | None) -> str:
    size = float(number or 0)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
